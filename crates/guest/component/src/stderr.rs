//! From what a failed program printed on its error output to the record of its failure.

use serde_json::{Map, Value};

use crate::rpc_error::RpcError;

/// What was made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    pub error: RpcError,
    /// What stood before the record, for the log.
    pub rest: String,
}

/// Decodes the error output of a program that failed in the way `how` tells. Always gives an error that can be
/// sent.
///
/// One JSON object is the record itself; so is one in the last line, after text. Of a list of objects the first
/// is, and the messages of the others are added to its own. Everything else is the message.
pub fn decode(stderr: &[u8], how: &str) -> Decoded {
    let text = String::from_utf8_lossy(stderr);
    // A zero byte cannot be sent in a string of the bus.
    let text = text.replace('\0', "\u{fffd}");
    let whole = text.trim();
    if let Some(error) = document(whole, how) {
        return Decoded { error, rest: String::new() };
    }
    if let Some((before, last)) = whole.rsplit_once('\n')
        && let Ok(Value::Object(object)) = serde_json::from_str(last.trim())
        && object.keys().any(|key| key.to_ascii_lowercase().starts_with("error-"))
        && let Some(error) = record(&object, how)
    {
        return Decoded { error, rest: before.trim_end().to_owned() };
    }
    let message = if whole.is_empty() { how.to_owned() } else { text };
    Decoded { error: RpcError::exec_failed(message), rest: String::new() }
}

fn document(text: &str, how: &str) -> Option<RpcError> {
    match serde_json::from_str(text).ok()? {
        Value::Object(object) => record(&object, how),
        Value::Array(list) => {
            let mut errors = list.iter().map(|entry| record(entry.as_object()?, how));
            let mut first = errors.next()??;
            for other in errors {
                let other = other?;
                first.message.push('\n');
                first.message.push_str(&other.to_string());
            }
            Some(first)
        }
        _ => None,
    }
}

/// `None` when it does not fit: then it is text.
fn record(object: &Map<String, Value>, how: &str) -> Option<RpcError> {
    let mut error = RpcError::new("", "", "");
    error.element = (String::new(), String::new());
    error.error_type.clear();
    error.severity.clear();
    for (name, value) in object {
        let field = match name.to_lowercase().as_str() {
            "error-type" => &mut error.error_type,
            "error-tag" => &mut error.tag,
            "error-severity" => &mut error.severity,
            "error-app-tag" => &mut error.app_tag,
            "error-path" => &mut error.path,
            "error-message" => &mut error.message,
            "error-info" => {
                error.info = info(value)?;
                continue;
            }
            _ => continue,
        };
        match value {
            Value::String(text) => *field = text.replace('\0', "\u{fffd}"),
            Value::Null => {}
            _ => return None,
        }
    }
    if error.tag.is_empty() && error.message.is_empty() {
        how.clone_into(&mut error.message);
    }
    // Clients know nothing of a record without these, and the bus drops a name that is none.
    if !RpcError::is_type(&error.error_type) {
        "application".clone_into(&mut error.error_type);
    }
    if error.tag.is_empty() {
        "operation-failed".clone_into(&mut error.tag);
    }
    if error.severity.is_empty() {
        "error".clone_into(&mut error.severity);
    }
    Some(error)
}

fn info(value: &Value) -> Option<Vec<((String, String), String)>> {
    let entries = match value {
        Value::Null => return Some(Vec::new()),
        Value::Array(entries) => entries,
        _ => return None,
    };
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    entries
        .iter()
        .map(|entry| {
            let mut members = entry.as_object()?.iter();
            let (Some((name, value)), None) = (members.next(), members.next()) else { return None };
            let (module, local) = name.split_once(':').unwrap_or(("", name));
            Some(((clean(namespace(module)), clean(local)), clean(value.as_str()?)))
        })
        .collect()
}

/// Modules that stand for namespaces in `error-info`.
const NAMESPACES: [(&str, &str); 3] = [
    ("ietf-netconf", "urn:ietf:params:xml:ns:netconf:base:1.0"),
    ("ietf-yang", "urn:ietf:params:xml:ns:yang:1"),
    ("vyatta-yang", "urn:vyatta.com:mgmt:error:1"),
];

