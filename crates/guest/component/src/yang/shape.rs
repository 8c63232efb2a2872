//! What is looked at before libyang is given a text: that it is an object, how deep it is, and whose data it holds.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Kind, Subject};
use crate::rpc_error::RpcError;

/// Deepest data that are given to libyang, whose readers call themselves for every level.
const DEEPEST: usize = 100;

/// Whether the modules of the data are known; an error when the text cannot be any model's data.
pub(super) fn check(subject: &Subject, kind: Kind<'_>, text: &str) -> Result<bool, Box<RpcError>> {
    let output = kind.direction() == super::Direction::Output;
    let refuse = |tag: &str, message: String| {
        let tag = if output { "operation-failed" } else { tag };
        let app_tag = if output { "exec-output" } else { "" };
        let message = if output {
            format!("what the program printed is no data: {message}")
        } else {
            message
        };
        RpcError::new(tag, app_tag, message)
    };
    if depth(text) > DEEPEST {
        let message = format!("the data are deeper than {DEEPEST} levels");
        return Err(Box::new(refuse("too-big", message)));
    }
    let members = members(text)
        .ok_or_else(|| refuse("invalid-value", "the data are not one JSON object".to_owned()))?;
    let mut known = true;
    for member in &members {
        let name = member.trim_start_matches('@');
        let module = name.split_once(':').map(|(module, _)| module);
        match (module, kind.operation()) {
            (Some(module), None) if !subject.modules().iter().any(|known| known == module) => {
                if subject.is_declared() {
                    let message = format!("`{module}` is no module of this model");
                    let mut error = refuse("unknown-namespace", message).at(format!("/{name}"));
                    error.info = vec![(
                        (
                            "urn:ietf:params:xml:ns:netconf:base:1.0".to_owned(),
                            "bad-namespace".to_owned(),
                        ),
                        module.to_owned(),
                    )];
                    return Err(Box::new(error));
                }
                known = false;
            }
            (None, operation) if !name.is_empty() => {
                let message = format!("`{name}` does not say its module: write `MODULE:{name}`");
                let path =
                    operation.map_or_else(String::new, |op| format!("/{}:{}", op.module, op.name));
                let error = refuse("unknown-element", message).at(format!("{path}/{name}"));
                return Err(Box::new(error));
            }
            _ => {}
        }
    }
    Ok(known)
}

/// Names of the members of an object; `None` when it is another value.
fn members(text: &str) -> Option<Vec<String>> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some((name, IgnoredAny)) = map.next_entry()? {
                names.push(name);
            }
            Ok(names)
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_map(Names).ok()
}

/// How many objects and arrays are open at one time, at most.
fn depth(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                open += 1;
                most = most.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_members() {
        assert_eq!(depth(r#"{"a":[{"b":"]]]{{\"{"}]}"#), 3);
        assert_eq!(depth("1"), 0);
        assert_eq!(members(r#"{"a:b":[1],"c":{}}"#).unwrap(), ["a:b", "c"]);
        assert!(members("[1]").is_none() && members("null").is_none());
    }
}
