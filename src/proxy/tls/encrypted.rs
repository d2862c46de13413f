//! Private keys in PEM, plain and with a passphrase.
//!
//! There are two encrypted forms: PKCS#8 (`ENCRYPTED PRIVATE KEY`), which itself says
//! how it is encrypted, and OpenSSL's older one, which says it in PEM headers. No crate
//! reads the older one, and OpenSSL wrote it for `rsa -aes256` and the like until
//! version 3, so a site's key may well have it. The ciphers are those that the
//! crate for PKCS#8 brings along.

use aes::{Aes128, Aes192, Aes256};
use cbc::{
    Decryptor,
    cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit, block_padding::Pkcs7},
};
use des::TdesEde3;
use md5::{Digest, Md5};
use pem::Pem;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use crate::hexadecimal;

/// Why a key cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It is encrypted.
    #[error("the private key is protected by a passphrase, and none is given")]
    PassphraseMissing,
    /// It is encrypted with another passphrase.
    #[error("the passphrase does not open the private key")]
    WrongPassphrase,
    /// It is encrypted in a way that is not known here.
    #[error("the private key is protected in a way that is not supported: {0}")]
    Unsupported(String),
    /// It is no key.
    #[error("the private key is damaged: {0}")]
    Damaged(String),
}

/// The key in a PEM block.
pub fn private_key(
    block: &Pem,
    passphrase: Option<&str>,
) -> Result<PrivateKeyDer<'static>, Trouble> {
    let contents = match block.headers().get("DEK-Info") {
        Some(info) => {
            legacy(info, block.contents(), passphrase.ok_or(Trouble::PassphraseMissing)?)?
        }
        None => block.contents().to_vec(),
    };
    match block.tag() {
        "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(contents).into()),
        "EC PRIVATE KEY" => Ok(PrivateSec1KeyDer::from(contents).into()),
        "PRIVATE KEY" => Ok(PrivatePkcs8KeyDer::from(contents).into()),
        "ENCRYPTED PRIVATE KEY" => pkcs8(&contents, passphrase.ok_or(Trouble::PassphraseMissing)?),
        tag => Err(Trouble::Unsupported(tag.to_owned())),
    }
}

fn pkcs8(der: &[u8], passphrase: &str) -> Result<PrivateKeyDer<'static>, Trouble> {
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|error| Trouble::Unsupported(error.to_string()))?;
    let key = encrypted.decrypt(passphrase).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed) => {
            Trouble::WrongPassphrase
        }
        pkcs8::Error::Asn1(_) => Trouble::WrongPassphrase,
        error => Trouble::Unsupported(error.to_string()),
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// `DEK-Info: AES-256-CBC,0123…`: the cipher, and its initialisation vector in hex.
fn legacy(info: &str, encrypted: &[u8], passphrase: &str) -> Result<Vec<u8>, Trouble> {
    let (cipher, vector) =
        info.split_once(',').ok_or_else(|| Trouble::Damaged("DEK-Info".to_owned()))?;
    let vector = hexadecimal::decode(vector.trim())
        .ok_or_else(|| Trouble::Damaged("DEK-Info".to_owned()))?;
    match cipher.trim() {
        "AES-128-CBC" => decrypt::<Aes128>(encrypted, passphrase, &vector),
        "AES-192-CBC" => decrypt::<Aes192>(encrypted, passphrase, &vector),
        "AES-256-CBC" => decrypt::<Aes256>(encrypted, passphrase, &vector),
        "DES-EDE3-CBC" => decrypt::<TdesEde3>(encrypted, passphrase, &vector),
        other => Err(Trouble::Unsupported(other.to_owned())),
    }
}

fn decrypt<C: BlockCipherDecrypt + KeyInit>(
    encrypted: &[u8],
    passphrase: &str,
    vector: &[u8],
) -> Result<Vec<u8>, Trouble> {
    let salt = vector.get(..8).ok_or_else(|| Trouble::Damaged("DEK-Info".to_owned()))?;
    let key = bytes_to_key(passphrase.as_bytes(), salt, C::key_size());
    let decryptor = Decryptor::<C>::new_from_slices(&key, vector)
        .map_err(|_| Trouble::Damaged("DEK-Info".to_owned()))?;
    let key =
        decryptor.decrypt_padded_vec::<Pkcs7>(encrypted).map_err(|_| Trouble::WrongPassphrase)?;
    // One wrong passphrase in 256 leaves a correct padding by chance; a key is a
    // DER sequence that fills the rest.
    if is_whole_sequence(&key) { Ok(key) } else { Err(Trouble::WrongPassphrase) }
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round.
fn bytes_to_key(passphrase: &[u8], salt: &[u8], length: usize) -> Vec<u8> {
    let mut key = Vec::new();
    let mut digest = Vec::new();
    while key.len() < length {
        digest = Md5::new()
            .chain_update(&digest)
            .chain_update(passphrase)
            .chain_update(salt)
            .finalize()
            .to_vec();
        key.extend_from_slice(&digest);
    }
    key.truncate(length);
    key
}

fn is_whole_sequence(der: &[u8]) -> bool {
    use pkcs8::der::{AnyRef, Decode, Tag, Tagged};
    AnyRef::from_der(der).is_ok_and(|any| any.tag() == Tag::Sequence)
}
