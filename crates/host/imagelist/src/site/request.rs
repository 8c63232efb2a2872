//! One piece of work, and how it ended: as an operation carries it and the API tells it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::HandlerSettings;
use crate::{
    cache::{Folders, RunReport},
    event::CacheFolders,
    lists::Refreshed,
};

/// What to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// Ask whether lists changed.
    pub refresh: bool,
    /// Only this list.
    pub list: Option<String>,
    /// Run the cache: withdraw, and fetch what is wanted.
    pub cache: bool,
    /// Read every cached file again and compare its hash.
    pub check: bool,
    /// Fetch what is wanted; without it images are only withdrawn.
    pub download: bool,
    /// Fetch only these images.
    pub only: Option<BTreeSet<String>>,
    /// Other folders than the settings'.
    pub folders: Option<Folders>,
    /// What handlers are told of database and folders, as they were given.
    pub session: Option<CacheFolders>,
    /// Other handlers than the settings'.
    pub handler: Option<HandlerSettings>,
    pub subscription_handler: Option<HandlerSettings>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            refresh: true,
            list: None,
            cache: true,
            check: false,
            download: true,
            only: None,
            folders: None,
            session: None,
            handler: None,
            subscription_handler: None,
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Summary {
    pub begun: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    pub lists: Vec<ListResult>,
    /// Identifiers of images that came.
    pub available: Vec<String>,
    /// Identifiers of images that were withdrawn, those that were replaced too.
    pub expired: Vec<String>,
    pub failed: Vec<Failed>,
    /// Cached files that were missing or wrong.
    pub lost: Vec<String>,
    pub unusable: Vec<Unusable>,
    /// Files that belonged to no image and were moved aside.
    pub strays: usize,
    /// Withdrawn files that were removed for their age.
    pub purged: usize,
}

/// An image that is not in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub list: String,
    pub identifier: String,
    pub error: String,
}

/// An image of which no node can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unusable {
    pub identifier: String,
    pub why: String,
}

/// How the refresh of one list ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ListResult {
    pub list: String,
    /// The exit code of `vmcatcher_subscribe -U`.
    pub exit_code: u8,
    pub error: Option<String>,
    pub changed: bool,
    pub paused: bool,
    pub same_version: bool,
    /// Identifiers the site did not know.
    pub new_images: Vec<String>,
    /// Those of them that are not listed.
    pub refused: Vec<String>,
    /// Images that could not be used: identifier or place, and why.
    pub dropped: Vec<String>,
}

impl From<Refreshed> for ListResult {
    fn from(refreshed: Refreshed) -> Self {
        let exit_code = refreshed.exit_code();
        match refreshed.result {
            Err(error) => Self {
                list: refreshed.list,
                exit_code,
                error: Some(vnode_protocol::chain(&error)),
                ..Self::default()
            },
            Ok(report) => Self {
                list: refreshed.list,
                exit_code,
                error: None,
                changed: report.changed,
                paused: report.paused,
                same_version: report.same_version,
                new_images: report.new_images.into_iter().map(|i| i.identifier).collect(),
                refused: report.refused,
                dropped: report
                    .dropped
                    .into_iter()
                    .map(|dropped| {
                        let name = dropped.identifier.map_or_else(
                            || format!("image {}", dropped.index),
                            |identifier| {
                                identifier.chars().flat_map(char::escape_default).collect()
                            },
                        );
                        format!("{name}: {}", dropped.reason)
                    })
                    .collect(),
            },
        }
    }
}

impl Summary {
    pub(super) fn add(&mut self, report: RunReport) {
        self.available = report.available;
        self.expired = report.expired;
        self.lost = report.lost;
        self.strays = report.strays;
        self.purged = report.purged;
        self.failed = report
            .failed
            .into_iter()
            .map(|failure| Failed {
                list: failure.list,
                identifier: failure.identifier,
                error: vnode_protocol::chain(&failure.error),
            })
            .collect();
        self.unusable = report
            .unusable
            .into_iter()
            .map(|(identifier, why)| Unusable { identifier, why })
            .collect();
    }

    /// Whether nothing happened that anybody would want to read.
    pub fn is_idle(&self) -> bool {
        self.lists.is_empty()
            && self.available.is_empty()
            && self.expired.is_empty()
            && self.failed.is_empty()
            && self.lost.is_empty()
            && self.strays == 0
            && self.purged == 0
    }

    /// Whether a list was refused or an image did not come.
    pub fn is_partly(&self) -> bool {
        !self.failed.is_empty() || self.lists.iter().any(|list| list.exit_code != 0)
    }
}
