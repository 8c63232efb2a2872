//! The kernel's links, addresses and routes, over rtnetlink: reading them to compare, setting them without a back-end.
//!
//! A reader of our own: the host's side has a larger one, which a guest does not carry around.

mod changes;
mod message;
mod set;
mod socket;
mod state;

pub use changes::{changes, take_changes};
pub use set::{apply, flush};
pub use state::{Address, Link, RouteEntry, State, all_links, differences, nics, read};

/// The kernel could not be asked, or refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error("there is no interface `{0}` any more")]
    NoInterface(String),
}

impl KernelError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
