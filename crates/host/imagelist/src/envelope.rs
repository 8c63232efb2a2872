//! The S/MIME envelope: a MIME message that holds what was signed and the signature.
//!
//! Two forms (RFC 8551): `multipart/signed` with the text and a detached signature, and `application/pkcs7-mime`
//! with the text inside the signature. The text of the first part begins at once, without a header of its own.

use base64::{Engine as _, alphabet, engine};

use crate::{MAX_MESSAGE_BYTES, error::Refusal};

/// Longest header, bytes.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// The parts of a signed message. Nothing about them is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the signature covers, with CRLF line ends; `None` when it is inside the signature.
    pub content: Option<Vec<u8>>,
    /// The CMS message, BER.
    pub signature: Vec<u8>,
}

/// Takes a message apart.
///
/// # Errors
/// [`Refusal::Envelope`] says what is missing.
pub fn split(message: &[u8]) -> Result<Envelope, Refusal> {
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(wrong(format!("it is longer than {MAX_MESSAGE_BYTES} bytes")));
    }
    let mut lines = Lines { rest: message };
    let header = Header::read(&mut lines)?;
    let kind = header.get("content-type").ok_or_else(|| wrong("it has no Content-Type"))?;
    let (media, parameters) = content_type(kind);
    match media.as_str() {
        "multipart/signed" => {
            let boundary = parameters
                .iter()
                .find_map(|(name, value)| (name == "boundary").then_some(value))
                .filter(|b| !b.is_empty() && b.len() <= 200)
                .ok_or_else(|| wrong("its Content-Type has no usable boundary"))?;
            detached(lines, boundary)
        }
        "application/pkcs7-mime" | "application/x-pkcs7-mime" => {
            let kind = parameters.iter().find(|(name, _)| name == "smime-type");
            if let Some((_, kind)) = kind
                && !kind.eq_ignore_ascii_case("signed-data")
            {
                return Err(wrong(format!("its smime-type is `{kind}`, not signed-data")));
            }
            Ok(Envelope { content: None, signature: base64_part(&header, lines.rest)? })
        }
        other => Err(wrong(format!("its Content-Type is `{other}`, not multipart/signed"))),
    }
}

/// The two parts of `multipart/signed`.
fn detached(mut lines: Lines<'_>, boundary: &str) -> Result<Envelope, Refusal> {
    let delimiter = format!("--{boundary}").into_bytes();
    let mut parts: Vec<Vec<&[u8]>> = Vec::new();
    let mut ended = false;
    while let Some(line) = lines.next() {
        let mark = line
            .strip_prefix(delimiter.as_slice())
            .map(<[u8]>::trim_ascii_end)
            .filter(|tail| tail.is_empty() || *tail == b"--");
        match (mark, ended) {
            (Some(_), true) => return Err(wrong("a part follows its last boundary")),
            (Some([]), false) => {
                if parts.len() == 2 {
                    return Err(wrong("it has more than two parts"));
                }
                parts.push(Vec::new());
            }
            (Some(_), false) => ended = true,
            (None, true) => {}
            (None, false) => {
                if let Some(part) = parts.last_mut() {
                    part.push(line);
                }
            }
        }
    }
    let [content, signature] = parts.as_slice() else {
        return Err(wrong(format!("it has {} parts instead of two", parts.len())));
    };
    if !ended {
        return Err(wrong("its last boundary is missing: it was cut off"));
    }
    let signature = signature.join(&b'\n');
    let mut lines = Lines { rest: &signature };
    let header = Header::read(&mut lines)?;
    let kind = header.get("content-type").unwrap_or_default();
    let (media, _) = content_type(kind);
    if !matches!(media.as_str(), "application/x-pkcs7-signature" | "application/pkcs7-signature") {
        return Err(wrong(format!("its second part is `{media}`, no signature")));
    }
    Ok(Envelope {
        content: Some(content.join(b"\r\n".as_slice())),
        signature: base64_part(&header, lines.rest)?,
    })
}

