//! Events for handlers, as vmcatcher gives them: a shell command with the event in its environment.
//!
//! An event is stored before it is given to the handler, often in the commit that causes it, and is removed when the
//! handler ended with 0. A handler that fails gets the event again later, with `VMCATCHER_EVENT_ATTEMPT`; after the
//! last try it is kept and listed as undelivered. Events are given one at a time, in their order.

mod deliver;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;
use vnode_store::{Change, record};

pub use deliver::{Delivered, Handler, Queue};

use crate::{
    list::Image,
    record::SCHEMA,
    waiting::{Tries, Waiting},
};

/// What happened, by the original's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A run of the cache begins.
    ProcessPrefix,
    /// A run of the cache ended.
    ProcessPostfix,
    /// A cached image is about to be withdrawn.
    ExpirePrefix,
    /// It was moved to the expired folder.
    ExpirePostfix,
    /// An image is here and verified, not yet in the cache folder.
    AvailablePrefix,
    /// It is in the cache folder.
    AvailablePostfix,
    /// A list has an image that the site does not know.
    SubscriptionImageNew,
}

impl Kind {
    /// Whether it is of a refresh, not of a run of the cache: the two have handlers of their own.
    pub fn is_of_subscription(self) -> bool {
        self == Self::SubscriptionImageNew
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The derived name is the original's.
        fmt::Debug::fmt(self, f)
    }
}

/// What all events of one run share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Names the run.
    pub id: Uuid,
    /// `VMCATCHER_RDBMS`, `VMCATCHER_CACHE_DIR_CACHE`, `_DOWNLOAD`, `_EXPIRE`, as they were given: set by runs of the
    /// cache only.
    pub cache: Option<CacheFolders>,
}

/// How the folders of a cache were given; relative stays relative.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CacheFolders {
    pub database: String,
    pub cache: String,
    pub download: String,
    pub expire: String,
}

impl Default for Session {
    fn default() -> Self {
        Self { id: Uuid::now_v7(), cache: None }
    }
}

/// An event, with the variables that are its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: Kind,
    /// In the original's order; a variable whose value is empty is not there.
    pub variables: Vec<(&'static str, String)>,
}

impl Event {
    /// An event of a whole run.
    pub fn of_run(kind: Kind) -> Self {
        Self { kind, variables: Vec::new() }
    }

    /// An event of one image; `file` is its name without a folder.
    pub fn of_image(kind: Kind, image: &Image, list: &str, vo: Option<&str>, file: &str) -> Self {
        let own = |key| image.text(key).unwrap_or_default().to_owned();
        let variables = vec![
            ("VMCATCHER_EVENT_DC_IDENTIFIER", image.identifier.clone()),
            ("VMCATCHER_EVENT_DC_TITLE", image.title.clone()),
            ("VMCATCHER_EVENT_DC_DESCRIPTION", image.description.clone()),
            ("VMCATCHER_EVENT_HV_FORMAT", image.format.clone().unwrap_or_default()),
            ("VMCATCHER_EVENT_HV_HYPERVISOR", image.hypervisor.clone()),
            ("VMCATCHER_EVENT_HV_SIZE", image.size.to_string()),
            ("VMCATCHER_EVENT_HV_URI", image.uri.clone()),
            ("VMCATCHER_EVENT_HV_VERSION", image.version.clone()),
            ("VMCATCHER_EVENT_SL_ARCH", image.arch.clone()),
            ("VMCATCHER_EVENT_SL_OS", image.os.clone()),
            ("VMCATCHER_EVENT_SL_OSVERSION", image.os_version.clone()),
            ("VMCATCHER_EVENT_SL_COMMENTS", image.comments.clone()),
            ("VMCATCHER_EVENT_SL_CHECKSUM_SHA512", image.sha512.clone()),
            ("VMCATCHER_EVENT_IL_DC_IDENTIFIER", list.to_owned()),
            ("VMCATCHER_EVENT_AD_MPURI", own("ad:mpuri")),
            ("VMCATCHER_EVENT_VO", vo.unwrap_or_default().to_owned()),
            ("VMCATCHER_EVENT_FILENAME", file.to_owned()),
        ];
        Self { kind, variables: without_empty(variables) }
    }

