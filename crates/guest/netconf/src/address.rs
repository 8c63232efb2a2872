//! Hardware addresses, and prefix lengths in the forms people write them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The hardware address of an Ethernet interface. Shown in lower case with colons.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = NoMac;

    fn try_from(text: String) -> Result<Self, NoMac> {
        text.parse()
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no hardware address of six bytes in hexadecimal, separated by colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hardware address of six bytes, such as 52:54:00:12:34:56")]
pub struct NoMac;

impl FromStr for Mac {
    type Err = NoMac;

    /// Reads `XX:XX:XX:XX:XX:XX` in any case.
    fn from_str(text: &str) -> Result<Self, NoMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(NoMac)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(NoMac);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| NoMac)?;
        }
        if parts.next().is_some() { Err(NoMac) } else { Ok(Self(bytes)) }
    }
}

/// The prefix length of an IPv4 mask, written with dots or as a length; `None` when it is neither, or has holes.
pub fn prefix4(text: &str) -> Option<u8> {
    let text = text.trim();
    if let Some(length) = length(text, 32) {
        return Some(length);
    }
    let bits = u32::from(text.parse::<Ipv4Addr>().ok()?);
    (bits.leading_ones() + bits.trailing_zeros() >= 32).then(|| bits.leading_ones() as u8)
}

/// The prefix length of an IPv6 mask, written as an address (`ffff:ffff::`) or as a length.
pub fn prefix6(text: &str) -> Option<u8> {
    let text = text.trim();
    if let Some(length) = length(text, 128) {
        return Some(length);
    }
    let bits = u128::from(text.parse::<Ipv6Addr>().ok()?);
    (bits.leading_ones() + bits.trailing_zeros() >= 128).then(|| bits.leading_ones() as u8)
}

fn length(text: &str, most: u8) -> Option<u8> {
    let plain = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|length| plain && *length <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_read_in_any_case_and_shown_in_lower_case() {
        assert_eq!("40:40:8F:1E:A0:0A".parse::<Mac>().unwrap().to_string(), "40:40:8f:1e:a0:0a");
        for bad in
            ["", "40:40:8f:1e:a0", "40:40:8f:1e:a0:0a:00", "4:40:8f:1e:a0:0a", "+1:2:3:4:5:6"]
        {
            assert_eq!(bad.parse::<Mac>(), Err(NoMac), "{bad}");
        }
    }

    #[test]
    fn masks_are_dotted_or_lengths() {
        assert_eq!(prefix4("255.255.224.0"), Some(19));
        assert_eq!(prefix4("0.0.0.0"), Some(0));
        assert_eq!(prefix4("255.255.255.255"), Some(32));
        assert_eq!(prefix4("24"), Some(24));
        for bad in ["255.0.255.0", "0.0.0.255", "33", "", "+8", "x"] {
            assert_eq!(prefix4(bad), None, "{bad}");
        }
        assert_eq!(prefix6("64"), Some(64));
        assert_eq!(prefix6("ffff:ffff::"), Some(32));
        assert_eq!(prefix6("::"), Some(0));
        assert_eq!(prefix6("ffff::ffff"), None);
        assert_eq!(prefix6("129"), None);
    }
}
