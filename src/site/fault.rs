//! What goes wrong at real sites, to be switched on in the simulated one.

use std::{fmt, str::FromStr, time::Duration};

/// How a virtual proxy fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A login form with status 200: what port 443 ends in.
    LoginPage,
    /// Status 302 to the login form.
    Redirect,
    /// The right answer, but late.
    Slow(Duration),
    /// No answer at all; the connection stays.
    NoAnswer,
    /// Half of the body, then nothing.
    StallBody,
    /// Half of the body, then the connection is closed.
    CloseMidBody,
    /// The connection is reset.
    Reset,
    /// Status 200, and bytes that are not a text.
    Garbage,
    /// Half of the list, as if it were whole.
    TruncatedJson,
    /// Status 200, and nothing.
    EmptyBody,
    /// Status 200, and JSON that is not a list.
    JsonObject,
    /// This many additional sessions.
    HugeList(usize),
    /// Status 403 with the text of the Xrfkey check.
    Xsrf,
    /// A status, and a few words.
    Status(u16),
}

const HUGE_LIST: usize = 20_000;
const SLOW: Duration = Duration::from_secs(10);

/// Every fault by its name on the command line.
fn named() -> Vec<(&'static str, Fault)> {
    vec![
        ("login-page", Fault::LoginPage),
        ("redirect", Fault::Redirect),
        ("slow", Fault::Slow(SLOW)),
        ("no-answer", Fault::NoAnswer),
        ("stall-body", Fault::StallBody),
        ("close-mid-body", Fault::CloseMidBody),
        ("reset", Fault::Reset),
        ("garbage", Fault::Garbage),
        ("truncated-json", Fault::TruncatedJson),
        ("empty-body", Fault::EmptyBody),
        ("json-object", Fault::JsonObject),
        ("huge-list", Fault::HugeList(HUGE_LIST)),
        ("xsrf", Fault::Xsrf),
        ("unauthorized", Fault::Status(401)),
        ("forbidden", Fault::Status(403)),
        ("not-found", Fault::Status(404)),
        ("too-many-requests", Fault::Status(429)),
        ("server-error", Fault::Status(500)),
    ]
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = named().into_iter().find(|(name, _)| *name == text);
        fault
            .map(|(_, fault)| fault)
            .ok_or_else(|| format!("expected one of {}", Self::names().join(", ")))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match named().iter().find(|(_, fault)| fault == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{self:?}"),
        }
    }
}

impl Fault {
    /// The names of all kinds on the command line.
    pub fn names() -> Vec<&'static str> {
        named().into_iter().map(|(name, _)| name).collect()
    }

    /// Every kind of fault once, for tests that try them all.
    pub fn all() -> Vec<Self> {
        named().into_iter().map(|(_, fault)| fault).collect()
    }
}
