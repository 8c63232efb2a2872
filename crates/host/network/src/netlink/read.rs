//! Reads netlink messages and attributes. Lengths come from outside: nothing here panics or reads past an end, whatever
//! the bytes.

use super::Refused;
use super::socket::HEADER;

/// Header of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
}

/// The messages in a received buffer, each with its body. Ends at the first malformed one.
#[derive(Debug, Clone)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    pub fn new(bytes: &'a [u8]) -> Messages<'a> {
        Messages(bytes)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = (Header, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.0;
        let length = parse_u32(bytes)? as usize;
        let body = bytes.get(HEADER..length)?;
        let header = Header {
            kind: parse_u16(&bytes[4..])?,
            flags: parse_u16(&bytes[6..])?,
            sequence: parse_u32(&bytes[8..])?,
        };
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((header, body))
    }
}

/// The attributes in a body, each with its type (flags removed) and value. Ends at the first malformed one.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub fn new(bytes: &'a [u8]) -> Attributes<'a> {
        Attributes(bytes)
    }

    /// The attributes that follow a fixed part of `length` bytes.
    pub fn after(bytes: &'a [u8], length: usize) -> Attributes<'a> {
        Attributes(bytes.get(length..).unwrap_or_default())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.0;
        let length = usize::from(parse_u16(bytes)?);
        let kind = parse_u16(bytes.get(2..)?)? & libc::NLA_TYPE_MASK as u16;
        let value = bytes.get(4..length)?;
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// First attribute of a type.
pub(crate) fn find<'a>(mut attributes: Attributes<'a>, kind: u16) -> Option<&'a [u8]> {
    attributes.find(|(found, _)| *found == kind).map(|(_, value)| value)
}

pub(crate) fn parse_u16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_ne_bytes)
}

pub(crate) fn parse_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Text up to its NUL; bytes that are no UTF-8 are replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Body of an error message (`struct nlmsgerr` and extended acknowledgement): `None` is success.
pub(super) fn refusal(header: Header, body: &[u8]) -> Option<Refused> {
    const ACK_TEXT: u16 = 1; // NLMSGERR_ATTR_MSG
    let errno = match parse_u32(body) {
        Some(value) => (value as i32).wrapping_neg(),
        None => libc::EPROTO,
    };
    if errno == 0 {
        return None;
    }
    // The request follows the number: its header only where the socket has NETLINK_CAP_ACK, else all of it.
    let echoed = match header.flags & libc::NLM_F_CAPPED as u16 {
        0 => parse_u32(body.get(4..).unwrap_or_default()).unwrap_or(0) as usize,
        _ => HEADER,
    };
    let has_text = header.flags & libc::NLM_F_ACK_TLVS as u16 != 0;
    let attributes = Attributes::after(body, echoed.next_multiple_of(4).saturating_add(4));
    let words = has_text.then(|| find(attributes, ACK_TEXT)).flatten().map(text);
    Some(Refused { errno, text: words.filter(|words| !words.is_empty()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (header, body) in Messages::new(&bytes) {
                refusal(header, body);
            }
            for (_, value) in Attributes::new(&bytes) {
                text(value);
                Attributes::after(value, 8).count();
            }
            let flags = libc::NLM_F_ACK_TLVS as u16;
            refusal(Header { kind: 2, flags, sequence: 0 }, &bytes);
        }
    }

    #[test]
    fn a_refusal_carries_the_kernels_words() {
        let mut body = (-libc::EINVAL).to_ne_bytes().to_vec();
        body.extend_from_slice(&[0; 16]);
        body.extend_from_slice(&[11, 0, 1, 0]);
        body.extend_from_slice(b"no way\0\0");
        let flags = (libc::NLM_F_CAPPED | libc::NLM_F_ACK_TLVS) as u16;
        let refused = refusal(Header { kind: 2, flags, sequence: 0 }, &body).unwrap();
        assert_eq!(refused, Refused { errno: libc::EINVAL, text: Some("no way".into()) });
    }
}
