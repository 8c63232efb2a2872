//! Signed image lists: the HEPiX format, its S/MIME envelope, and whom to trust.
//!
//! ```text
//! message ─▶ envelope (MIME parts) ─▶ cms (one signer, digest, key) ─▶ trust (chain, CRLs, namespaces)
//!                                                                         │
//!         subscription ◀─ judge (endorser, identifier, times, version) ◀─ list (JSON)
//! ```
//!
//! * [`judge`] says whether a message is what its endorser signed, in the order of checks of the original, and with
//!   its exit codes ([`Refusal::exit_code`]).
//! * [`TrustFolder`] is a folder in IGTF's layout: CA certificates, CRLs, namespaces, signing policies.
//! * [`ImageList`] is the list itself.
//! * [`Lists`] follows lists: endorsers, subscriptions, refreshes, the images a site wants.
//! * [`oci`] follows tags of registries the same way, as a second kind of source.
//! * [`download`] fetches and verifies an image's file in one pass; [`disk`] refuses images that refer to other files.
//! * [`cache`] keeps the wanted images in a folder, as vmcatcher did.
//! * [`Site`] is all of it for one host, with its settings: what the daemon holds.
//! * [`publish`] is where a cloud attaches that follows the images: one trait, three changes.
//! * [`event`] tells handlers what happened, as vmcatcher did, and loses nothing when they fail.
//!
//! Signatures, certificates and CRLs are checked by the system's OpenSSL; nothing here is cryptography of ours.
//! Everything read is bounded. What cannot be checked is refused.
#![forbid(unsafe_code)]

pub mod cache;
mod cms;
pub mod convert;
pub mod download;
pub mod envelope;
mod error;
pub mod event;
pub mod fetch;
mod judge;
mod kept;
pub mod list;
pub mod lists;
pub mod name;
pub mod oci;
pub mod publish;
pub mod record;
pub mod site;
mod trust;
pub mod version;
pub mod waiting;

pub use cms::Rules;
pub use error::{ListError, Refusal};
pub use judge::{Accepted, Expected, Outcome, Stored, judge};
pub use list::{Brief, Dropped, Endorser, Image, ImageList};
pub use lists::Lists;
pub use name::Principal;
pub use site::Site;
pub use trust::{Anchors, Problem, TrustError, TrustFolder, crl_issuer, policy};
pub use vnode_image::disk;

/// Longest signed message, bytes: a list of 16 MiB and its signature.
pub const MAX_MESSAGE_BYTES: usize = (16 << 20) + (1 << 20);
/// Longest list, bytes.
pub const MAX_LIST_BYTES: usize = 16 << 20;
