//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Error;

/// An Ethernet address. Written and read as `aa:c1:ab:01:02:03`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Derives a stable address from a name: the prefix `aa:c1:ab` of containerlab (locally administered), then three bytes
    /// of the name's SHA-256. The same name gives the same address on every host and after every restart.
    pub fn from_name(name: &str) -> Mac {
        Mac::with_attempt(name, 0)
    }

    /// As [`Mac::from_name`], but another address for each `attempt`: lets a lab resolve the rare collision (24 bits) and
    /// stay deterministic. Attempt 0 is [`Mac::from_name`].
    pub fn with_attempt(name: &str, attempt: u32) -> Mac {
        let mut hash = Sha256::new();
        hash.update(name.as_bytes());
        if attempt > 0 {
            hash.update(attempt.to_be_bytes());
        }
        let digest = hash.finalize();
        Mac([0xaa, 0xc1, 0xab, digest[0], digest[1], digest[2]])
    }

    /// Whether a network interface can have the address: neither multicast nor all zero.
    pub fn is_usable(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = Error;

    /// Reads six hexadecimal bytes separated by `:` or `-`, either case.
    fn from_str(text: &str) -> Result<Mac, Error> {
        let invalid = || Error::Invalid {
            what: format!("`{}`", text.chars().take(40).collect::<String>()),
            reason: "not an Ethernet address; write it as `aa:c1:ab:01:02:03`".into(),
        };
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(invalid)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() {
            return Err(invalid());
        }
        Ok(Mac(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;

    fn try_from(text: String) -> Result<Mac, Error> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t84_a_name_gives_the_same_usable_address_every_time() {
        let mac = Mac::from_name("lab/r1/eth1");
        assert_eq!(mac, Mac::from_name("lab/r1/eth1"));
        assert_ne!(mac, Mac::from_name("lab/r1/eth2"));
        assert_ne!(mac, Mac::with_attempt("lab/r1/eth1", 1));
        assert!(mac.is_usable());
        assert!(mac.to_string().starts_with("aa:c1:ab:"));
        assert_eq!(mac.to_string().parse::<Mac>().unwrap(), mac);
    }

    #[test]
    fn texts_that_are_no_address_are_refused() {
        assert_eq!("AA-C1-AB-00-0f-10".parse::<Mac>().unwrap().0, [0xaa, 0xc1, 0xab, 0, 15, 16]);
        for text in [
            "",
            "aa:bb:cc:dd:ee",
            "aa:bb:cc:dd:ee:ff:00",
            "a:b:c:d:e:f",
            "+a:bb:cc:dd:ee:ff",
            "zz:bb:cc:dd:ee:ff",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
