//! An event of an image, by the variables of the original.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use thiserror::Error;
use vnode_imagelist::list::is_identifier;

/// Variables that an image carries as attributes, in the original's order; empty ones too.
const ATTRIBUTES: &[&str] = &[
    "DC_IDENTIFIER",
    "DC_DESCRIPTION",
    "DC_TITLE",
    "HV_HYPERVISOR",
    "HV_SIZE",
    "HV_URI",
    "HV_FORMAT",
    "HV_VERSION",
    "SL_ARCH",
    "SL_CHECKSUM_SHA512",
    "SL_COMMENTS",
    "SL_OS",
    "SL_OSVERSION",
    "TYPE",
    "IL_DC_IDENTIFIER",
    "FILENAME",
    "AD_MPURI",
    // New: the original left it out.
    "VO",
];
const PREFIX: &str = "VMCATCHER_EVENT_";

/// What an event asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image is in the cache folder: register it.
    Available,
    /// An image was withdrawn.
    Expired,
    /// Nothing for a cloud.
    Other,
}

/// Why an event cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EventError {
    #[error("{name} is not set, or empty; this program is run by vmcatcher_cache, or by vnode")]
    Lacks { name: &'static str },
    #[error(
        "the identifier `{identifier}` is no safe name: 1 to 128 of letters, digits, `.`, `_`, `-`"
    )]
    Identifier { identifier: String },
}

/// An event, as variables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    variables: BTreeMap<String, String>,
}

impl Event {
    /// From a whole environment; variables of others are left out.
    pub fn new(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = environment.into_iter().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let value = value.to_string_lossy().into_owned();
            (name.starts_with("VMCATCHER_") && !value.is_empty()).then_some((name, value))
        });
        Self { variables: ours.collect() }
    }

    /// A variable that is set and not empty, by its whole name.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A variable of the event: `DC_TITLE`.
    pub fn own(&self, name: &str) -> Option<&str> {
        self.variable(&format!("{PREFIX}{name}"))
    }

    /// `VMCATCHER_EVENT_TYPE`.
    pub fn type_name(&self) -> Option<&str> {
        self.own("TYPE")
    }

    pub fn kind(&self) -> Kind {
        match self.type_name() {
            Some("AvailablePostfix") => Kind::Available,
            // The second spelling is that of vmcatcher before 0.2.1, and of its documentation.
            Some("ExpirePostfix" | "ExpirePosfix") => Kind::Expired,
            _ => Kind::Other,
        }
    }

    /// The image it is about.
    ///
    /// # Errors
    /// When there is none, or it could not be the name of a file.
    pub fn identifier(&self) -> Result<&str, EventError> {
        let name = "VMCATCHER_EVENT_DC_IDENTIFIER";
        let identifier = self.variable(name).ok_or(EventError::Lacks { name })?;
        if !is_identifier(identifier) {
            let identifier = identifier.chars().take(60).flat_map(char::escape_default).collect();
            return Err(EventError::Identifier { identifier });
        }
        Ok(identifier)
    }

    /// The cache folder.
    ///
    /// # Errors
    /// When it is not said.
    pub fn cache_folder(&self) -> Result<PathBuf, EventError> {
        let name = "VMCATCHER_CACHE_DIR_CACHE";
        self.variable(name).map(PathBuf::from).ok_or(EventError::Lacks { name })
    }

    /// What the cloud shows of the image.
    pub fn description(&self) -> &str {
        self.own("DC_DESCRIPTION").or_else(|| self.own("DC_TITLE")).unwrap_or_default()
    }

    /// Names and values that an image carries; information systems read them.
    pub fn attributes(&self) -> impl Iterator<Item = (String, &str)> {
        ATTRIBUTES
            .iter()
            .map(|name| (format!("{PREFIX}{name}"), self.own(name).unwrap_or_default()))
    }

    /// The whole event for a log.
    pub fn shown(&self) -> String {
        let masked: BTreeMap<&str, &str> = self
            .variables
            .iter()
            // A database's address may hold a password.
            .map(|(name, value)| match name.as_str() {
                "VMCATCHER_RDBMS" if value.contains('@') => (name.as_str(), "***"),
                _ => (name.as_str(), value.as_str()),
            })
            .collect();
        serde_json::to_string(&masked).unwrap_or_default()
    }
}

impl FromIterator<(String, String)> for Event {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self { variables: variables.into_iter().filter(|(_, value)| !value.is_empty()).collect() }
    }
}

impl<'a> IntoIterator for &'a Event {
    type Item = (&'a String, &'a String);
    type IntoIter = std::collections::btree_map::Iter<'a, String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.variables.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(variables: &[(&str, &str)]) -> Event {
        Event::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn h03_kinds_are_told_by_their_names_and_the_old_spelling_counts() {
        for (name, kind) in [
            ("AvailablePostfix", Kind::Available),
            ("ExpirePostfix", Kind::Expired),
            ("ExpirePosfix", Kind::Expired),
            ("ProcessPrefix", Kind::Other),
            ("ProcessPostfix", Kind::Other),
            ("AvailablePrefix", Kind::Other),
            ("ExpirePrefix", Kind::Other),
            ("SubscriptionImageNew", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(event(&[("VMCATCHER_EVENT_TYPE", name)]).kind(), kind, "{name}");
        }
    }

    #[test]
    fn h10_h11_what_is_missing_is_named() {
        let empty = event(&[("VMCATCHER_EVENT_DC_IDENTIFIER", "")]);
        assert!(matches!(empty.identifier(), Err(EventError::Lacks { .. })));
        assert!(matches!(empty.cache_folder(), Err(EventError::Lacks { .. })));
        for hostile in ["../../x", "a/b", ".hidden", "a b", "a$(b)", "a\nb"] {
            let event = event(&[("VMCATCHER_EVENT_DC_IDENTIFIER", hostile)]);
            assert!(matches!(event.identifier(), Err(EventError::Identifier { .. })), "{hostile}");
        }
    }

    #[test]
    fn h57_a_password_in_a_databases_address_is_masked() {
        let event = event(&[
            ("VMCATCHER_RDBMS", "mysql://u:secret@h/db"),
            ("VMCATCHER_EVENT_TYPE", "ExpirePostfix"),
            ("HOME", "/root"),
        ]);
        let shown = event.shown();
        assert!(shown.contains("ExpirePostfix") && !shown.contains("secret"), "{shown}");
        assert!(!shown.contains("HOME"));
    }
}
