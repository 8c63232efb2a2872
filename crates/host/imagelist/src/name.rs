//! Names of people and authorities in OpenSSL's one-line form: `/DC=org/DC=example/CN=Alice`.
//!
//! RDNs in the certificate's order, each `/TYPE=value` with the short name of the type (or its dotted OID), bytes
//! outside 0x20..0x7E as `\xHH` in upper case.

use std::fmt::Write as _;

use openssl::{nid::Nid, x509::X509NameRef};
use serde::{Deserialize, Serialize};

/// Who signs: a subject and who certified it. Compared by [`Principal::is`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Principal {
    /// `hv:dn`: subject of the certificate.
    pub subject: String,
    /// `hv:ca`: issuer of the certificate.
    pub issuer: String,
}

impl Principal {
    pub fn new(subject: impl Into<String>, issuer: impl Into<String>) -> Self {
        Self { subject: subject.into(), issuer: issuer.into() }
    }

    /// Whether both names mean the same as `other`'s.
    pub fn is(&self, other: &Self) -> bool {
        same(&self.subject, &other.subject) && same(&self.issuer, &other.issuer)
    }
}

/// Whether two names mean the same: equal, but for the old spellings of mail address and user id, and for
/// real UTF-8 in place of `\xHH`.
pub fn same(one: &str, other: &str) -> bool {
    one == other || canonical(one) == canonical(other)
}

/// The one spelling of a name: `emailAddress=` for `Email=` and `E=`, `UID=` for `USERID=`, `\xHH` for each byte
/// that is not printable ASCII.
pub fn canonical(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if c == '/'
            && let Some((old, new)) = OLD_TYPES.iter().find(|(old, _)| rest[1..].starts_with(old))
        {
            out.push('/');
            out.push_str(new);
            rest = &rest[1 + old.len()..];
            continue;
        }
        let (this, after) = rest.split_at(c.len_utf8());
        for byte in this.bytes() {
            push_byte(&mut out, byte);
        }
        rest = after;
    }
    out
}

const OLD_TYPES: &[(&str, &str)] =
    &[("Email=", "emailAddress="), ("E=", "emailAddress="), ("USERID=", "UID=")];

fn push_byte(out: &mut String, byte: u8) {
    if (0x20..=0x7e).contains(&byte) {
        out.push(char::from(byte));
    } else {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{byte:02X}");
    }
}

/// The one-line form of a name of a certificate or CRL.
pub(crate) fn one_line(name: &X509NameRef) -> String {
    let mut out = String::new();
    for entry in name.entries() {
        let object = entry.object();
        out.push('/');
        match object.nid() {
            Nid::UNDEF => out.push_str(&object.to_string()),
            nid => match nid.short_name() {
                Ok(short) => out.push_str(short),
                Err(_) => out.push_str(&object.to_string()),
            },
        }
        out.push('=');
        for byte in entry.data().as_slice() {
            push_byte(&mut out, *byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_mean_the_same() {
        assert!(same("/CN=Zoë", "/CN=Zo\\xC3\\xAB"));
        assert!(same("/CN=a/Email=a@b", "/CN=a/emailAddress=a@b"));
        assert!(same("/CN=a/E=a@b", "/CN=a/Email=a@b"));
        assert!(same("/USERID=x/CN=a", "/UID=x/CN=a"));
        assert!(!same("/CN=a", "/CN=A"));
        assert!(!same("/CN=E=a", "/CN=emailAddress=a"));
        assert!(!same("/DC=org/DC=a", "/DC=a/DC=org"));
    }
}
