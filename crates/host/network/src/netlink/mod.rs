//! A small synchronous netlink: messages, a socket, and readers that never trust a length.

use std::io;

/// The kernel's refusal of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Positive error number, as in `errno.h`.
    pub errno: i32,
    /// What the kernel adds in words (extended acknowledgement), where it does.
    pub text: Option<String>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the kernel refused: {}", io::Error::from_raw_os_error(self.errno))?;
        match &self.text {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}
