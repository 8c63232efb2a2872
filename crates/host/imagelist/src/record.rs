//! What is remembered: endorsers, subscriptions, their lists, the selection of images. Kept in the daemon's store.
//!
//! | key | record |
//! |---|---|
//! | `imagelist/endorser/ID` | [`EndorserRecord`] |
//! | `imagelist/subscription/LIST` | [`Subscription`] |
//! | `imagelist/latest/LIST` | [`Latest`]: the last accepted message |
//! | `imagelist/image/LIST/IMAGE` | [`ImageRecord`] |
//!
//! Images are keyed by list and identifier: a list cannot take the name of another list's image (W-25).

use std::{fmt, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    cms::Rules,
    judge::Stored,
    list::{Brief, Image, ImageList},
    name::Principal,
};

/// Schema version of all records of this crate.
pub(crate) const SCHEMA: u32 = 1;
pub(crate) const ENDORSERS: &str = "imagelist/endorser/";
pub(crate) const SUBSCRIPTIONS: &str = "imagelist/subscription/";
pub(crate) const LATEST: &str = "imagelist/latest/";
pub(crate) const IMAGES: &str = "imagelist/image/";

/// How long before its end a list is warned of.
pub const WARN_BEFORE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Somebody who may sign lists, with the certificates they use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndorserRecord {
    pub id: String,
    pub principals: Vec<Principal>,
}

/// A list that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// Identifier of the list, for the life of the subscription.
    pub identifier: String,
    pub title: String,
    pub description: String,
    /// Where the site fetches it.
    pub uri: String,
    /// Where the list says that it is; used only with [`Settings::follow_list_uri`].
    pub list_uri: String,
    /// Ids of the endorsers that may sign it.
    pub endorsers: Vec<String>,
    #[serde(default)]
    pub settings: Settings,
    /// The highest version ever accepted: stays when files and images go.
    pub stored: Option<Stored>,
    /// The list in force.
    pub current: Option<Current>,
    /// What the server said the last message was, to be asked whether it changed.
    #[serde(default)]
    pub validators: Validators,
    /// The last refresh.
    pub last: Option<Attempt>,
}

/// The list in force, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    pub version: String,
    pub created: Timestamp,
    pub expires: Timestamp,
    pub imported: Timestamp,
    pub vo: Option<String>,
    pub signer: Principal,
}

/// How a refresh ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub at: Timestamp,
    /// The exit code of `vmcatcher_subscribe -U`; 0 when all is well.
    pub exit_code: u8,
    pub error: Option<String>,
}

/// What a site chooses for a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    pub rules: Rules,
    pub new_images: NewImages,
    /// An expired list or image is withdrawn.
    pub enforce_expiry: bool,
    /// Fetch from where the list says it is, as long as that is the same host.
    pub follow_list_uri: bool,
    /// Not refreshed; its images stay as they are.
    pub paused: bool,
    pub credential: Option<Credential>,
    /// Public key (PEM) that artefacts of a registry must be signed with; none: the registry is believed.
    pub key: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            new_images: NewImages::default(),
            enforce_expiry: true,
            follow_list_uri: false,
            paused: false,
            credential: None,
            key: None,
        }
    }
}

/// What is done with images a list did not have at the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NewImages {
    /// Tell of them, do not list them.
    #[default]
    Refuse,
    /// List them.
    Accept,
    /// List them, and want them in the cache.
    Subscribe,
}

/// User and password for a server. Debug output and errors never show the password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// A file, mode 0600, whose first line is `user:password`.
    File(PathBuf),
    /// Stored with the subscription; only for databases that are taken over.
    Stored { user: String, password: String },
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Stored { user, .. } => {
                f.debug_struct("Stored").field("user", user).finish_non_exhaustive()
            }
        }
    }
}

/// HTTP validators of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Validators {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

impl Subscription {
    /// Whether the list in force is at its end.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.settings.enforce_expiry && self.current.as_ref().is_some_and(|c| c.expires <= now)
    }

    /// Whether the list ends within [`WARN_BEFORE`].
    pub fn ends_soon(&self, now: Timestamp) -> bool {
        self.current.as_ref().is_some_and(|c| c.expires.duration_since(now) <= WARN_BEFORE)
    }
}

/// The last accepted message and what it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latest {
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub message: Vec<u8>,
    pub list: ImageList,
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(de::Error::custom)
}

/// An image of a subscription that the site knows; what of the image is read is the reader's choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord<I = Image> {
    /// Identifier of the list.
    pub list: String,
    pub identifier: String,
    /// The site wants it in the cache.
    pub subscribed: bool,
    /// What the last list that had it says; `None` for one taken over from a database.
    pub latest: Option<I>,
    /// Whether the list in force has it.
    pub in_list: bool,
}

/// Something that an image's end of life is known of.
pub trait Ends {
    /// The image's own end of life.
    fn expires(&self) -> Option<Timestamp>;
}

impl Ends for Image {
    fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
}

impl Ends for Brief {
    fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
}

impl<I: Ends> ImageRecord<I> {
    /// Whether the list in force offers it.
    pub fn is_available(&self, subscription: &Subscription, now: Timestamp) -> bool {
        let ended = |image: &I| {
            subscription.settings.enforce_expiry && image.expires().is_some_and(|e| e <= now)
        };
        self.in_list
            && !subscription.is_expired(now)
            && self.latest.as_ref().is_some_and(|image| !ended(image))
    }

    /// The state as the original counts it: 1 for subscribed, and 2 for available.
    pub fn state(&self, subscription: &Subscription, now: Timestamp) -> u8 {
        u8::from(self.subscribed) + 2 * u8::from(self.is_available(subscription, now))
    }
}

pub(crate) fn image_key(list: &str, image: &str) -> String {
    format!("{IMAGES}{list}/{image}")
}