fn base64_part(header: &Header, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let encoding = header.get("content-transfer-encoding").unwrap_or_default();
    if !encoding.trim().eq_ignore_ascii_case("base64") {
        return Err(wrong(format!("its signature is encoded as `{encoding}`, not base64")));
    }
    let text: Vec<u8> = body.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let config = engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent);
    engine::GeneralPurpose::new(&alphabet::STANDARD, config)
        .decode(text)
        .map_err(|error| wrong(format!("its signature is no base64: {error}")))
}

fn wrong(reason: impl Into<String>) -> Refusal {
    Refusal::Envelope { reason: reason.into() }
}

/// Lines that end with LF or CRLF, without their ends.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = match self.rest.iter().position(|b| *b == b'\n') {
            Some(at) => (&self.rest[..at], &self.rest[at + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Header fields, names in lower case, folded lines joined.
struct Header(Vec<(String, String)>);

impl Header {
    /// Reads up to the empty line.
    fn read(lines: &mut Lines<'_>) -> Result<Self, Refusal> {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut read = 0;
        loop {
            let Some(line) = lines.next() else {
                return Err(wrong("it ends within a header"));
            };
            read += line.len() + 1;
            if read > MAX_HEADER_BYTES {
                return Err(wrong("a header is too long"));
            }
            if line.is_empty() {
                return Ok(Self(fields));
            }
            let line = std::str::from_utf8(line).map_err(|_| wrong("a header is no text"))?;
            if line.starts_with([' ', '\t']) {
                let Some((_, value)) = fields.last_mut() else {
                    return Err(wrong("it begins with a folded line"));
                };
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| wrong("it does not begin with a header"))?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(wrong("it does not begin with a header"));
            }
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(n, value)| (n == name).then_some(value.as_str()))
    }
}

/// `type/subtype` in lower case, and the parameters, their names in lower case, quotes taken off.
fn content_type(value: &str) -> (String, Vec<(String, String)>) {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut quoted = false;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => part.extend(chars.next()),
            ';' if !quoted => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    let media = parts.remove(0).trim().to_ascii_lowercase();
    let parameters = parts
        .iter()
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    (media, parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(boundary: &str, body: &str) -> Vec<u8> {
        format!("MIME-Version: 1.0\nContent-Type: multipart/signed; boundary={boundary}\n\n{body}")
            .into_bytes()
    }

    const SECOND: &str = "\n--b\ncontent-type: application/pkcs7-signature\nContent-Transfer-Encoding: BASE64\n\nMA\nA=\n";

    #[test]
    fn the_first_part_is_taken_as_crlf_without_its_last_line_end() {
        for body in ["--b\none \ntwo\n", "--b\r\none \r\ntwo\n"] {
            let envelope = split(&message("b", &format!("pre\n{body}{SECOND}--b--\n"))).unwrap();
            assert_eq!(envelope.content.unwrap(), b"one \r\ntwo\r\n");
            assert_eq!(envelope.signature, [0x30, 0]);
        }
    }

    #[test]
    fn parts_are_counted() {
        let cases = [
            format!("--b\none{SECOND}"),
            format!("--b\none{SECOND}{SECOND}--b--\n"),
            "--b\none\n--b--\n".to_owned(),
            format!("--b\none{SECOND}--b--\n--b\n"),
            String::new(),
        ];
        for body in cases {
            assert!(split(&message("b", &body)).is_err(), "{body}");
        }
        assert!(split(&message("\"\"", &format!("--b\none{SECOND}--b--\n"))).is_err());
        assert!(split(b"{}").is_err());
        assert!(split(b"").is_err());
    }

    #[test]
    fn parameters_may_be_quoted_and_folded() {
        let (media, parameters) =
            content_type("Multipart/Signed; micalg=\"sha-256\"; boundary=\"--a;\\\"b\"");
        assert_eq!(media, "multipart/signed");
        assert_eq!(parameters[1], ("boundary".to_owned(), "--a;\"b".to_owned()));
    }
}