    /// `SubscriptionImageNew`, from the image's object in the list.
    pub fn new_image(image: &Map<String, Value>) -> Self {
        const KEYS: &[(&str, &str)] = &[
            ("VMCATCHER_EVENT_DC_IDENTIFIER", "dc:identifier"),
            ("VMCATCHER_EVENT_DC_TITLE", "dc:title"),
            ("VMCATCHER_EVENT_DC_DESCRIPTION", "dc:description"),
            ("VMCATCHER_EVENT_HV_HYPERVISOR", "hv:hypervisor"),
            ("VMCATCHER_EVENT_HV_SIZE", "hv:size"),
            ("VMCATCHER_EVENT_HV_URI", "hv:uri"),
            ("VMCATCHER_EVENT_HV_VERSION", "hv:version"),
            ("VMCATCHER_EVENT_SL_ARCH", "sl:arch"),
            ("VMCATCHER_EVENT_SL_CHECKSUM_SHA512", "sl:checksum:sha512"),
            ("VMCATCHER_EVENT_SL_COMMENTS", "sl:comments"),
            ("VMCATCHER_EVENT_SL_OS", "sl:os"),
            ("VMCATCHER_EVENT_SL_OSVERSION", "sl:osversion"),
        ];
        let text = |key: &str| match image.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let variables = KEYS.iter().map(|(name, key)| (*name, text(key))).collect();
        Self { kind: Kind::SubscriptionImageNew, variables: without_empty(variables) }
    }

    /// Everything the handler gets of it, in the original's order.
    fn environment(&self, session: &Session) -> Vec<(String, String)> {
        let mut all = vec![
            ("VMCATCHER_EVENT_TYPE", self.kind.to_string()),
            ("VMCATCHER_EVENT_UUID_SESSION", session.id.to_string()),
        ];
        if let Some(folders) = &session.cache {
            all.extend(without_empty(vec![
                ("VMCATCHER_RDBMS", folders.database.clone()),
                ("VMCATCHER_CACHE_DIR_CACHE", folders.cache.clone()),
                ("VMCATCHER_CACHE_DIR_DOWNLOAD", folders.download.clone()),
                ("VMCATCHER_CACHE_DIR_EXPIRE", folders.expire.clone()),
            ]));
        }
        all.extend(self.variables.iter().cloned());
        // The kernel ends a value at a NUL; the format has no use for one.
        all.into_iter().map(|(name, value)| (name.to_owned(), value.replace('\0', ""))).collect()
    }
}

fn without_empty(variables: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    variables.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// An event that waits for its handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Sorts by the time it was queued.
    pub id: Uuid,
    pub kind: Kind,
    pub environment: Vec<(String, String)>,
    pub queued: Timestamp,
    #[serde(flatten)]
    pub tries: Tries,
}

impl Waiting for Queued {
    const PREFIX: &'static str = "imagelist/event/";

    fn key(&self) -> String {
        format!("{}{}", Self::PREFIX, self.id)
    }

    fn tries(&mut self) -> &mut Tries {
        &mut self.tries
    }
}

/// Changes that queue events, to be committed with what causes them.
pub(crate) fn enqueue(
    session: &Session,
    events: impl IntoIterator<Item = Event>,
    now: Timestamp,
) -> Result<Vec<Change>, vnode_store::Error> {
    let queued = events.into_iter().map(|event| {
        let queued = Queued {
            id: Uuid::now_v7(),
            kind: event.kind,
            environment: event.environment(session),
            queued: now,
            tries: Tries::new(now),
        };
        Ok(Change::create(queued.key(), record::encode(SCHEMA, &queued)?))
    });
    queued.collect()
}
