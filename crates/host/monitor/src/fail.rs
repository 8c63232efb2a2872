//! An error as the text that travels to the daemon: what was being done, and the cause.

use std::fmt::Display;

/// What failed: step, path and cause in one line.
#[derive(Debug)]
pub(crate) struct Fail(pub(crate) String);

pub(crate) type Result<T, E = Fail> = std::result::Result<T, E>;

/// Adds what was being done to an error.
pub(crate) trait Doing<T> {
    fn doing<S: Display>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Display> Doing<T> for std::result::Result<T, E> {
    fn doing<S: Display>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Fail(format!("{}: {e}", what())))
    }
}

/// Turns the result of a raw system call into its value or `errno`.
pub(crate) fn checked(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
