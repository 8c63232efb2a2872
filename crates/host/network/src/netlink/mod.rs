//! A small synchronous netlink: messages, a socket, and readers that never trust a length.
//!
//! Formats: RFC 3549, and the kernel's `include/uapi/linux/{netlink,rtnetlink,if_link,pkt_sched}.h` and
//! `netfilter/nf_tables.h`. Numbers are the host's byte order except where a comment says otherwise. Why it is our own is in
//! `docs/design/0001-netlink.md`.

mod message;
mod read;
pub(crate) mod rtnl;
mod socket;

use std::io;

pub(crate) use message::{Batch, Message};
pub use read::{Attributes, Messages};
pub(crate) use read::{find, parse_u32, text};
pub(crate) use socket::{Failure, Socket, set_option};

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
