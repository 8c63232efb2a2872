//! A message's text as a value, in QEMU's dialect: either quote, `\'`, no member twice.

use serde_json::{Map, Number, Value};

/// Reads the text of one message, as the framer gives it. At most `most_values` values.
///
/// # Errors
/// A text for the client, in the words of QEMU.
pub fn parse(text: &[u8], most_values: usize) -> Result<Value, String> {
    let mut reader = Reader { rest: text, values: most_values };
    reader.value().map_err(|reason| {
        if reason.starts_with("JSON ") { reason } else { format!("JSON parse error, {reason}") }
    })
}

struct Reader<'a> {
    rest: &'a [u8],
    values: usize,
}

const EXPECTED: &str = "expecting value";

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        while let [b' ', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.rest = &self.rest[1..];
        Some(byte)
    }

    /// The depth is the framer's to bound.
    fn value(&mut self) -> Result<Value, String> {
        self.values = self
            .values
            .checked_sub(1)
            .ok_or_else(|| "JSON token count limit exceeded".to_owned())?;
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"' | b'\'') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'a'..=b'z') => self.word(),
            _ => Err(EXPECTED.to_owned()),
        }
    }

    fn object(&mut self) -> Result<Value, String> {
        self.take();
        let mut members = Map::new();
        if self.peek() == Some(b'}') {
            self.take();
            return Ok(Value::Object(members));
        }
        loop {
            let Value::String(name) = self.value()? else {
                return Err("key is not a string in object".to_owned());
            };
            if self.take() != Some(b':') {
                return Err("missing : in object pair".to_owned());
            }
            if members.contains_key(&name) {
                return Err("duplicate key".to_owned());
            }
            let value = self.value()?;
            members.insert(name, value);
            match self.take() {
                Some(b'}') => return Ok(Value::Object(members)),
                Some(b',') => {}
                _ => return Err("expected separator in dict".to_owned()),
            }
        }
    }

    fn array(&mut self) -> Result<Value, String> {
        self.take();
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.take();
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            match self.take() {
                Some(b']') => return Ok(Value::Array(items)),
                Some(b',') => {}
                _ => return Err("expected separator in list".to_owned()),
            }
        }
    }

    fn word(&mut self) -> Result<Value, String> {
        let end = self.rest.iter().position(|b| !b.is_ascii_lowercase()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            b"true" => Ok(Value::Bool(true)),
            b"false" => Ok(Value::Bool(false)),
            b"null" => Ok(Value::Null),
            other => Err(format!("invalid keyword '{}'", shown(other, 64))),
        }
    }

    /// Signed, else unsigned 64 bits, else a float, as QEMU has it.
    fn number(&mut self) -> Result<Value, String> {
        let of_number = |b: &u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let end = self.rest.iter().position(|b| !of_number(b)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let text = str::from_utf8(text).expect("digits are text");
        if let Ok(signed) = text.parse::<i64>() {
            return Ok(signed.into());
        }
        if let Ok(unsigned) = text.parse::<u64>() {
            return Ok(unsigned.into());
        }
        let float = text.parse::<f64>().map_err(|_| EXPECTED.to_owned())?;
        Number::from_f64(float)
            .map(Value::Number)
            .ok_or_else(|| format!("number out of range '{}'", shown(text.as_bytes(), 64)))
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.take().ok_or_else(|| EXPECTED.to_owned())?;
        let mut bytes = Vec::new();
        loop {
            let plain = |b: &u8| *b != quote && *b != b'\\';
            let end = self.rest.iter().position(|b| !plain(b)).unwrap_or(self.rest.len());
            let (run, rest) = self.rest.split_at(end);
            bytes.extend_from_slice(run);
            match rest {
                [b'\\', rest @ ..] => self.rest = escape(rest, &mut bytes)?,
                // The framer ends a string with its quote.
                rest => {
                    self.rest = rest.get(1..).unwrap_or_default();
                    let text = String::from_utf8(bytes);
                    return text.map_err(|_| "invalid UTF-8 sequence in string".to_owned());
                }
            }
        }
    }
}

/// Reads what follows a backslash; gives what is left.
fn escape<'a>(rest: &'a [u8], into: &mut Vec<u8>) -> Result<&'a [u8], String> {
    let (&byte, after) = rest.split_first().ok_or_else(|| EXPECTED.to_owned())?;
    let plain = match byte {
        b'"' | b'\'' | b'\\' | b'/' => byte,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            let wrong = || format!("\\u{} is not a valid Unicode character", shown(after, 4));
            let (first, mut left) = hex4(after).ok_or_else(wrong)?;
            let mut code = first;
            if (0xD800..0xDC00).contains(&first) {
                let pair = left.strip_prefix(b"\\u").and_then(hex4);
                let (second, rest) = pair.ok_or_else(wrong)?;
                if !(0xDC00..0xE000).contains(&second) {
                    return Err(wrong());
                }
                code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                left = rest;
            }
            let never = code & 0xFFFE == 0xFFFE || (0xFDD0..=0xFDEF).contains(&code);
            let char = char::from_u32(code).filter(|_| !never).ok_or_else(wrong)?;
            into.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(left);
        }
        _ => return Err("invalid escape sequence in string".to_owned()),
    };
    into.push(plain);
    Ok(after)
}

fn hex4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let code =
        digits.iter().try_fold(0, |code, d| Some(code << 4 | char::from(*d).to_digit(16)?))?;
    Some((code, rest))
}

fn shown(text: &[u8], most: usize) -> String {
    String::from_utf8_lossy(&text[..text.len().min(most)]).into_owned()
}
