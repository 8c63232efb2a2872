//! Parameters: what values fit them.

use regex_lite::{Regex, RegexBuilder};

use crate::descriptor::{Parameter, ParameterType};

/// Bytes of a pattern.
const PATTERN: usize = 1024;
/// Bytes of a pattern made ready. The time that a value takes grows with this and with the value, and with nothing else.
const READY: usize = 64 << 10;
/// Bytes of a value: it becomes a variable of a program.
const VALUE: usize = 32 << 10;

impl ParameterType {
    fn text(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl Parameter {
    /// Whether a value may be this parameter's.
    ///
    /// # Errors
    /// What keeps it from that, as the end of a sentence; without the value, which may be secret.
    pub fn fits(&self, value: &str) -> Result<(), String> {
        if value.contains('\0') || value.len() > VALUE {
            return Err("has a value of more than 32 KiB, or with a zero byte in it".to_owned());
        }
        let typed = match self.kind {
            ParameterType::String => true,
            ParameterType::Integer => value.parse::<i64>().is_ok(),
            ParameterType::Number => value.parse::<f64>().is_ok(),
            ParameterType::Boolean => matches!(value, "true" | "false"),
        };
        if !typed {
            return Err(format!("has a value that does not fit its type, {}", self.kind.text()));
        }
        match &self.pattern {
            Some(pattern) if !whole(pattern)?.is_match(value) => {
                Err(format!("has a value that is not, as a whole, of its pattern `{pattern}`"))
            }
            _ => Ok(()),
        }
    }
}

/// A pattern made ready, for values that are of it from their beginning to their end.
pub(crate) fn whole(pattern: &str) -> Result<Regex, String> {
    if pattern.is_empty() || pattern.len() > PATTERN {
        return Err(format!("must be a pattern of 1 to {PATTERN} bytes"));
    }
    // By itself first: what is none must not become one by what stands around it.
    ready(pattern)?;
    ready(&format!(r"\A(?:{pattern})\z"))
}

/// A pattern made ready, for what has it anywhere.
pub(crate) fn ready(pattern: &str) -> Result<Regex, String> {
    let made = RegexBuilder::new(pattern).size_limit(READY).build();
    made.map_err(|error| format!("is no pattern that can be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(kind: ParameterType, pattern: &str) -> Parameter {
        let pattern = (!pattern.is_empty()).then(|| pattern.to_owned());
        Parameter { kind, pattern, ..Parameter::default() }
    }

    #[test]
    fn a_value_is_of_a_pattern_as_a_whole() {
        let text = |pattern: &str| parameter(ParameterType::String, pattern);
        for (pattern, value, fits) in [
            ("a|ab", "ab", true),
            ("[0-9]+", "80", true),
            ("[0-9]+", "80; reboot", false),
            ("[0-9]+", "80\n", false),
            ("^[0-9]+$", "80", true),
            // `$` of many lines does not let the others by.
            ("(?m)^[0-9]+$", "80\nx", false),
            (".*", "", true),
            ("é+", "éé", true),
        ] {
            assert_eq!(text(pattern).fits(value).is_ok(), fits, "{pattern} {value:?}");
        }
        let told = text("[0-9]+").fits("hunter2").expect_err("no number");
        assert!(told.contains("`[0-9]+`") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn types_and_patterns_hold_together() {
        let port = parameter(ParameterType::Integer, "[1-9][0-9]{0,4}");
        assert!(port.fits("8080").is_ok() && port.fits("-1").is_err() && port.fits("x").is_err());
        assert!(parameter(ParameterType::Boolean, "").fits("yes").is_err());
        let any = parameter(ParameterType::String, "");
        assert!(any.fits(&"x".repeat(VALUE)).is_ok() && any.fits(&"x".repeat(VALUE + 1)).is_err());
        assert!(any.fits("a\0").is_err());
    }

    #[test]
    fn a_pattern_is_bounded() {
        assert!(whole("[A-Za-z0-9.-]{1,253}").is_ok());
        assert!(whole(&"a".repeat(PATTERN)).is_ok());
        for none in ["", "(", "a)|(?:b", "[z-a]", "(a{100}){100}", &"a".repeat(PATTERN + 1)] {
            assert!(whole(none).is_err(), "{none}");
        }
    }
}
