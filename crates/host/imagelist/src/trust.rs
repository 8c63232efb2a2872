//! The trust folder: whose signatures count. Layout of IGTF (`/etc/grid-security/certificates`).
//!
//! | file | use |
//! |---|---|
//! | `*.pem`, `*.0`..`*.9` | CA certificates, PEM; their names do not matter |
//! | `*.r0`..`*.r9` | CRLs, PEM or DER |
//! | `*.namespaces`, `*.signing_policy` | which subjects a CA may certify ([`policy`]) |
//!
//! The folder is read again when a file of it changed.

mod chain;
mod folder;
pub mod policy;

use std::{collections::HashMap, path::PathBuf};

use openssl::{ssl::SslFiletype, x509::X509};
use thiserror::Error;

pub(crate) use chain::check;
pub use folder::{TrustFolder, crl_issuer};

/// Why a folder cannot be used at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrustError {
    #[error("cannot read the trust folder {path}; give the folder that holds the CA certificates")]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the trust folder {path} has more than {limit} files; is it the right one?")]
    TooMany { path: PathBuf, limit: usize },
}

/// A file of the folder that was passed over, and why. Nothing is trusted because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    pub reason: String,
}

/// What a folder holds, read once.
pub struct Anchors {
    /// By the canonical form of the subject; two CAs may have one name.
    cas: HashMap<String, Vec<X509>>,
    /// By the canonical form of the issuer.
    crls: HashMap<String, Vec<CrlFile>>,
    policies: policy::Policies,
    problems: Vec<Problem>,
}

impl std::fmt::Debug for Anchors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anchors")
            .field("cas", &self.cas.len())
            .field("crls", &self.crls.len())
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl Anchors {
    /// Files that could not be used.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many CA certificates there are.
    pub fn len(&self) -> usize {
        self.cas.values().map(Vec::len).sum()
    }

    /// Whether there is no CA: then every list is refused.
    pub fn is_empty(&self) -> bool {
        self.cas.is_empty()
    }
}

#[derive(Clone)]
struct CrlFile {
    /// UTF-8, without NUL: OpenSSL's loader takes no other.
    path: String,
    kind: SslFiletype,
}
