//! The key against cross-site request forgery that every request carries
//! twice: in the query and in a header.

use ring::rand::{SecureRandom, SystemRandom};

const CHARACTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LENGTH: usize = 16;

/// 16 random characters of `[0-9A-Za-z]`, new for each request.
pub fn fresh() -> String {
    let mut random = [0; LENGTH];
    // Without random bytes there is no TLS either: the request fails there.
    let _ = SystemRandom::new().fill(&mut random);
    random.iter().map(|byte| CHARACTERS[usize::from(*byte) % CHARACTERS.len()] as char).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_have_sixteen_allowed_characters_and_differ() {
        let (a, b) = (super::fresh(), super::fresh());
        assert_eq!(a.len(), 16);
        assert!(a.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(a, b);
    }
}
