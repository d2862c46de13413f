//! Answers of the session API as large as wanted.

use std::fmt::Write as _;

/// The `number`th session's id.
fn session_id(number: usize) -> String {
    // Spread over all digits, as GUIDs are.
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        mixed >> 32,
        (mixed >> 16) & 0xffff,
        mixed & 0xfff,
        (mixed >> 20) & 0xfff,
        number
    )
}

/// An answer with the sessions from `first` on, as the proxy writes it: some
/// 200 bytes each, two and a half sessions for each user.
pub fn answer(first: usize, sessions: usize) -> String {
    let mut json = String::from("[");
    for number in first..first + sessions {
        if number > first {
            json.push(',');
        }
        let user = number * 2 / 5;
        write!(
            json,
            r#"{{"UserDirectory":"EXAMPLE","UserId":"user{user:06}","Attributes":[{{"group":"Everyone"}},{{"group":"Analysts"}},{{"email":"user{user:06}@example.com"}}],"SessionId":"{}"}}"#,
            session_id(number)
        )
        .expect("a string takes all");
    }
    json.push(']');
    json
}
