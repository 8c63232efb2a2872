//! Why a call gets an error, and how that is put on the bus.

use zbus::{Message, message::Header};

use crate::rpc_error::RpcError;

/// An error that answers a call.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// One of the bus's own names, with a text.
    Named(String, String),
    /// The record.
    Record(Box<RpcError>),
}

macro_rules! named {
    ($($(#[$doc:meta])* $function:ident $name:literal),* $(,)?) => {
        $($(#[$doc])* pub(crate) fn $function(text: impl Into<String>) -> Self {
            Self::Named(concat!("org.freedesktop.DBus.Error.", $name).to_owned(), text.into())
        })*
    };
}

impl Refusal {
    named! {
        failed "Failed",
        /// Not the standard `UnknownObject`: clients take this one for "not supported".
        no_object "NoSuchObject",
        unknown_interface "UnknownInterface",
        unknown_method "UnknownMethod",
        invalid_args "InvalidArgs",
    }

    /// What another service answered, as it was.
    pub(crate) fn of_bus(error: &zbus::Error) -> Self {
        use zbus::DBusError as _;
        match error {
            zbus::Error::MethodError(name, text, message) => {
                match message.body().deserialize::<(RpcError,)>() {
                    Ok((record,)) if name.as_str() == record.name() => {
                        Self::Record(Box::new(record))
                    }
                    _ => Self::Named(name.to_string(), text.clone().unwrap_or_default()),
                }
            }
            zbus::Error::FDO(error) => Self::Named(
                error.name().to_string(),
                error.description().unwrap_or_default().to_owned(),
            ),
            other => Self::failed(other.to_string()),
        }
    }

    /// The message that answers `call`.
    pub(crate) fn message(&self, call: &Header<'_>) -> zbus::Result<Message> {
        match self {
            Self::Named(name, text) => Message::error(call, name.as_str()).build(&(text.as_str(),)),
            Self::Record(record) => Message::error(call, record.name()).build(&(&**record,)),
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Named(_, text) => text.clone(),
            Self::Record(record) => record.to_string(),
        }
    }
}

impl From<Box<RpcError>> for Refusal {
    fn from(record: Box<RpcError>) -> Self {
        Self::Record(record)
    }
}

impl From<RpcError> for Refusal {
    fn from(record: RpcError) -> Self {
        Self::Record(Box::new(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_the_signature_of_the_wire() {
        let call = Message::method_call("/a", "B").destination("a.b").build(&()).unwrap();
        let record = RpcError::exec_failed("m");
        let message = Refusal::from(record.clone()).message(&call.header()).unwrap();
        // On the wire: its length, the signature, a zero byte. One structure, not eight arguments.
        let wire = b"\x14((ss)ssssssa((ss)s))\0";
        assert!(message.data().bytes().windows(wire.len()).any(|part| part == wire));
        let (back,): (RpcError,) = message.body().deserialize().unwrap();
        assert_eq!(back, record);
    }
}
