//! RFC 7951 text, checked and trimmed, never changed inside.

use serde_json::value::RawValue;
use thiserror::Error;

/// A text that is not exactly one JSON value.
#[derive(Debug, Error)]
#[error("not one JSON value: {source}; it begins `{begin}`")]
pub struct NotJson {
    begin: String,
    source: serde_json::Error,
}

/// The one JSON value of a text, without the white space around it.
///
/// # Errors
/// When it is none, or more than one.
pub fn exact(text: &str) -> Result<&str, NotJson> {
    let value: &RawValue = serde_json::from_str(text)
        .map_err(|source| NotJson { begin: text.chars().take(60).collect(), source })?;
    Ok(value.get().trim_matches([' ', '\t', '\r', '\n']))
}

/// The one JSON value of a text, without insignificant white space.
///
/// # Errors
/// When it is none, or more than one.
pub fn compact(text: String) -> Result<String, NotJson> {
    exact(&text)?;
    let mut bytes = text.into_bytes();
    let (mut in_string, mut escaped) = (false, false);
    bytes.retain(|byte| {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            return true;
        }
        in_string = *byte == b'"';
        !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
    });
    Ok(String::from_utf8(bytes).expect("only ASCII blanks were taken from a text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r08_inner_bytes_stay_as_they_are() {
        let text = " \n{\"a\" : \"<>& é\",\"a\":1}\t";
        assert_eq!(exact(text).unwrap(), text.trim());
    }

    #[test]
    fn r09_output_is_compact() {
        let text = "{ \"a b\" :\n [ 1 , \"x \\\" y\" , \"\\\\\" ] }\n";
        assert_eq!(compact(text.into()).unwrap(), r#"{"a b":[1,"x \" y","\\"]}"#);
    }

    #[test]
    fn r24_r25_one_value_of_any_kind() {
        for bad in ["", " ", "{", "1 2", "01", "\u{feff}{}", "{\"a\":1}{}", "'a'"] {
            assert!(exact(bad).is_err(), "{bad:?}");
        }
        for good in ["null", "[1]", "\"s\"", "-0.5e3", " {} "] {
            assert_eq!(exact(good).unwrap(), good.trim());
        }
        // Depth costs no stack.
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        assert!(exact(&deep).is_ok());
    }
}
