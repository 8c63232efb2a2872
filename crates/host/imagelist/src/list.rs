//! The HEPiX image list: JSON, section 1.1 of the format.
//!
//! Times are `YYYY-MM-DDThh:mm:ssZ`. The outer object `{"hv:imagelist": {...}}` may be missing, as in an older form.
//! Unknown keys are kept with the image. An image that lacks a key is dropped, and the rest of the list is used.

mod json;

use std::collections::BTreeSet;

use jiff::{Timestamp, civil};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{MAX_LIST_BYTES, error::ListError, name::Principal};

/// Most images of a list.
pub const MAX_IMAGES: usize = 10_000;
/// Longest identifier, characters.
pub const MAX_IDENTIFIER: usize = 128;

/// A list as its endorser signed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageList {
    pub identifier: String,
    pub title: String,
    pub description: String,
    pub source: String,
    pub created: Timestamp,
    pub expires: Timestamp,
    /// Ordered by [`crate::version::compare`].
    pub version: String,
    /// Where the publisher says the list is; a subscription keeps its own address.
    pub uri: String,
    pub endorser: Endorser,
    /// `ad:vo`, when not empty.
    pub vo: Option<String>,
    pub images: Vec<Image>,
    /// Images that are not used, and why.
    pub dropped: Vec<Dropped>,
}

/// `hv:endorser`: who is said to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorser {
    /// `hv:dn` and `hv:ca`.
    pub principal: Principal,
    pub email: String,
    pub creator: String,
}

/// One image of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// 1 to 128 of `[A-Za-z0-9._-]`, no leading dot: safe as a file's name.
    pub identifier: String,
    pub title: String,
    pub description: String,
    pub uri: String,
    /// Bytes.
    pub size: u64,
    pub version: String,
    pub hypervisor: String,
    pub arch: String,
    pub os: String,
    pub os_version: String,
    pub comments: String,
    /// 128 hexadecimal digits, lower case; empty for an image of a registry that has not arrived.
    pub sha512: String,
    /// 64 hexadecimal digits, lower case: of an image of a registry, which is known by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// `hv:format`, as written: `RAW`, `OVA`.
    pub format: Option<String>,
    /// The image's own end of life.
    pub expires: Option<Timestamp>,
    /// Every key of the image, as it stands in the list.
    pub attributes: Map<String, Value>,
}

impl Image {
    /// A text attribute that is there and not empty: `ad:mpuri`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Whether two are one file: by the hash that a registry names, else by that of the list.
    pub fn is_same_file(&self, other: &Self) -> bool {
        Brief::from(self).is_same_file(&Brief::from(other))
    }
}

/// What of an image says which file it is and how long it counts: all that a run which changes nothing needs, and a
/// small part of what is to be read of each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Brief {
    pub size: u64,
    pub sha512: String,
    #[serde(default)]
    pub sha256: Option<String>,
    pub expires: Option<Timestamp>,
}

impl Brief {
    /// As [`Image::is_same_file`].
    pub fn is_same_file(&self, other: &Self) -> bool {
        let same = match (&self.sha256, &other.sha256) {
            (Some(own), Some(other)) => own == other,
            (None, None) => self.sha512 == other.sha512,
            _ => false,
        };
        same && self.size == other.size
    }
}

impl From<&Image> for Brief {
    fn from(image: &Image) -> Self {
        let Image { size, sha512, sha256, expires, .. } = image;
        Self { size: *size, sha512: sha512.clone(), sha256: sha256.clone(), expires: *expires }
    }
}

/// An image that is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Its place in the list, from 0.
    pub index: usize,
    /// Its identifier, when it has one; not checked.
    pub identifier: Option<String>,
    pub reason: String,
}

impl ImageList {
    /// Reads what was signed.
    ///
    /// # Errors
    /// [`ListError::NotJson`] for text that is no JSON or has a key twice; [`ListError::NotAList`] when a key of the
    /// list is missing or of the wrong kind, or the list is too large.
    pub fn decode(bytes: &[u8]) -> Result<Self, ListError> {
        if bytes.len() > MAX_LIST_BYTES {
            return Err(not_a_list(format!("it is longer than {MAX_LIST_BYTES} bytes")));
        }
        let value = json::parse(bytes).map_err(|e| ListError::NotJson { reason: e.to_string() })?;
        let Value::Object(mut outer) = value else {
            return Err(not_a_list("it is no object"));
        };
        let list = match outer.remove("hv:imagelist") {
            Some(Value::Object(list)) => list,
            Some(_) => return Err(not_a_list("`hv:imagelist` is no object")),
            None => {
                tracing::warn!("an image list of the old form, without `hv:imagelist`");
                outer
            }
        };
        Self::from_object(list).map_err(not_a_list)
    }

