//! Readers of what hosts and seeds write: one file for each format, all to [`Wanted`](crate::Wanted).

pub mod configdrive;
mod derived;
pub mod nocloud;
mod value;
pub mod vmdata;
mod yaml;

/// Most interfaces in one description.
pub const MAX_INTERFACES: usize = 256;
/// Most addresses of one interface.
pub const MAX_ADDRESSES: usize = 1024;
/// Most routes of one interface.
pub const MAX_ROUTES: usize = 4096;
/// Most name servers, and most search domains, of one interface.
pub const MAX_SERVERS: usize = 64;
/// Longest text of one description, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

pub(crate) use yaml::parse as parse_yaml;
