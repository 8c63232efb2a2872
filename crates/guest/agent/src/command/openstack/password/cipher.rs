//! From the shared number to the password: key and IV as `openssl enc` derives them, AES-128-CBC, PKCS#7.

use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use md5::Digest as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::group::Number;

/// Bytes of a block, a key, an IV.
const BLOCK: usize = 16;

/// How a key and an IV come from a passphrase: OpenSSL's default before and since 1.1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Derivation {
    Md5,
    Sha256,
}

type Secret = Zeroizing<[u8; BLOCK]>;

/// Key and IV.
pub(super) fn derive(shared: &Number, how: Derivation) -> (Secret, Secret) {
    let passphrase = shared.digits();
    let (mut key, mut iv) = (Secret::default(), Secret::default());
    match how {
        Derivation::Md5 => {
            let mut digest = md5::Md5::digest(passphrase.as_bytes());
            key.copy_from_slice(&digest);
            digest.zeroize();
            let mut digest =
                md5::Md5::new().chain_update(*key).chain_update(passphrase.as_bytes()).finalize();
            iv.copy_from_slice(&digest);
            digest.zeroize();
        }
        Derivation::Sha256 => {
            let mut digest = sha2::Sha256::digest(passphrase.as_bytes());
            key.copy_from_slice(&digest[..BLOCK]);
            iv.copy_from_slice(&digest[BLOCK..]);
            digest.zeroize();
        }
    }
    (key, iv)
}

/// The password: decrypted with the first derivation that gives one. `ciphertext` is whole blocks, at least one.
pub(super) fn password(shared: &Number, ciphertext: &[u8]) -> Option<Zeroizing<String>> {
    [Derivation::Md5, Derivation::Sha256]
        .into_iter()
        .find_map(|how| as_password(&plaintext(shared, ciphertext, how)?))
}

/// Decrypted and without its padding, which is checked whole.
pub(super) fn plaintext(
    shared: &Number,
    ciphertext: &[u8],
    how: Derivation,
) -> Option<Zeroizing<Vec<u8>>> {
    let (key, iv) = derive(shared, how);
    let mut cipher = cbc::Decryptor::<aes::Aes128>::new((&*key).into(), (&*iv).into());
    let mut text = Zeroizing::new(ciphertext.to_vec());
    for block in text.chunks_exact_mut(BLOCK) {
        let block: &mut [u8; BLOCK] = block.try_into().ok()?;
        cipher.decrypt_block(block.into());
    }
    let padding = *text.last()?;
    let end = text.len().checked_sub(usize::from(padding))?;
    if padding == 0 || usize::from(padding) > BLOCK || text[end..].iter().any(|b| *b != padding) {
        return None;
    }
    text.truncate(end);
    Some(text)
}

/// Text without the newlines around it, if it can be a password (R-P3).
fn as_password(plaintext: &[u8]) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(plaintext).ok()?.trim_matches('\n');
    (!text.is_empty() && !text.chars().any(char::is_control))
        .then(|| Zeroizing::new(text.to_owned()))
}
