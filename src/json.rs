//! What serde_json says about a text that it cannot read, without quoting it: the text may
//! name a user, and neither log nor event may do that.

/// The error's words without the value that was found.
pub fn complaint(error: &serde_json::Error) -> String {
    let words = error.to_string();
    // `invalid type: string "goran", expected a session at line 1 column 8`
    let value = words.find(['"', '`']).zip(words.rfind(", expected "));
    match value {
        Some((start, end)) if words.starts_with("invalid ") && start < end => {
            format!("{}{}", words[..start].trim_end(), &words[end..])
        }
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::complaint;

    fn of<T: serde::de::DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
        complaint(&serde_json::from_str::<T>(json).expect_err("it is refused"))
    }

    #[test]
    fn no_value_of_an_answer_is_quoted() {
        let text = r#"["a \"b\", expected c"]"#;
        assert_eq!(of::<Vec<u8>>(text), "invalid type: string, expected u8 at line 1 column 22");
        assert_eq!(
            of::<Vec<String>>("[4711]"),
            "invalid type: integer, expected a string at line 1 column 5"
        );
        assert_eq!(
            of::<Vec<u8>>("[4711]"),
            "invalid value: integer, expected u8 at line 1 column 5"
        );
        assert_eq!(
            of::<String>("null"),
            "invalid type: null, expected a string at line 1 column 4"
        );
        assert_eq!(
            of::<(u8, u8)>("[1]"),
            "invalid length 1, expected a tuple of size 2 at line 1 column 3"
        );
        assert_eq!(of::<u8>(""), "EOF while parsing a value at line 1 column 0");
    }
}
