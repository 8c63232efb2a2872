//! Hashes of passwords for the shadow file: SHA-512 crypt, whatever method the old one was of (R-P7).

use zeroize::Zeroizing;

const SALT: usize = 16;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The password could not be hashed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no random numbers for the salt")]
    Random(#[from] rustix::io::Errno),
    #[error("the hash does not verify")]
    Check,
}

/// A shadow field that verifies, with a salt of its own.
pub(super) fn hash(password: &str) -> Result<Zeroizing<String>, Error> {
    let mut random = [0; SALT];
    super::random(&mut random)?;
    let salt: String =
        random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect();
    let field = crypt(password, &salt);
    if !verifies(password, &field) {
        return Err(Error::Check);
    }
    Ok(field)
}

/// Whether a `$6$` field of ours is of that password: with what was written for a setting.
pub(super) fn verifies(password: &str, field: &str) -> bool {
    let mut parts = field.split('$');
    let (Some(""), Some("6"), Some(salt), Some(hash), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    salt.len() == SALT && hash.len() == 86 && *crypt(password, salt) == *field
}

/// As `crypt(3)` with the setting `$6$SALT$`.
fn crypt(password: &str, salt: &str) -> Zeroizing<String> {
    let rounds = sha_crypt::Params::new(5000).expect("the method's default");
    let digest =
        Zeroizing::new(sha_crypt::sha512_crypt(password.as_bytes(), salt.as_bytes(), rounds));
    let mut field = Zeroizing::new(format!("$6${salt}$"));
    let mut put = |bytes: [u8; 3], characters: usize| {
        let mut bits = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
        for _ in 0..characters {
            field.push(char::from(ALPHABET[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    // The method takes the bytes in an order of its own: each group is the one before, moved and turned.
    let mut group = [0, 21, 42];
    for _ in 0..21 {
        put(group.map(|at| digest[at]), 4);
        group = [group[1] + 1, group[2] + 1, group[0] + 1];
    }
    put([0, 0, digest[63]], 2);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's vectors, checked with libxcrypt.
    #[test]
    fn crypt_agrees_with_libxcrypt() {
        for (password, salt, hash) in [
            (
                "secret",
                "abcdefgh",
                "ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
            ),
            (
                "pässwörd-€",
                "Zz09./AaBbCcDdEe",
                "4sm4.0YXfpXn1djI/65A1EVKE.Fqu0gQGy71qagMGLlTrllPewrFifGcPngaW1zgVgE8YcRPbFq2VbIFRl3bp1",
            ),
            (
                "",
                "saltsalt",
                "qkTgsCrWMTAS9gBGcf9W60sFfH.hU0oTCAOJjhbz5tSp/sU3/xXZK4OFwCtq8lIIdpJ6CatVdOTSHKp97TPkt/",
            ),
        ] {
            assert_eq!(*crypt(password, salt), format!("$6${salt}${hash}"));
        }
    }

    #[test]
    fn a_hash_verifies_and_has_its_own_salt() {
        let (one, two) = (hash("pässwörd").unwrap(), hash("pässwörd").unwrap());
        assert!(verifies("pässwörd", &one) && verifies("pässwörd", &two));
        assert!(*one != *two);
        assert!(!verifies("other", &one));
        assert!(!verifies("x", "$6$short$x") && !verifies("x", "*0"));
    }
}
