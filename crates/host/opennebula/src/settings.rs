//! What an operator may choose, in a TOML file; without one, what the original event handler did.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::SignedDuration;
use serde::Deserialize;
use thiserror::Error;

use crate::image::Permissions;

/// Longest file of settings, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why settings are of no use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is no file of settings (docs/reference/opennebula.md)")]
    Syntax {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("`{key}` in the settings is wrong: {reason}")]
    Value { key: &'static str, reason: String },
}

/// What disks are converted to that the cloud does not take as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// As the original did.
    #[default]
    Raw,
    Qcow2,
}

impl Target {
    /// The word `qemu-img` knows.
    pub fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// What is special about the images of one virtual organisation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Organisation {
    /// Datastore of its images, a name or a number.
    pub datastore: Option<String>,
    /// Group that the first version of an image is given to, a name or a number.
    pub group: Option<String>,
    /// Permissions of the first version.
    pub permissions: Option<Permissions>,
}

/// How images are published.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Address of the server; by default what `ONE_XMLRPC` and the server's own tools say.
    pub endpoint: Option<String>,
    /// File with `user:password`; by default what `ONE_AUTH` and the server's own tools say.
    pub auth_file: Option<PathBuf>,
    /// Datastore of images, a name or a number.
    pub datastore: String,
    /// Work folder, in a safe folder of the datastore; by default `templates` in the cache folder.
    pub work: Option<PathBuf>,
    /// User who must be able to read prepared disks, where this program runs as root and the server does not.
    pub share_with: Option<String>,
    /// What disks are converted to.
    pub convert_to: Target,
    /// The program that converts, a path or a name.
    pub qemu_img: String,
    /// Largest disk, bytes, as a node sees it.
    pub max_virtual_size: u64,
    /// A disk may be this much larger than its packed form, from its first GiB on.
    pub max_ratio: u64,
    /// Bytes that stay free in the work folder.
    pub keep_free: u64,
    /// Keep the name a site gave to an image when its next version comes.
    pub keep_site_name: bool,
    /// Seconds the server has to copy an image.
    pub ready_limit: u64,
    /// Seconds one call may take.
    pub call_limit: u64,
    /// Seconds to wait for another run that publishes the same image.
    pub lock_limit: u64,
    /// How often an undoing step is tried again, about a second apart, while the server is away.
    pub undo_retries: u32,
    /// Days after which an image that was withdrawn and is not used is deleted; never when not given.
    pub keep_expired: Option<u32>,
    /// Withdrawn versions of an image that are kept; all when not given.
    pub keep_versions: Option<usize>,
    /// By the value of `ad:vo`.
    pub vo: BTreeMap<String, Organisation>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            auth_file: None,
            datastore: "default".to_owned(),
            work: None,
            share_with: None,
            convert_to: Target::Raw,
            qemu_img: "qemu-img".to_owned(),
            max_virtual_size: 2 << 40,
            max_ratio: 2000,
            keep_free: 1 << 30,
            keep_site_name: false,
            ready_limit: 3 * 3600,
            call_limit: 300,
            lock_limit: 3600,
            undo_retries: 30,
            keep_expired: None,
            keep_versions: None,
            vo: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or holds what is not known here.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let read = |source| SettingsError::Read { path: path.to_owned(), source };
        let text = crate::files::text(path, MAX_BYTES).map_err(read)?;
        let settings: Self = toml::from_str(&text).map_err(|source| SettingsError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let wrong =
            |key, reason: &str| Err(SettingsError::Value { key, reason: reason.to_owned() });
        let week = 7 * 24 * 3600;
        match self {
            _ if self.datastore.is_empty() => wrong("datastore", "it is empty"),
            _ if self.work.as_ref().is_some_and(|work| !work.is_absolute()) => {
                wrong("work", "write the whole path")
            }
            _ if !(1..=week).contains(&self.ready_limit) => {
                wrong("ready-limit", "write seconds, from 1 to a week")
            }
            _ if !(1..=24 * 3600).contains(&self.call_limit) => {
                wrong("call-limit", "write seconds, from 1 to a day")
            }
            _ if self.lock_limit > week => wrong("lock-limit", "write seconds, up to a week"),
            _ => Ok(()),
        }
    }

    /// The datastore for images of `vo`.
    pub fn datastore_of(&self, vo: Option<&str>) -> &str {
        let own = vo.and_then(|vo| self.vo.get(vo)).and_then(|vo| vo.datastore.as_deref());
        own.unwrap_or(&self.datastore)
    }

    pub(crate) fn ready_limit(&self) -> Duration {
        Duration::from_secs(self.ready_limit)
    }

    pub(crate) fn keep_expired(&self) -> Option<SignedDuration> {
        self.keep_expired.map(|days| SignedDuration::from_hours(i64::from(days) * 24))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_mistakes_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opennebula.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Settings::read(&path)
        };
        assert_eq!(read("").unwrap(), Settings::default());
        let settings = read(
            "datastore = \"images\"\nkeep-expired = 30\n[vo.\"a.example\"]\ndatastore = \"105\"\ngroup = \"a\"\npermissions = \"640\"\n",
        )
        .unwrap();
        assert_eq!(settings.datastore_of(Some("a.example")), "105");
        assert_eq!(settings.datastore_of(Some("b.example")), "images");
        assert_eq!(settings.datastore_of(None), "images");
        let own = &settings.vo["a.example"];
        assert_eq!(own.permissions.unwrap().to_string(), "640");
        for wrong in [
            "datastor = \"a\"",
            "datastore = \"\"",
            "work = \"here\"",
            "ready-limit = 0",
            "convert-to = \"vmdk\"",
            "[vo.a]\npermissions = \"9\"",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(Settings::read(Path::new("/nowhere")), Err(SettingsError::Read { .. })));
    }
}
