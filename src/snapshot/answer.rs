//! The body of an answer: a JSON list of sessions, read by serde.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use super::repair;
use crate::{
    json,
    proxy::{Category, Failure},
};

/// A session of an answer; unknown keys are ignored. What is null there is missing here,
/// and a number is kept as the text it is written as.
#[derive(Debug)]
pub struct ParsedSession<'a> {
    pub session_id: Option<Cow<'a, str>>,
    pub user_directory: Option<Cow<'a, str>>,
    pub user_id: Option<Cow<'a, str>>,
    /// The list of attributes, as JSON.
    pub attributes: Option<&'a RawValue>,
}

/// Reads a body and hands over one session after the other; their texts are borrowed from
/// the body.
///
/// # Errors
/// `invalid_body` where it is not a list of sessions. The message quotes nothing of it,
/// because it may name a user.
pub fn read<'b>(
    body: &'b mut [u8],
    mut take: impl FnMut(ParsedSession<'b>),
) -> Result<(), Failure> {
    repair::lone_surrogates(body);
    let text = std::str::from_utf8(body).map_err(|error| {
        invalid(format!("it is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.trim_ascii_start().chars().next() {
        None => return Err(invalid("it is empty".to_owned())),
        Some('[') => {}
        Some(_) => return Err(invalid("it does not begin with `[`".to_owned())),
    }
    let mut sessions = 0;
    let mut reader = serde_json::Deserializer::from_str(text);
    Sessions { take: &mut take, count: &mut sessions }
        .deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|error| invalid(what_is_wrong(&error, sessions)))
}

fn what_is_wrong(error: &serde_json::Error, sessions: usize) -> String {
    if error.is_eof() {
        return format!("it breaks off after {sessions} sessions");
    }
    format!("after {sessions} sessions, {}", json::complaint(error))
}

fn invalid(why: String) -> Failure {
    Failure::new(Category::InvalidBody, format!("the answer is not a list of sessions: {why}"))
        .hint("is this the session API of the Qlik Sense proxy (port 4243), or does a load balancer answer in its place?")
        .status(200)
}

/// The list. It is not kept: each session is handed over as it is read.
struct Sessions<'t, F> {
    take: &'t mut F,
    count: &'t mut usize,
}

impl<'de, F: FnMut(ParsedSession<'de>)> DeserializeSeed<'de> for Sessions<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(ParsedSession<'de>)> Visitor<'de> for Sessions<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sessions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(SessionObject(session)) = list.next_element()? {
            *self.count += 1;
            (self.take)(ParsedSession {
                session_id: session.session_id.0,
                user_directory: session.user_directory.0,
                user_id: session.user_id.0,
                attributes: session.attributes,
            });
        }
        Ok(())
    }
}

/// An object; serde would take a list for one, too.
struct SessionObject<'a>(SessionKeys<'a>);

#[derive(Deserialize)]
struct SessionKeys<'a> {
    #[serde(rename = "SessionId", borrow)]
    session_id: Text<'a>,
    #[serde(rename = "UserDirectory", borrow)]
    user_directory: Text<'a>,
    #[serde(rename = "UserId", borrow)]
    user_id: Text<'a>,
    #[serde(rename = "Attributes", borrow, default)]
    attributes: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for SessionObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = SessionKeys<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a session with SessionId, UserDirectory and UserId")
            }

            fn visit_map<A: MapAccess<'de>>(self, keys: A) -> Result<Self::Value, A::Error> {
                SessionKeys::deserialize(MapAccessDeserializer::new(keys))
            }
        }

        deserializer.deserialize_map(Object).map(SessionObject)
    }
}

/// A text, borrowed where it holds no escapes.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;

        impl<'de> Visitor<'de> for Scalar {
            type Value = Option<Cow<'de, str>>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Some(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Some(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Some(number.to_string().into()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Some(number.to_string().into()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Some(number.to_string().into()))
            }
        }

        deserializer.deserialize_any(Scalar).map(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_list_is_no_session() {
        let mut answer = br#"[["s1","LAB","goran"]]"#.to_vec();
        let failure = read(&mut answer, |_| ()).expect_err("it is refused");
        assert!(failure.message.contains("invalid type: sequence, expected a session"));
    }
}