    fn from_object(mut list: Map<String, Value>) -> Result<Self, String> {
        let Some(Value::Array(images)) = list.remove("hv:images") else {
            return Err("`hv:images` is missing or no array".to_owned());
        };
        if images.len() > MAX_IMAGES {
            return Err(format!("it has more than {MAX_IMAGES} images"));
        }
        let identifier = text(&list, "dc:identifier")?;
        check_identifier(&identifier)?;
        let endorser = match list.get("hv:endorser").and_then(|e| e.get("hv:x509")) {
            Some(Value::Object(x509)) => Endorser {
                principal: Principal::new(text(x509, "hv:dn")?, text(x509, "hv:ca")?),
                email: text(x509, "hv:email")?,
                creator: text(x509, "dc:creator")?,
            },
            _ => return Err("`hv:endorser` with `hv:x509` is missing".to_owned()),
        };
        let mut decoded = Self {
            identifier,
            title: text(&list, "dc:title")?,
            description: text(&list, "dc:description")?,
            source: text(&list, "dc:source")?,
            created: time(&text(&list, "dc:date:created")?, "dc:date:created")?,
            expires: time(&text(&list, "dc:date:expires")?, "dc:date:expires")?,
            version: text(&list, "hv:version")?,
            uri: text(&list, "hv:uri")?,
            endorser,
            vo: list
                .get("ad:vo")
                .and_then(Value::as_str)
                .filter(|vo| !vo.is_empty())
                .map(str::to_owned),
            images: Vec::with_capacity(images.len()),
            dropped: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for (index, image) in images.into_iter().enumerate() {
            let identifier =
                image.pointer("/hv:image/dc:identifier").and_then(Value::as_str).map(str::to_owned);
            match Image::from_value(image) {
                Ok(image) if seen.insert(image.identifier.clone()) => decoded.images.push(image),
                Ok(_) => {
                    let reason = "an image before it has the same identifier".to_owned();
                    decoded.dropped.push(Dropped { index, identifier, reason });
                }
                Err(reason) => decoded.dropped.push(Dropped { index, identifier, reason }),
            }
        }
        for dropped in &decoded.dropped {
            tracing::warn!(
                list = decoded.identifier,
                index = dropped.index,
                image = dropped.identifier,
                reason = dropped.reason,
                "an image of the list is not used"
            );
        }
        Ok(decoded)
    }
}

impl Image {
    fn from_value(value: Value) -> Result<Self, String> {
        let Value::Object(mut outer) = value else {
            return Err("it is no object".to_owned());
        };
        let Some(Value::Object(image)) = outer.remove("hv:image") else {
            return Err("`hv:image` is missing".to_owned());
        };
        let identifier = text(&image, "dc:identifier")?;
        check_identifier(&identifier)?;
        let sha512 = text(&image, "sl:checksum:sha512")?.to_ascii_lowercase();
        if sha512.len() != 128 || !sha512.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("`sl:checksum:sha512` is not 128 hexadecimal digits".to_owned());
        }
        let size = match image.get("hv:size") {
            Some(Value::Number(size)) => size.as_u64(),
            Some(Value::String(size)) if size.bytes().all(|b| b.is_ascii_digit()) => {
                size.parse().ok()
            }
            _ => None,
        };
        Ok(Self {
            identifier,
            title: text(&image, "dc:title")?,
            description: text(&image, "dc:description")?,
            uri: text(&image, "hv:uri")?,
            size: size.ok_or("`hv:size` is missing or no number of bytes")?,
            version: text(&image, "hv:version")?,
            hypervisor: text(&image, "hv:hypervisor")?,
            arch: text(&image, "sl:arch")?,
            os: text(&image, "sl:os")?,
            os_version: text(&image, "sl:osversion")?,
            comments: text(&image, "sl:comments")?,
            sha512,
            sha256: None,
            format: image
                .get("hv:format")
                .and_then(Value::as_str)
                .filter(|format| !format.is_empty())
                .map(str::to_owned),
            expires: match image.get("dc:date:expires") {
                None => None,
                Some(Value::String(expires)) => Some(time(expires, "dc:date:expires")?),
                // An end that cannot be read might have passed.
                Some(_) => return Err("`dc:date:expires` is no time".to_owned()),
            },
            attributes: image,
        })
    }
}

/// Whether a text may name an image or a list: 1 to 128 of `[A-Za-z0-9._-]` without a leading dot.
pub fn is_identifier(text: &str) -> bool {
    (1..=MAX_IDENTIFIER).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn check_identifier(identifier: &str) -> Result<(), String> {
    if is_identifier(identifier) {
        return Ok(());
    }
    let shown: String = identifier.chars().take(40).flat_map(char::escape_default).collect();
    Err(format!(
        "its identifier `{shown}` is not 1 to {MAX_IDENTIFIER} of letters, digits, `.`, `_`, `-`"
    ))
}

fn text(object: &Map<String, Value>, key: &str) -> Result<String, String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("`{key}` is no text")),
        None => Err(format!("`{key}` is missing")),
    }
}

/// `YYYY-MM-DDThh:mm:ssZ` and nothing else.
fn time(text: &str, key: &str) -> Result<Timestamp, String> {
    let wrong = || {
        let shown: String = text.chars().take(40).flat_map(char::escape_default).collect();
        format!("`{key}` is `{shown}`, no time of the form 2026-11-21T10:00:00Z")
    };
    const FORM: &[u8] = b"0000-00-00T00:00:00Z";
    let fits = text.len() == FORM.len()
        && text
            .bytes()
            .zip(FORM)
            .all(|(b, f)| if *f == b'0' { b.is_ascii_digit() } else { b == *f });
    if !fits || &text[17..19] == "60" {
        return Err(wrong());
    }
    let civil: civil::DateTime = text[..19].parse().map_err(|_| wrong())?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?;
    Ok(zoned.timestamp())
}

fn not_a_list(reason: impl Into<String>) -> ListError {
    ListError::NotAList { reason: reason.into() }
}

#[cfg(test)]
mod tests;
