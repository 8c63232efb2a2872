//! XML-RPC: calls as text, and answers under bounds. Only the types OpenNebula uses.

use std::fmt::Write as _;

use thiserror::Error;

use crate::xml::{self, Element, XmlError, escape};

/// A value of a call or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Int(i64),
    Bool(bool),
    Text(String),
    Array(Vec<Value>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

/// Why an answer is not understood, or says that the call failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnswerError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the answer has {what} where OpenNebula has another thing; is this its address?")]
    Shape { what: String },
    #[error("the server could not read the call: {text} (fault {code})")]
    Fault { code: i64, text: String },
    #[error("{text} (code {code})")]
    Refused { code: i64, text: String },
}

/// Codes of [`AnswerError::Refused`].
pub mod code {
    pub const AUTHENTICATION: i64 = 0x100;
    pub const AUTHORIZATION: i64 = 0x200;
    pub const NO_EXISTS: i64 = 0x400;
    pub const ACTION: i64 = 0x800;
    pub const XML_RPC_API: i64 = 0x1000;
    pub const INTERNAL: i64 = 0x2000;
    pub const ALLOCATE: i64 = 0x4000;
    pub const LOCKED: i64 = 0x8000;
    pub const REPLICATION: i64 = 0x10000;
}

/// The text of a call.
pub fn call(method: &str, parameters: &[Value]) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<methodCall><methodName>{}</methodName><params>",
        escape(method)
    );
    for parameter in parameters {
        text.push_str("<param>");
        write_value(parameter, &mut text);
        text.push_str("</param>");
    }
    text.push_str("</params></methodCall>\n");
    text
}

fn write_value(value: &Value, text: &mut String) {
    text.push_str("<value>");
    match value {
        // Writing to a string cannot fail.
        Value::Int(number) => drop(write!(text, "<i4>{number}</i4>")),
        Value::Bool(yes) => drop(write!(text, "<boolean>{}</boolean>", u8::from(*yes))),
        Value::Text(plain) => drop(write!(text, "<string>{}</string>", escape(plain))),
        Value::Array(items) => {
            text.push_str("<array><data>");
            for item in items {
                write_value(item, text);
            }
            text.push_str("</data></array>");
        }
    }
    text.push_str("</value>");
}

/// Reads what a call gave: `[true, value, 0]` or `[false, message, code, ...]`.
///
/// # Errors
/// When it is neither, or the second.
pub fn answer(bytes: &[u8]) -> Result<Value, AnswerError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| XmlError::Syntax { reason: "it is not UTF-8".to_owned() })?;
    let shape = |what: &str| AnswerError::Shape { what: what.to_owned() };
    let mut root = xml::read(text)?;
    if root.name != "methodResponse" {
        return Err(AnswerError::Shape {
            what: format!("`{}`", root.name.chars().take(40).collect::<String>()),
        });
    }
    if let Some(fault) = root.child("fault") {
        return Err(read_fault(fault));
    }
    let value = take(&mut root, "params")
        .and_then(|mut params| take(&mut params, "param"))
        .and_then(|mut param| take(&mut param, "value"))
        .ok_or_else(|| shape("no value"))?;
    let Value::Array(items) = read_value(value)? else { return Err(shape("no array")) };
    let mut items = items.into_iter();
    match (items.next(), items.next(), items.next()) {
        (Some(Value::Bool(true)), Some(value), _) => Ok(value),
        (Some(Value::Bool(false)), Some(Value::Text(text)), Some(Value::Int(code))) => {
            Err(AnswerError::Refused { code, text: shown(&text) })
        }
        _ => Err(shape("another array")),
    }
}

