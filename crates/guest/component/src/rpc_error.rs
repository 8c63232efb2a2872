//! The record of a failed operation, RFC 6241 section 4.3, as it travels on the bus.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zbus::wire::Type;

use crate::stderr;

/// Every name of an error that carries the record begins so; the error's type follows.
pub const PREFIX: &str = "com.vyatta.rpcerror.";
const NETCONF: &str = "urn:ietf:params:xml:ns:netconf:base:1.0";

/// A name in a namespace.
pub type QName = (String, String);

/// The record; its fields are in the order of the wire, signature `((ss)ssssssa((ss)s))`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct RpcError {
    /// Empty when the program wrote the record itself.
    pub element: QName,
    /// `transport`, `rpc`, `protocol`, `application`.
    pub error_type: String,
    /// RFC 6241 appendix A.
    pub tag: String,
    pub severity: String,
    pub app_tag: String,
    pub path: String,
    pub message: String,
    pub info: Vec<(QName, String)>,
}

impl RpcError {
    /// What the daemon itself has to say: type `application`, severity `error`.
    pub fn new(tag: &str, app_tag: &str, message: impl Into<String>) -> Self {
        Self {
            element: (NETCONF.to_owned(), "rpc-error".to_owned()),
            error_type: "application".to_owned(),
            tag: tag.to_owned(),
            severity: "error".to_owned(),
            app_tag: app_tag.to_owned(),
            path: String::new(),
            message: message.into(),
            info: Vec::new(),
        }
    }

    /// A program failed, in upstream's words.
    pub fn exec_failed(message: impl Into<String>) -> Self {
        Self::new("operation-failed", "exec-failed", message)
    }

    /// The input does not fit.
    pub fn invalid_value(message: impl Into<String>) -> Self {
        Self::new("invalid-value", "", message)
    }

    /// With the path of what is wrong.
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// As a JSON object with the members of RFC 8040 section 7.1, those that are empty left out: what a script prints
    /// to fail so.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        for (name, value) in [
            ("error-type", &self.error_type),
            ("error-tag", &self.tag),
            ("error-severity", &self.severity),
            ("error-app-tag", &self.app_tag),
            ("error-path", &self.path),
            ("error-message", &self.message),
        ] {
            if !value.is_empty() {
                object.insert(name.to_owned(), json!(value));
            }
        }
        if !self.info.is_empty() {
            let entry =
                |((namespace, name), value): &(QName, String)| match stderr::module(namespace) {
                    "" => json!({ name: value }),
                    module => json!({ format!("{module}:{name}"): value }),
                };
            object.insert("error-info".to_owned(), self.info.iter().map(entry).collect());
        }
        Value::Object(object)
    }

    /// The error's name on the bus; the type must be one the bus allows, see [`RpcError::is_type`].
    pub fn name(&self) -> String {
        format!("{PREFIX}{}", self.error_type)
    }

    /// Whether a type can be the last element of a name on the bus.
    pub fn is_type(text: &str) -> bool {
        let mut letters = text.bytes();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
            && text.len() + PREFIX.len() <= 255
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.message.is_empty() { &self.tag } else { &self.message })?;
        if !self.path.is_empty() {
            write!(f, " (at {})", self.path)?;
        }
        Ok(())
    }
}

impl std::error::Error for RpcError {}
