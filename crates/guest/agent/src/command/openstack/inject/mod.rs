//! `injectfile` and `file_inject`: a file from the host, put in its place at once.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use serde::Deserialize;
use serde_json::Value;
use vnode_beneath::{Dir, DirError};

use super::{
    base64,
    replace::{Attributes, replace},
};
use crate::{
    command::{Command, CommandError, Form},
    context::{Context, Resource},
};

mod defaults;
mod place;
#[cfg(test)]
mod tests;

use place::{Place, Refused};

const NO_BASE64: &str = "Error doing base64 decoding of data";
const INVALID_PATH: &str = "Invalid path";
/// What a backup's name ends in.
const BACKUP: &str = ".bak~";
/// While a file is written, beside its place. Commands that change files run one at a time.
const TEMPORARY: &str = ".vnode-inject.new";

/// The table `[command.injectfile]`, for both.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Largest content, bytes.
    max_bytes: usize,
    /// Where nothing is written.
    deny: Vec<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_bytes: 10 << 20, deny: ["/proc", "/sys", "/dev"].map(PathBuf::from).into() }
    }
}

/// `base64("path,content")`.
#[derive(Debug)]
pub(super) struct InjectFile;

/// `{"b64_path": ..., "b64_file": ...}`: the path may hold commas.
#[derive(Debug)]
pub(super) struct FileInject;

impl Command for InjectFile {
    fn name(&self) -> &str {
        "injectfile"
    }

    fn form(&self) -> Form {
        Form::Openstack
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        async move {
            let bytes = decode(&value)?;
            let comma = bytes
                .iter()
                .position(|byte| *byte == b',')
                .ok_or_else(|| CommandError::invalid("need more than 1 value to unpack"))?;
            inject(context, &bytes[..comma], &bytes[comma + 1..])
        }
        .boxed()
    }

    fn resource(&self) -> Option<Resource> {
        Some(Resource::Files)
    }
}

impl Command for FileInject {
    fn name(&self) -> &str {
        "file_inject"
    }

    fn form(&self) -> Form {
        Form::Openstack
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        async move {
            let (Some(path), Some(file)) = (value.get("b64_path"), value.get("b64_file")) else {
                return Err(CommandError::invalid("Invalid arguments"));
            };
            inject(context, &decode(path)?, &decode(file)?)
        }
        .boxed()
    }

    fn resource(&self) -> Option<Resource> {
        Some(Resource::Files)
    }
}

fn decode(value: &Value) -> Result<Vec<u8>, CommandError> {
    let text = value.as_str().and_then(base64::decode);
    text.ok_or_else(|| CommandError::invalid(NO_BASE64))
}

fn inject(context: &Context, path: &[u8], content: &[u8]) -> Result<Value, CommandError> {
    let settings: Settings = context.options("injectfile")?;
    if content.len() > settings.max_bytes {
        return Err(CommandError::invalid(format!(
            "The file has {} bytes; at most {} are taken",
            content.len(),
            settings.max_bytes
        )));
    }
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    let place = Place::find(context.root(), &path, &settings.deny).map_err(|refused| {
        let why = match &refused {
            Refused::Path => return CommandError::invalid(INVALID_PATH),
            Refused::Link { .. } => format!("{INVALID_PATH}: {refused}"),
            Refused::Dir(_) => format!("Cannot look at {}", path.display()),
        };
        CommandError::invalid(why).with_source(refused)
    })?;
    put(context.root(), &place, content).map_err(|error| {
        let text = format!("Cannot write {}: {}", path.display(), reason(&error));
        CommandError::failed(text).with_source(error)
    })?;
    Ok(Value::from(""))
}

/// The system's words, which tell a client more than ours: `No space left on device`.
fn reason(error: &DirError) -> String {
    match error {
        DirError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn put(root: &Dir, place: &Place, content: &[u8]) -> Result<(), DirError> {
    let folder = make_folders(root, place)?;
    let name = place.path.file_name().unwrap_or_default();
    let Some(old) = open_old(&folder, name)? else {
        let attributes = defaults::of_new_file(root, &place.path);
        return replace(&folder, name, OsStr::new(TEMPORARY), content, &attributes);
    };
    let io = |source| DirError::Io { action: "look at", path: place.path.clone(), source };
    let attributes = Attributes::of(&old).map_err(io)?;
    if same_content(&folder, name, content, old.metadata().map_err(io)?.len())? {
        return Ok(());
    }
    keep(&folder, name)?;
    replace(&folder, name, OsStr::new(TEMPORARY), content, &attributes)
}

fn make_folders(root: &Dir, place: &Place) -> Result<Dir, DirError> {
    for folder in &place.missing {
        let above = folder.parent().unwrap_or(Path::new("/"));
        let owner = defaults::owner_of(root, above)?;
        let mode = if folder.file_name() == Some(OsStr::new(".ssh")) { 0o700 } else { 0o755 };
        root.mkdir(folder, mode)?;
        let made = root.open_dir(folder)?;
        // Whatever the umask is; and only then its owner's.
        let io = |errno: rustix::io::Errno| DirError::Io {
            action: "give its owner to",
            path: folder.clone(),
            source: errno.into(),
        };
        rustix::fs::fchmod(&made, rustix::fs::Mode::from_raw_mode(mode)).map_err(io)?;
        let (uid, gid) = owner;
        let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::fchown(&made, Some(owner.0), Some(owner.1)).map_err(io)?;
    }
    root.open_dir(place.path.parent().unwrap_or(Path::new("/")))
}

/// The file that is there, if it is one. Another kind of thing is refused by [`Place::find`].
fn open_old(folder: &Dir, name: &OsStr) -> Result<Option<std::fs::File>, DirError> {
    let flags = rustix::fs::OFlags::RDONLY
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::NONBLOCK
        | rustix::fs::OFlags::NOCTTY;
    match folder.open_with(name, flags, 0) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn same_content(dir: &Dir, name: &OsStr, content: &[u8], length: u64) -> Result<bool, DirError> {
    if length != content.len() as u64 {
        return Ok(false);
    }
    match dir.read_to_limit(name, length) {
        Ok(old) => Ok(old == content),
        // It grew since.
        Err(DirError::TooLarge { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Keeps the old file under its backup's name; it stays under its own as well.
fn keep(folder: &Dir, name: &OsStr) -> Result<(), DirError> {
    let mut backup = name.to_owned();
    backup.push(BACKUP);
    if backup.as_bytes().len() > 255 {
        tracing::info!("a file whose name is too long for a backup's is replaced without one");
        return Ok(());
    }
    let temporary = OsStr::new(".vnode-inject.old");
    let remove = || match folder.remove_file(temporary) {
        Ok(()) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    };
    remove()?;
    folder.hard_link(name, temporary)?;
    folder.rename(temporary, &backup)?;
    // A rename between two names of one file does nothing: the backup was one already.
    remove()
}