fn namespace(module: &str) -> &str {
    NAMESPACES.iter().find(|(name, _)| *name == module).map_or(module, |(_, namespace)| namespace)
}

/// The module that stands for a namespace.
pub(crate) fn module(namespace: &str) -> &str {
    NAMESPACES.iter().find(|(_, name)| *name == namespace).map_or(namespace, |(module, _)| module)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(stderr: &str) -> RpcError {
        decode(stderr.as_bytes(), "how").error
    }

    #[test]
    fn r06_text_is_the_message() {
        let error = error("no\nbread\n");
        assert_eq!(error, RpcError::exec_failed("no\nbread\n"));
        assert_eq!(error.name(), "com.vyatta.rpcerror.application");
        assert_eq!(error.element.1, "rpc-error");
    }

    #[test]
    fn r14_silence_is_told_how_it_failed() {
        assert_eq!(error("").message, "how");
    }

    #[test]
    fn r15_r16_a_full_record() {
        let error = error(
            r#" {"error-type":"protocol","ERROR-TAG":"data-exists","error-severity":"warning",
            "error-app-tag":"x","error-path":"/a:b","error-message":"m","other":[1],
            "error-info":[{"ietf-netconf:bad-element":"e"},{"vyatta-yang:y":"2"},{"plain":"3"},{"mine:z":"4"}]} "#,
        );
        let info = |namespace: &str, name: &str, value: &str| {
            ((namespace.to_owned(), name.to_owned()), value.to_owned())
        };
        let expected = RpcError {
            element: (String::new(), String::new()),
            error_type: "protocol".into(),
            tag: "data-exists".into(),
            severity: "warning".into(),
            app_tag: "x".into(),
            path: "/a:b".into(),
            message: "m".into(),
            info: vec![
                info("urn:ietf:params:xml:ns:netconf:base:1.0", "bad-element", "e"),
                info("urn:vyatta.com:mgmt:error:1", "y", "2"),
                info("", "plain", "3"),
                info("mine", "z", "4"),
            ],
        };
        assert_eq!(error, expected);
        // R16
        assert_eq!(error.name(), "com.vyatta.rpcerror.protocol");
    }

    #[test]
    fn r17_a_record_in_the_last_line() {
        let decoded = decode(b"working\nTraceback\n{\"error-tag\":\"in-use\"}\n", "how");
        assert_eq!(decoded.error.tag, "in-use");
        assert_eq!(decoded.rest, "working\nTraceback");
        assert_eq!(error("a\n{\"level\":1}").message, "a\n{\"level\":1}");
    }

    #[test]
    fn r18_what_was_never_answered() {
        assert_eq!(error("{}").message, "how");
        assert_eq!(error("null").message, "null");
        let list = error(r#"[{"error-tag":"a","error-message":"one"},{"error-message":"two"}]"#);
        assert_eq!((list.tag.as_str(), list.message.as_str()), ("a", "one\ntwo"));
        assert_eq!(error("[]").message, "[]");
        for bad in ["", "a-b", "1", "é", "a b", "."] {
            let error = error(&format!(r#"{{"error-type":"{bad}","error-tag":"t"}}"#));
            assert_eq!((error.error_type.as_str(), error.tag.as_str()), ("application", "t"));
        }
        assert_eq!(decode(b"a\xffb", "how").error.message, "a\u{fffd}b");
        assert_eq!(decode(b"a\0b", "how").error.message, "a\u{fffd}b");
    }

    #[test]
    fn r18a_a_type_of_its_own() {
        let error = error(r#"{"error-type":"foo"}"#);
        assert_eq!(
            (error.name().as_str(), error.error_type.as_str()),
            ("com.vyatta.rpcerror.foo", "foo")
        );
    }

    #[test]
    fn r18b_json_that_does_not_fit_is_text() {
        for text in [
            r#"{"error-info":[{"a":"1","b":"2"}]}"#,
            r#"{"error-tag":1}"#,
            r#"{"error-info":{}}"#,
            r#"x {"error-tag":"t"}"#,
        ] {
            assert_eq!(error(text), RpcError::exec_failed(text));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_make_an_error_that_can_be_sent(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let error = decode(&bytes, "how").error;
            prop_assert!(RpcError::is_type(&error.error_type));
            prop_assert!(!error.message.contains('\0'));
        }
    }
}
