//! The verbs and their arguments.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use vnode_api::message::ListChange;
use vnode_api::{Code, Problem};

use super::endorser::Endorser;
use super::settings::SettingsArgs;
use crate::Result;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Follow a signed image list, or a tag or catalogue of a registry
    Subscribe {
        /// Where it is: http, https or file; oci://HOST/REPOSITORY:TAG for a tag, oci://HOST/PROJECT/ for a catalogue
        uri: String,
        /// Trust whoever signed it from now on
        #[arg(long)]
        auto_endorse: bool,
        /// Keep this image of it in the cache; may be repeated
        #[arg(long, value_name = "IDENTIFIER")]
        want: Vec<String>,
        /// Keep all its images in the cache, new ones too
        #[arg(long, conflicts_with = "want")]
        all: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Stop following a list; its images are withdrawn
    Unsubscribe {
        /// Identifier of the list
        #[arg(required = true)]
        list: Vec<String>,
    },
    /// List the signed lists that are followed
    Lists,
    /// Change what was chosen for a list
    Configure {
        /// Identifier of the list
        list: String,
        #[command(flatten)]
        change: Change,
    },
    /// Leave a list alone: not refreshed, its images stay
    Pause {
        /// Identifier of the list
        list: String,
    },
    /// Refresh a list again
    Resume {
        /// Identifier of the list
        list: String,
    },
    /// Who may sign lists
    Endorser {
        #[command(subcommand)]
        command: Endorser,
    },
    /// Ask whether lists changed, withdraw what ended, fetch what is wanted
    Refresh {
        /// Only this list
        list: Option<String>,
        /// Read every cached file again and compare its hash
        #[arg(long)]
        check: bool,
    },
    /// List the images that signed lists offer, and which are here
    Listed,
    /// Keep images of lists in the cache, and fetch them
    Want {
        /// Identifier of the image
        #[arg(required = true)]
        image: Vec<String>,
        /// Only of this list
        #[arg(long)]
        list: Option<String>,
    },
    /// Keep images of lists no longer, and withdraw them
    Expire {
        /// Identifier of the image; without any, only what has ended is withdrawn
        image: Vec<String>,
    },
    /// List an image that the policy for new images refused
    Accept {
        /// Identifier of the list
        list: String,
        /// Identifier of the image
        image: String,
    },
    /// Show one list, or one image of a list
    Show {
        /// Identifier
        name: String,
    },
    /// Events that a handler or a cloud was not told of yet
    Events {
        /// Offer those again that were given up
        #[arg(long)]
        retry: bool,
    },
    /// Show or change what is chosen for all lists
    Settings(Box<SettingsArgs>),
    /// Take over a vmcatcher installation
    Migrate {
        /// Its SQLite database, a path or `sqlite:///PATH`
        #[arg(long, value_name = "FILE")]
        database: String,
        /// Its cache folder; files that can be believed are moved
        #[arg(long, value_name = "FOLDER")]
        cache: Option<PathBuf>,
    },
}

/// What is done with images that a list did not have before.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum NewImages {
    /// Tell of them
    Refuse,
    /// List them
    Accept,
    /// List and fetch them
    Subscribe,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Change {
    /// What is done with images the list did not have before
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(super) new_images: Option<NewImages>,
    /// File whose first line is `user:password` for the list's server; empty for none
    #[arg(long, value_name = "FILE")]
    credential: Option<PathBuf>,
    /// Public key (PEM) that artefacts of a registry must be signed with, as cosign signs; empty for none
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Withdraw expired lists and images
    #[arg(long, value_name = "BOOL")]
    enforce_expiry: Option<bool>,
    /// Fetch from where the list says it is, on the same host
    #[arg(long, value_name = "BOOL")]
    follow_list_uri: Option<bool>,
    /// Accept signatures over SHA-1
    #[arg(long, value_name = "BOOL")]
    allow_sha1: Option<bool>,
    /// Accept signers whose certificate is for servers or clients
    #[arg(long, value_name = "BOOL")]
    allow_any_eku: Option<bool>,
    /// Refuse another message of the same version
    #[arg(long, value_name = "BOOL")]
    strict_version: Option<bool>,
}

impl Change {
    pub(super) fn message(self) -> Result<ListChange> {
        let policy = |new_images| {
            match new_images {
                NewImages::Refuse => "refuse",
                NewImages::Accept => "accept",
                NewImages::Subscribe => "subscribe",
            }
            .to_owned()
        };
        let file = |path: Option<PathBuf>| match path {
            Some(path) if path.as_os_str().is_empty() => Ok(Some(String::new())),
            Some(path) => absolute(&path).map(Some),
            None => Ok(None),
        };
        Ok(ListChange {
            new_images: self.new_images.map(policy),
            paused: None,
            credential_file: file(self.credential)?,
            key_file: file(self.key)?,
            credential: None,
            enforce_expiry: self.enforce_expiry,
            follow_list_uri: self.follow_list_uri,
            allow_sha1: self.allow_sha1,
            allow_any_eku: self.allow_any_eku,
            strict_version: self.strict_version,
        })
    }
}

/// A file's path becomes an address; relative paths are taken from here.
pub(super) fn address(uri: &str) -> Result<String> {
    if uri.contains("://") || !Path::new(uri).exists() {
        return Ok(uri.to_owned());
    }
    Ok(format!("file://{}", absolute(Path::new(uri))?))
}

pub(super) fn absolute(path: &Path) -> Result<String> {
    let absolute = path.canonicalize().map_err(|error| {
        Problem::from_error(Code::Usage, &error)
            .in_front(format!("cannot use `{}`", path.display()))
    })?;
    absolute.into_os_string().into_string().map_err(|path| {
        Problem::new(Code::Usage, format!("the path `{}` is not UTF-8", path.display()))
    })
}