/// A server's words, fit for a log.
fn shown(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn take(element: &mut Element, name: &str) -> Option<Element> {
    let at = element.children.iter().position(|child| child.name == name)?;
    Some(element.children.swap_remove(at))
}

fn read_fault(fault: &Element) -> AnswerError {
    let members = fault.child("value").and_then(|value| value.child("struct"));
    let member = |name: &str| {
        let found = members?.all("member").find(|member| member.text_of("name") == Some(name))?;
        let value = found.child("value")?;
        Some(value.children.first().map_or(value.text.clone(), |typed| typed.text.clone()))
    };
    AnswerError::Fault {
        code: member("faultCode").and_then(|code| code.trim().parse().ok()).unwrap_or_default(),
        text: shown(&member("faultString").unwrap_or_default()),
    }
}

/// Depth is bounded by the reader of XML.
fn read_value(mut value: Element) -> Result<Value, AnswerError> {
    let Some(typed) = (!value.children.is_empty()).then(|| value.children.swap_remove(0)) else {
        return Ok(Value::Text(value.text));
    };
    let shape = |what: &str| AnswerError::Shape { what: what.to_owned() };
    Ok(match typed.name.as_str() {
        "string" => Value::Text(typed.text),
        "i4" | "int" | "i8" => {
            Value::Int(typed.text.trim().parse().map_err(|_| shape("a number that is none"))?)
        }
        "boolean" => match typed.text.trim() {
            "1" => Value::Bool(true),
            "0" => Value::Bool(false),
            _ => return Err(shape("a boolean that is none")),
        },
        "array" => {
            let data = typed.children.into_iter().find(|child| child.name == "data");
            let items = data.ok_or_else(|| shape("an array without data"))?.children;
            let values = items.into_iter().filter(|item| item.name == "value").map(read_value);
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        _ => return Err(shape("a type that it does not use")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(inner: &str) -> Vec<u8> {
        format!("<?xml version=\"1.0\"?>\r\n<methodResponse><params><param><value><array><data>{inner}</data></array></value></param></params></methodResponse>\r\n").into_bytes()
    }

    #[test]
    fn answers_are_read() {
        let ok = response(
            "<value><boolean>1</boolean></value><value><string>&lt;A&gt;&amp;amp;&lt;/A&gt;</string></value><value><i4>0</i4></value>",
        );
        assert_eq!(answer(&ok), Ok(Value::Text("<A>&amp;</A>".to_owned())));
        let no = response(
            "<value><boolean>0</boolean></value><value>not\nhere</value><value><i4>1024</i4></value><value><i4>-1</i4></value>",
        );
        let refused = AnswerError::Refused { code: code::NO_EXISTS, text: "not here".to_owned() };
        assert_eq!(answer(&no), Err(refused));
        let fault = b"<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>-501</int></value></member><member><name>faultString</name><value><string>no</string></value></member></struct></value></fault></methodResponse>";
        assert_eq!(answer(fault), Err(AnswerError::Fault { code: -501, text: "no".to_owned() }));
    }

    #[test]
    fn nothing_else_is_taken_for_an_answer() {
        for wrong in [
            "",
            "<html><body>404</body></html>",
            "<methodResponse/>",
            "<methodResponse><params><param><value><i4>1</i4></value></param></params></methodResponse>",
            "\u{0}\u{1}",
        ] {
            assert!(answer(wrong.as_bytes()).is_err(), "{wrong}");
        }
        for inner in [
            "",
            "<value><boolean>2</boolean></value><value>a</value>",
            "<value><boolean>1</boolean></value>",
            "<value><boolean>0</boolean></value><value>a</value>",
            "<value><i4>9999999999999999999999</i4></value><value>a</value>",
            "<value><struct/></value><value>a</value>",
        ] {
            assert!(answer(&response(inner)).is_err(), "{inner}");
        }
    }

    #[test]
    fn a_call_is_text_that_a_server_reads() {
        let text = call("one.image.rename", &["u:p<".into(), 7.into(), true.into()]);
        let root = xml::read(&text).unwrap();
        assert_eq!(root.text_of("methodName"), Some("one.image.rename"));
        let values: Vec<&Element> =
            root.child("params").unwrap().all("param").filter_map(|p| p.child("value")).collect();
        assert_eq!(values[0].text_of("string"), Some("u:p<"));
        assert_eq!(values[1].text_of("i4"), Some("7"));
        assert_eq!(values[2].text_of("boolean"), Some("1"));
    }
}
