//! Why a command did not do its work.

use std::{error::Error, fmt};

/// What each parser turns into its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// There is no such command (404, `CommandNotFound`).
    Unknown,
    /// The channel's policy does not allow it.
    Disabled,
    /// File systems are frozen.
    Frozen,
    /// The request's value is wrong.
    Invalid,
    /// What it speaks of is not there: a user, a file, a handle, a process.
    NotFound,
    /// The peer may not.
    Denied,
    /// This system cannot do it.
    Unsupported,
    /// Too much is being done already.
    Busy,
    /// It took too long.
    TimedOut,
    /// It was cancelled.
    Cancelled,
    /// It was tried and did not work.
    Failed,
}

/// Why a command did not do its work: a class, a text for the client, and where it has one, its cause and a
/// return code of the form's own.
#[derive(Debug)]
pub struct CommandError {
    class: Class,
    message: String,
    code: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CommandError {
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), code: None, source: None }
    }

    pub fn unknown(name: &str) -> Self {
        Self::new(Class::Unknown, format!("no command `{name}`"))
    }

    pub fn disabled(name: &str) -> Self {
        Self::new(Class::Disabled, format!("command `{name}` has been disabled on this channel"))
    }

    pub fn frozen(name: &str) -> Self {
        Self::new(
            Class::Frozen,
            format!("command `{name}` waits for the file systems to be thawed"),
        )
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Class::Invalid, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Class::NotFound, message)
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Class::Unsupported, message)
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Class::Failed, message)
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets the form's own return code: `"404"` where the OpenStack form wants it for another reason.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
