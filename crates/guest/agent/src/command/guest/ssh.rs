//! guest-ssh-*-authorized-keys.

use std::io::Read;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Gid, OFlags, Uid};
use serde_json::{Value, json};
use vnode_action::account;
use vnode_beneath::Dir;

use super::{Args, CommandError, Guest, dir_reason};
use crate::context::{Context, Resource};

/// Largest file of keys.
const MOST: u64 = 1 << 20;

pub(super) fn commands() -> Vec<Guest> {
    vec![
        Guest::now("guest-ssh-get-authorized-keys", get),
        Guest::now("guest-ssh-add-authorized-keys", add).changes(Resource::Accounts),
        Guest::now("guest-ssh-remove-authorized-keys", remove).changes(Resource::Accounts),
    ]
}

/// A user as the password file has it.
struct User {
    uid: u32,
    gid: u32,
    home: String,
}

fn user(context: &Context, name: &str) -> Result<User, CommandError> {
    let unknown =
        || CommandError::not_found(format!("failed to lookup user '{name}': no such user"));
    let table = super::read_text(context, "etc/passwd").ok_or_else(unknown)?;
    account::accounts(&table)
        .find(|account| account.name == name && !account.home.is_empty())
        .map(|found| User { uid: found.uid, gid: found.gid, home: found.home.to_owned() })
        .ok_or_else(unknown)
}

impl User {
    fn folder(&self) -> String {
        format!("{}/.ssh", self.home.trim_end_matches('/'))
    }

    fn file(&self) -> String {
        format!("{}/authorized_keys", self.folder())
    }

    /// The lines of the file; `None` when there is none.
    fn lines(&self, context: &Context) -> Result<Option<Vec<String>>, CommandError> {
        let path = self.file();
        let failed = |why: String| CommandError::failed(format!("failed to read '{path}': {why}"));
        // The user may have put a link in the place of either, to what only root may read: no link is followed, and
        // what is read is the user's or root's own.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = self.open_folder(context);
        let file = match opened.and_then(|folder| folder.open_with("authorized_keys", flags, 0)) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(failed(dir_reason(&error)).with_source(error)),
        };
        let about = file.metadata().map_err(|error| failed(super::reason(&error)))?;
        if !about.is_file() || ![0, self.uid].contains(&about.uid()) {
            return Err(failed("it is no file of the user's own".to_owned()));
        }
        let mut text = Vec::new();
        file.take(MOST + 1)
            .read_to_end(&mut text)
            .map_err(|error| failed(super::reason(&error)))?;
        if text.len() as u64 > MOST {
            return Err(failed(format!("it has more than {MOST} bytes")));
        }
        Ok(Some(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()))
    }

    /// Makes the folder and writes the file, both the user's own and nobody else's to read.
    fn write(&self, context: &Context, lines: &[String]) -> Result<(), CommandError> {
        let path = self.folder();
        let failed = |error: vnode_beneath::DirError| {
            let why = dir_reason(&error);
            CommandError::failed(format!("failed to write '{path}/authorized_keys': {why}"))
                .with_source(error)
        };
        // The user owns the home and may have put a link there: the folder is opened without following its last
        // name, and all that follows is done in the folder that was opened.
        match context.root().mkdir(&path, 0o700) {
            Ok(()) => {
                let folder = self.open_folder(context).map_err(failed)?;
                self.own(&folder)?;
            }
            Err(error) if error.already_exists() => {}
            Err(error) => return Err(failed(error)),
        }
        let folder = self.open_folder(context).map_err(failed)?;
        let (text, owner) = (lines.join("\n"), Some((self.uid, self.gid)));
        folder.write_atomic_as("authorized_keys", text.as_bytes(), 0o600, owner).map_err(failed)
    }

    fn open_folder(&self, context: &Context) -> Result<Dir, vnode_beneath::DirError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let folder = context.root().open_with(self.folder(), flags, 0)?;
        Ok(Dir::from_fd(folder.into(), context.root().scope()))
    }

    fn own(&self, file: impl std::os::fd::AsFd) -> Result<(), CommandError> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(|error| {
            let why = super::reason(&error.into());
            CommandError::failed(format!("failed to set ownership of '{}': {why}", self.folder()))
        })
    }
}

fn check(keys: &[String]) -> Result<(), CommandError> {
    match keys.iter().find(|key| key.starts_with('#') || key.contains(['\n', '\r', '\0'])) {
        None => Ok(()),
        Some(key) => Err(CommandError::invalid(format!("invalid OpenSSH public key: '{key}'"))),
    }
}

fn get(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let name = args.text("username")?;
    args.finish()?;
    let user = user(context, &name)?;
    let lines = user.lines(context)?.ok_or_else(|| {
        CommandError::not_found(format!(
            "failed to read '{}': No such file or directory",
            user.file()
        ))
    })?;
    let is_key = |line: &&String| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    Ok(json!({ "keys": lines.iter().filter(is_key).collect::<Vec<_>>() }))
}

fn add(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let name = args.text("username")?;
    let keys = args.texts("keys")?;
    let reset = args.opt_bool("reset")?.unwrap_or(false);
    args.finish()?;
    check(&keys)?;
    let user = user(context, &name)?;
    let mut lines = if reset { Vec::new() } else { user.lines(context)?.unwrap_or_default() };
    for key in keys {
        if !lines.contains(&key) {
            lines.push(key);
        }
    }
    user.write(context, &lines)?;
    Ok(json!({}))
}

fn remove(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let name = args.text("username")?;
    let keys = args.texts("keys")?;
    args.finish()?;
    check(&keys)?;
    let user = user(context, &name)?;
    let Some(mut lines) = user.lines(context)? else { return Ok(json!({})) };
    lines.retain(|line| !keys.contains(line));
    user.write(context, &lines)?;
    Ok(json!({}))
}
