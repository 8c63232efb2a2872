//! Names of kernel objects that fit the kernel: at most 15 bytes for an interface (`IFNAMSIZ` less its NUL).

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Longest interface name the kernel takes.
pub(crate) const NAME_MAX: usize = 15;
/// Longest alternative name the kernel takes (`ALTIFNAMSIZ` less its NUL).
const ALTERNATIVE_MAX: usize = 127;

/// The name of an object in the host's namespace: `vn` and 13 characters that are a function of `parts` (65 bits of SHA-256).
/// Give the parts that make the object unique on the host, instance and lab first.
pub fn host_name(parts: &[&str]) -> String {
    format!("vn{}", digest(parts, 13))
}

/// An interface name as the user wrote it and as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceName {
    /// The interface's name in the kernel.
    pub kernel: String,
    /// The user's name where the kernel cannot have it as the main one; becomes an alternative name (`ip link show` finds
    /// the interface by it).
    pub original: Option<String>,
}

/// Turns a user's interface name into one the kernel takes (T-82). A name of at most 15 bytes that the kernel accepts stays
/// as it is, dots included. Any other becomes its first eight usable characters, `-`, and six characters of a hash of the
/// whole name, so that two long names with the same beginning stay different.
///
/// # Errors
/// [`Error::Invalid`] for an empty name, one longer than 127 bytes, or one with control characters.
pub fn interface_name(name: &str) -> Result<InterfaceName> {
    if name.is_empty() || name.len() > ALTERNATIVE_MAX || name.chars().any(char::is_control) {
        return Err(Error::Invalid {
            what: format!(
                "interface name `{}`",
                name.chars().take(40).collect::<String>().escape_debug()
            ),
            reason: "an interface name has 1 to 127 bytes and no control characters".into(),
        });
    }
    if is_kernel_name(name) {
        return Ok(InterfaceName { kernel: name.into(), original: None });
    }
    let usable = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let start: String = name.chars().filter(usable).take(8).collect();
    let kernel = format!("{start}-{}", digest(&[name], 6));
    Ok(InterfaceName { kernel, original: Some(name.into()) })
}

/// Whether the kernel takes `name` as it is and every tool can be given it (`dev_valid_name`, and `%` which it would fill in).
pub(crate) fn is_kernel_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name != "."
        && name != ".."
        && !matches!(name, "all" | "default")
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'))
}

/// `length` characters of base32 (lower case, no padding) of the SHA-256 of `parts`, each with its length before it.
pub(crate) fn digest(parts: &[&str], length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let bit = |at: usize| (digest[at / 8] >> (7 - at % 8)) & 1;
    (0..length)
        .map(|at| (0..5).fold(0, |value, offset| value << 1 | bit(at * 5 + offset)))
        .map(|value| char::from(ALPHABET[usize::from(value)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t82_long_and_odd_interface_names_get_distinct_short_ones() {
        let plain = |kernel: &str| InterfaceName { kernel: kernel.into(), original: None };
        assert_eq!(interface_name("eth0.100").unwrap(), plain("eth0.100"));
        assert_eq!(interface_name("fifteen-bytes-x").unwrap(), plain("fifteen-bytes-x"));
        let one = interface_name("ethernet-1/1/1-breakout-a").unwrap();
        let two = interface_name("ethernet-1/1/1-breakout-b").unwrap();
        assert_ne!(one.kernel, two.kernel);
        assert_eq!(one.original.as_deref(), Some("ethernet-1/1/1-breakout-a"));
        for name in
            ["ge-0/0/0", "a b", "%d", "..", "all", "émile", &"x".repeat(127), "////////////////"]
        {
            let made = interface_name(name).unwrap();
            assert!(is_kernel_name(&made.kernel), "{name}: {}", made.kernel);
            assert_eq!(made.original.as_deref(), Some(name));
        }
        for name in ["", "a\nb", &"x".repeat(128)] {
            assert!(interface_name(name).is_err());
        }
    }

    #[test]
    fn names_on_the_host_fit_and_depend_on_every_part() {
        let name = host_name(&["i", "lab", "bridge", "lan"]);
        assert_eq!(name.len(), NAME_MAX);
        assert!(is_kernel_name(&name));
        assert_ne!(name, host_name(&["i", "lab", "bridgelan", ""]));
        assert_ne!(host_name(&["ab", "c"]), host_name(&["a", "bc"]));
    }
}
