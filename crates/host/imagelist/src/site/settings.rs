//! What a site chooses for all its lists.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::SiteError;
use crate::{cache::Mirror, download::DownloadOptions, event::Handler, fetch::ClientOptions};

/// Settings of signed lists on one host, kept in the daemon's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// CA certificates, CRLs, namespaces and signing policies, in IGTF's layout.
    pub trust_folder: PathBuf,
    /// The cache folder; `lists/cache` in the state folder when absent.
    pub cache: Option<PathBuf>,
    /// `partial` in the cache folder when absent.
    pub partial: Option<PathBuf>,
    /// `expired` in the cache folder when absent.
    pub expired: Option<PathBuf>,
    /// Told of the cache's events.
    pub handler: Option<HandlerSettings>,
    /// Told of images that are new in a list.
    pub subscription_handler: Option<HandlerSettings>,
    /// Seconds between two refreshes by the daemon itself; 0: only when asked.
    pub refresh_every_s: u64,
    /// `http://HOST:PORT`; the loopback is always reached directly.
    pub proxy: Option<String>,
    /// PEM certificates of servers' authorities beside the system's.
    pub extra_authorities: Option<PathBuf>,
    /// Asked before the list's own address.
    pub mirrors: Vec<Mirror>,
    /// Bytes a second, of all files together.
    pub bandwidth: Option<u64>,
    /// Files fetched at a time.
    pub at_once: usize,
    /// Longest silence of a server, seconds.
    pub stall_limit_s: u64,
    /// How often all sources of a file are tried again.
    pub retries: u32,
    /// Bytes of the file system that stay free.
    pub keep_free: u64,
    /// Most bytes a packed image may unpack to.
    pub max_virtual_size: u64,
    /// Withdrawn files are removed after so many days; never, when absent.
    pub keep_expired_days: Option<u32>,
    /// Messages and files of all lists are kept here as their addresses say, for a web server that serves them to
    /// other sites: `FOLDER/http/HOST/PATH`.
    pub serve_tree: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let download = DownloadOptions::default();
        Self {
            trust_folder: "/etc/grid-security/certificates".into(),
            cache: None,
            partial: None,
            expired: None,
            handler: None,
            subscription_handler: None,
            refresh_every_s: 6 * 3600,
            proxy: None,
            extra_authorities: None,
            mirrors: Vec::new(),
            bandwidth: None,
            at_once: download.at_once,
            stall_limit_s: download.stall_limit.as_secs(),
            retries: download.retries,
            keep_free: download.keep_free,
            max_virtual_size: 2 << 40,
            keep_expired_days: Some(30),
            serve_tree: None,
        }
    }
}

/// A site's event command.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct HandlerSettings {
    /// Run by `/bin/sh -c`.
    pub command: String,
    /// Beside the event's variables; `PATH` is set when it is not among them.
    pub environment: Vec<(String, String)>,
    /// Longest time of one run; none when absent.
    pub time_limit_s: Option<u64>,
    /// How often a failed event is offered again; 3 when absent.
    pub retries: Option<u32>,
}

impl HandlerSettings {
    pub(super) fn handler(&self) -> Handler {
        let mut handler = Handler::new(&self.command);
        for (name, value) in &self.environment {
            handler.environment.retain(|(other, _)| other != name);
            handler.environment.push((name.clone(), value.clone()));
        }
        handler.time_limit = self.time_limit_s.map(Duration::from_secs);
        handler.retries = self.retries.unwrap_or(handler.retries);
        handler
    }
}

impl Settings {
    pub(super) fn download_options(&self) -> Result<DownloadOptions, SiteError> {
        let extra_authorities = match &self.extra_authorities {
            Some(path) => Some(
                std::fs::read(path)
                    .map_err(|source| SiteError::File { path: path.clone(), source })?,
            ),
            None => None,
        };
        Ok(DownloadOptions {
            client: ClientOptions {
                proxy: self.proxy.clone(),
                extra_authorities,
                ..ClientOptions::default()
            },
            at_once: self.at_once,
            stall_limit: Duration::from_secs(self.stall_limit_s.max(1)),
            retries: self.retries,
            bandwidth: self.bandwidth,
            keep_free: self.keep_free,
            ..DownloadOptions::default()
        })
    }
}
