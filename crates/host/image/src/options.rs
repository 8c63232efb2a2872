//! Settings of a catalogue.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a [`Catalogue`](crate::Catalogue). `Options::default()` is good for production.
#[derive(Debug, Clone)]
pub struct Options {
    /// Registry of references that name none.
    pub default_registry: String,
    /// Registry → mirrors of it (`host[:port][/prefix]`), tried in order before the registry itself.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Registry → credential. Wins over `auth_file`.
    pub credentials: BTreeMap<String, Credential>,
    /// A file in the form of docker's `config.json`; its `auths` are read, credential helpers are not run.
    pub auth_file: Option<PathBuf>,
    /// Registries spoken to in plain HTTP. Those on a loopback address are so without being listed.
    pub insecure_registries: Vec<String>,
    /// Proxy (`http://host:port`) for registries that are not on a loopback address. The environment is not read.
    pub proxy: Option<String>,
    /// Certificates (PEM) trusted beside the machine's own, for registries with an authority of their own.
    pub extra_certificates: Option<PathBuf>,
    /// A transfer that brings no byte for this long is broken off and tried again.
    pub stall_time: Duration,
    /// Limit of one image's pull, retries included.
    pub total_time: Duration,
    /// Tries of one request, the first included.
    pub attempts: u32,
    /// Wait before the second try; doubled each time, at most 30 s.
    pub backoff: Duration,
    /// Layers fetched and unpacked at once, over all images.
    pub parallel_layers: usize,
    pub limits: Limits,
    pub host: HostOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            default_registry: "docker.io".into(),
            mirrors: BTreeMap::new(),
            credentials: BTreeMap::new(),
            auth_file: None,
            insecure_registries: Vec::new(),
            proxy: None,
            extra_certificates: None,
            stall_time: Duration::from_secs(60),
            total_time: Duration::from_secs(3600),
            attempts: 4,
            backoff: Duration::from_millis(500),
            parallel_layers: 3,
            limits: Limits::default(),
            host: HostOptions::default(),
        }
    }
}

/// What the catalogue shows to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    Basic {
        user: String,
        password: String,
    },
    /// A token obtained elsewhere, sent as it is.
    Bearer(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credential::Basic { user, .. } => write!(f, "Basic({user}, ...)"),
            Credential::Bearer(_) => f.write_str("Bearer(...)"),
        }
    }
}

/// Bounds on one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Manifest, index or configuration, bytes.
    pub manifest_bytes: u64,
    pub layers: usize,
    /// One layer as it is transferred, bytes.
    pub packed_bytes: u64,
    /// One layer unpacked.
    pub unpack: vnode_beneath::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            // Overlay takes at most 500 layers.
            layers: 127,
            packed_bytes: 32 << 30,
            unpack: vnode_beneath::Limits::default(),
        }
    }
}

/// How the image `host` is made.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// The root it shows. `/` but in tests.
    pub root: PathBuf,
    /// Folders of ours, hidden wherever they are (the state folder).
    pub state_dirs: Vec<PathBuf>,
    /// Further paths to hide.
    pub hide: Vec<PathBuf>,
    /// Folders at the top of the root that are shown although nothing standard says what is in them.
    pub show: Vec<String>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { root: "/".into(), state_dirs: Vec::new(), hide: Vec::new(), show: Vec::new() }
    }
}
