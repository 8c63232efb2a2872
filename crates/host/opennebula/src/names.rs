//! Names and attributes that publishing gives to images.

use jiff::{Timestamp, Zoned, tz::TimeZone};
use thiserror::Error;

use crate::{
    event::Event,
    image::{Image, Permissions},
    xml::escape,
};

/// When a withdrawn image was withdrawn, RFC 3339.
pub const EXPIRED: &str = "VNODE_EXPIRED";
/// What a withdrawn image was before: its name, owner's and group's number, permissions, `YES` or `NO`.
pub const WAS_NAME: &str = "VNODE_NAME";
pub const WAS_OWNER: &str = "VNODE_OWNER";
pub const WAS_GROUP: &str = "VNODE_GROUP";
pub const WAS_PERMISSIONS: &str = "VNODE_PERMISSIONS";
pub const WAS_DISABLED: &str = "VNODE_DISABLED";
/// Which run registered an image: `HOST:FOLDER:RUN`.
pub const STAGED: &str = "VNODE_STAGED";

/// Longest name of an image, characters.
const LONGEST: usize = 128;

/// Why a name cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("OpenNebula cannot have an image named `{name}`: {reason}")]
pub struct NameError {
    pub name: String,
    pub reason: &'static str,
}

/// Checks a name by the server's rules.
///
/// # Errors
/// When it would refuse the name.
pub fn check(name: &str) -> Result<(), NameError> {
    let wrong = |reason| Err(NameError { name: name.chars().take(150).collect(), reason });
    match name.chars().count() {
        0 => wrong("it is empty"),
        length if length > LONGEST => wrong("it is longer than 128 characters"),
        _ if name.contains(|c: char| c.is_control() || "&|:\\\";/'#{}$<>".contains(c)) => {
            wrong("it has a character that names may not have")
        }
        _ => Ok(()),
    }
}

/// UTC to the second, in the original's form: `2014-06-04_12-54-44`.
fn stamp(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d_%H-%M-%S").to_string()
}

/// The name of an image withdrawn at `time`: UTC time, with the zone of this machine behind it as the original had.
pub fn expired(identifier: &str, time: Timestamp, zone: &TimeZone) -> String {
    let local: Zoned = time.to_zoned(zone.clone());
    // Zones without an abbreviation repeat their offset there, which is a name as good as any.
    let suffix = local.strftime("%z-%Z").to_string();
    format!("{identifier}_EXPIRED_{}_{suffix}", stamp(time))
}

/// The name of an image whose file is still being copied.
pub fn staged(identifier: &str, time: Timestamp) -> String {
    format!("{identifier}_NEW_{}", stamp(time))
}

/// Whether an image was withdrawn, here or by the original handler.
pub fn is_expired(image: &Image, identifier: &str) -> bool {
    image.attribute(EXPIRED).is_some()
        || image.name.strip_prefix(identifier).is_some_and(|rest| rest.starts_with("_EXPIRED_"))
}

/// When an image was withdrawn, as far as it can be told.
pub fn expired_at(image: &Image, identifier: &str) -> Option<Timestamp> {
    if let Some(time) = image.attribute(EXPIRED) {
        return time.parse().ok();
    }
    let rest = image.name.strip_prefix(identifier)?.strip_prefix("_EXPIRED_")?;
    let utc = jiff::civil::DateTime::strptime("%Y-%m-%d_%H-%M-%S", rest.get(..19)?).ok()?;
    utc.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Whether an image is of a registration that did not come to its end.
pub fn is_staged(image: &Image, identifier: &str) -> bool {
    image.attribute(STAGED).is_some()
        && image.name.strip_prefix(identifier).is_some_and(|rest| rest.starts_with("_NEW_"))
}

/// The image that answers to an identifier: of that very name, else the newest; none that was withdrawn.
pub fn current<'a>(images: &'a [Image], identifier: &str) -> Option<&'a Image> {
    let ours = || {
        images.iter().filter(|image| {
            image.is_of(identifier)
                && !is_expired(image, identifier)
                && !is_staged(image, identifier)
        })
    };
    // Two users may have images of one name: the newest, there too.
    let named = ours().filter(|image| image.name == identifier).max_by_key(|image| image.id);
    named.or_else(|| ours().max_by_key(|image| image.id))
}

/// A template for the server to read, as XML: nothing in a value can end it.
pub fn template<'a>(attributes: impl IntoIterator<Item = (String, &'a str)>) -> String {
    let mut text = String::from("<TEMPLATE>");
    for (name, value) in attributes {
        text.push_str(&format!("<{name}>{}</{name}>", escape(&storable(value))));
    }
    text.push_str("</TEMPLATE>");
    text
}

