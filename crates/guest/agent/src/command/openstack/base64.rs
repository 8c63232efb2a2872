//! Base64 as Python 2's `b64decode` reads it: what is not of the alphabet is dropped, then the padding has to be right.

/// The bytes; `None` when the padding is not right.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held, mut place) = (0u32, 0u32, 0u32);
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            // A padding that completes a group ends the text; another is dropped as any stray character.
            b'=' if place == 3 => return Some(bytes),
            b'=' if place == 2 => {
                let next = rest.clone().find(|b| is_of_the_alphabet(*b) || *b == b'=');
                if next == Some(b'=') {
                    return Some(bytes);
                }
                continue;
            }
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        place = (place + 1) % 4;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).expect("eight bits"));
            bits &= (1 << held) - 1;
        }
    }
    (held == 0).then_some(bytes)
}

fn is_of_the_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn as_python_reads_it() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("!!!", b""),
            ("YQ==", b"a"),
            ("YWI=", b"ab"),
            ("YWJj", b"abc"),
            ("Y W\nJ-j", b"abc"),
            ("YQ==YQ==", b"a"),
            ("YQ=\n=", b"a"),
            ("====", b""),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes), "{text:?}");
        }
        for text in ["kjadfkjaf", "zzz", "YQ", "YQ=", "Y", "YWI"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