/// A value that the server stores: its own storage breaks at `]]>`, and XML has no control characters.
pub fn storable(value: &str) -> String {
    let plain: String =
        value.chars().filter(|&c| c == '\t' || c == '\n' || !c.is_control()).collect();
    plain.replace("]]>", "]] >")
}

/// The template of a new image.
pub fn registration(event: &Event, name: &str, path: &str, run: &str) -> String {
    let first =
        [("NAME", name), ("PATH", path), ("TYPE", "OS"), ("DESCRIPTION", event.description())];
    let own = [(STAGED, run)];
    let named = |(name, value): (&str, _)| (name.to_owned(), value);
    template(
        first.into_iter().map(named).chain(event.attributes()).chain(own.into_iter().map(named)),
    )
}

/// What an image of the same file gets, when only the list's words have changed.
pub fn metadata(event: &Event) -> String {
    let description = [("DESCRIPTION".to_owned(), event.description())];
    template(description.into_iter().chain(event.attributes()))
}

/// Who an image belonged to and who could use it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Standing {
    pub name: String,
    pub uid: i64,
    pub gid: i64,
    pub permissions: Permissions,
    pub disabled: bool,
}

impl Standing {
    pub fn of(image: &Image) -> Self {
        Self {
            name: image.name.clone(),
            uid: image.uid,
            gid: image.gid,
            permissions: image.permissions,
            disabled: image.state == crate::image::State::Disabled,
        }
    }

    /// The mark of an image withdrawn at `time`, from which [`Standing::remembered`] reads it again.
    pub fn mark(&self, time: Timestamp) -> String {
        let values = [
            (EXPIRED, time.to_string()),
            (WAS_NAME, self.name.clone()),
            (WAS_OWNER, self.uid.to_string()),
            (WAS_GROUP, self.gid.to_string()),
            (WAS_PERMISSIONS, self.permissions.to_string()),
            (WAS_DISABLED, if self.disabled { "YES" } else { "NO" }.to_owned()),
        ];
        template(values.iter().map(|(name, value)| ((*name).to_owned(), value.as_str())))
    }

    /// What the newest withdrawn image of an identifier was, when it is marked.
    pub fn remembered(images: &[Image], identifier: &str) -> Option<Self> {
        let marked =
            images.iter().filter(|i| i.is_of(identifier) && i.attribute(EXPIRED).is_some());
        let newest = marked.max_by_key(|image| image.id)?;
        Some(Self {
            name: newest.attribute(WAS_NAME)?.to_owned(),
            uid: newest.attribute(WAS_OWNER)?.parse().ok()?,
            gid: newest.attribute(WAS_GROUP)?.parse().ok()?,
            permissions: newest.attribute(WAS_PERMISSIONS)?.parse().ok()?,
            disabled: newest.attribute(WAS_DISABLED)? == "YES",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml;

    const ID: &str = "93084776-1176-4849-95dc-cc7a15f2ce97";

    #[test]
    fn an_expired_name_is_the_originals() {
        let time: Timestamp = "2014-06-04T12:54:44Z".parse().unwrap();
        let madrid = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let name = expired(ID, time, &madrid);
        assert_eq!(name, format!("{ID}_EXPIRED_2014-06-04_12-54-44_+0200-CEST"));
        assert!(check(&name).is_ok());
        assert_eq!(staged(ID, time), format!("{ID}_NEW_2014-06-04_12-54-44"));
    }

    #[test]
    fn h27_values_are_stored_as_they_are() {
        let value = "a \"q\" \\ line\nend <b> & ` $(x) é漢\ttab";
        assert_eq!(storable(value), value);
        assert_eq!(storable("a]]>b\u{1}\r\u{7f}c"), "a]] >bc");
        let event: Event =
            [("VMCATCHER_EVENT_DC_TITLE".to_owned(), value.to_owned())].into_iter().collect();
        let text = registration(&event, ID, "/c/f", "r");
        let root = xml::read(&text).unwrap();
        assert_eq!(root.text_of("VMCATCHER_EVENT_DC_TITLE"), Some(value));
        assert_eq!(root.text_of("DESCRIPTION"), Some(value));
        assert_eq!(root.text_of("VMCATCHER_EVENT_DC_DESCRIPTION"), Some(""));
        let order: Vec<&str> = root.children.iter().map(|c| c.name.as_str()).take(5).collect();
        assert_eq!(order, ["NAME", "PATH", "TYPE", "DESCRIPTION", "VMCATCHER_EVENT_DC_IDENTIFIER"]);
    }

    #[test]
    fn names_are_checked_by_the_servers_rules() {
        for good in ["a", "a b", "a_EXPIRED_1_+0200-CEST", &"n".repeat(128)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "a:b", "a'b", "a\nb", "a$b", &"n".repeat(129)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
