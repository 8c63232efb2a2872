//! Detached programs on record: a folder for each, in one of the agent's own.
//!
//! ```text
//!  ID/record.json   what it is and, once it has ended, how
//!  ID/socket        its keeper, as long as that lives
//!  ID/output        its last output, as frames one after the other, once it has ended
//!  attended-...      marks of the programs that clients of an agent attend: see `attended`
//! ```
//!
//! The folders are all there is: an agent that starts anew, or another version of it, finds every program in them.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vnode_beneath::{Dir, Scope};
use vnode_processes::proc;

use super::{failed, tree};
use crate::{command::CommandError, context::Context};

/// Where they are, unless `[command.exec] state-dir` says so.
const FOLDER: &str = "/run/vnode-agent/exec";
const RECORD: &str = "record.json";
const OUTPUT: &str = "output";
/// Bytes of a record: a request's arguments, with what JSON adds.
const RECORD_BYTES: u64 = 4 << 20;
/// Programs that have ended and are kept, and for how long.
pub(super) const KEPT: usize = 32;
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// A keeper has made its record by then, or never will.
const STARTING: Duration = Duration::from_secs(60);
/// Bytes of a command line in a list.
const SHOWN: usize = 512;

/// `[command.exec]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    state_dir: Option<PathBuf>,
}

/// A process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// As [`proc::Stat::start`].
    start: u64,
}

impl Process {
    pub(super) fn of(pid: i32) -> Self {
        Self { pid, start: proc::stat(pid).map_or(0, |stat| stat.start) }
    }

    pub(super) fn own() -> Self {
        Self::of(std::process::id().cast_signed())
    }

    /// As part of a file's name.
    pub(super) fn name(self) -> String {
        format!("{}-{}", self.pid, self.start)
    }

    /// The process of a [`Process::name`].
    pub(super) fn named(name: &str) -> Option<Self> {
        let (pid, start) = name.split_once('-')?;
        Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }

    pub(super) fn lives(self) -> bool {
        proc::stat(self.pid).is_some_and(|stat| stat.start == self.start && stat.alive())
    }
}

/// A program, as its keeper tells of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) argv: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) terminal: bool,
    pub(super) stdin: bool,
    pub(super) program: Process,
    pub(super) keeper: Process,
    /// The boot that both are of.
    pub(super) boot: String,
    pub(super) started: Timestamp,
    pub(super) ended: Option<Over>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Over {
    pub(super) at: Timestamp,
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// Its time limit was over.
    pub(super) timed_out: bool,
    /// Bytes that it printed, and how many of the first are lost.
    pub(super) bytes: u64,
    pub(super) lost: u64,
}

/// What has become of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    Running,
    /// A signal stopped it.
    Stopped,
    Ended,
    /// Its keeper was killed: how it ended nobody knows, or it runs still and its output is lost.
    Lost,
}

impl Record {
    pub(super) fn state(&self) -> State {
        match self.ended {
            Some(_) => State::Ended,
            None if !(self.boot == proc::boot_id() && self.keeper.lives()) => State::Lost,
            None if tree::stands_still(self.program.pid) => State::Stopped,
            None => State::Running,
        }
    }

    /// Whether the program's own process lives; of a lost one only this tells.
    pub(super) fn lives(&self) -> bool {
        self.ended.is_none() && self.boot == proc::boot_id() && self.program.lives()
    }

    /// As clients are told; `short`: as one of a list.
    pub(super) fn view(&self, short: bool) -> Value {
        let mut argv = &self.argv[..];
        if short {
            let mut length = 0;
            let fits = argv.iter().take_while(|word| {
                length += word.len();
                length <= SHOWN
            });
            argv = &argv[..fits.count()];
        }
        let mut view = json!({
            "id": self.id, "argv": argv, "user": self.user, "terminal": self.terminal,
            "stdin": self.stdin, "pid": self.program.pid, "started": self.started,
            "state": self.state(), "alive": self.lives(),
        });
        if argv.len() < self.argv.len() {
            view["more_arguments"] = (self.argv.len() - argv.len()).into();
        }
        if let Some(over) = &self.ended {
            view["ended"] = json!(over.at);
            view["code"] = json!(over.code);
            view["signal"] = json!(over.signal);
            view["timed_out"] = over.timed_out.into();
            view["bytes"] = over.bytes.into();
            view["lost"] = over.lost.into();
        }
        view
    }
}

/// A name that nobody can guess and nobody else has.
pub(super) fn new_id() -> Result<String, CommandError> {
    let mut bytes = [0; 8];
    let flags = rustix::rand::GetRandomFlags::empty();
    // So few come whole.
    rustix::rand::getrandom(&mut bytes, flags).map_err(|error| failed("get a number", error))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

pub(super) fn is_id(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The folder of one program, by its path.
#[derive(Debug)]
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    pub(super) fn output(&self) -> PathBuf {
        self.0.join(OUTPUT)
    }

    fn dir(&self) -> Result<Dir, vnode_beneath::DirError> {
        Dir::open_ambient(&self.0, Scope::Beneath)
    }

    /// The record; `None`: there is none (yet, or any more).
    fn read(&self) -> Option<Record> {
        let bytes = self.dir().ok()?.read_to_limit(RECORD, RECORD_BYTES).ok()?;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| {
                tracing::warn!(place = %self.0.display(), %error, "a record cannot be read");
            })
            .ok()
    }

    pub(super) fn write(&self, record: &Record) -> Result<(), CommandError> {
        let bytes = serde_json::to_vec(record).map_err(|error| failed("make a record", error))?;
        self.put(RECORD, &bytes)
    }

    pub(super) fn write_output(&self, frames: &[u8]) -> Result<(), CommandError> {
        self.put(OUTPUT, frames)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), CommandError> {
        let written = self.dir().and_then(|dir| dir.write_atomic(name, bytes, 0o600));
        written.map_err(|error| failed("keep a program on record", error))
    }

    pub(super) fn remove(&self) -> Result<(), CommandError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("remove a program's record", error))
            }
            _ => Ok(()),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Store(PathBuf);

impl Store {
    pub(super) fn of(context: &Context) -> Result<Self, CommandError> {
        let options: Options = context.options("exec")?;
        Ok(Self(options.state_dir.unwrap_or_else(|| PathBuf::from(FOLDER))))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder, which must be ours alone.
    pub(super) fn prepare(&self) -> Result<(), CommandError> {
        let shown = self.0.display();
        let cannot = |error| failed(&format!("make the folder `{shown}`"), error);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(cannot)?;
        let found = fs::symlink_metadata(&self.0).map_err(cannot)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            let text = format!(
                "`{shown}` is not the agent's own folder; `[command.exec] state-dir` names another"
            );
            return Err(CommandError::failed(text));
        }
        fs::set_permissions(&self.0, Permissions::from_mode(0o700)).map_err(cannot)
    }

    /// Makes a folder for a new program, if there are fewer than `most`.
    pub(super) fn create(&self, most: usize) -> Result<Option<(String, Place)>, CommandError> {
        self.prepare()?;
        self.forget();
        let taken = self.places().filter(|(_, place)| {
            place
                .read()
                .is_none_or(|record| record.ended.is_none() && record.state() != State::Lost)
        });
        if taken.count() >= most {
            return Ok(None);
        }
        let id = new_id()?;
        let place = Place(self.0.join(&id));
        let made = DirBuilder::new().mode(0o700).create(&place.0);
        made.map_err(|error| failed("make a folder for the program", error))?;
        Ok(Some((id, place)))
    }

    fn places(&self) -> impl Iterator<Item = (String, Place)> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| is_id(name))?;
            Some((name, Place(entry.path())))
        })
    }

    /// All programs on record in short, the oldest first.
    pub(super) fn all(&self) -> Vec<Value> {
        self.forget();
        let short = |record: Record| (record.started, record.view(true));
        let mut all: Vec<_> =
            self.places().filter_map(|(_, place)| place.read()).map(short).collect();
        all.sort_by_key(|(started, _)| *started);
        all.into_iter().map(|(_, view)| view).collect()
    }

    /// The program of that name.
    pub(super) fn find(&self, id: &str) -> Result<(Record, Place), CommandError> {
        let place = Place(self.0.join(if is_id(id) { id } else { "-" }));
        let found = place.read().ok_or_else(|| {
            let id = id.escape_debug();
            CommandError::not_found(format!("no detached program is `{id}`; `exec-list` names all"))
        })?;
        // It may have ended, and its keeper with it, between the one look and the other.
        let again = if found.state() == State::Lost { place.read() } else { None };
        Ok((again.unwrap_or(found), place))
    }

    /// Takes those away that ended too long ago, or too many ago, and what never began.
    fn forget(&self) {
        let mut over = Vec::new();
        for (_, place) in self.places() {
            match place.read() {
                Some(record) => match record.ended {
                    Some(ended) => over.push((ended.at, place)),
                    None if record.state() == State::Lost && !record.lives() => {
                        over.push((record.started, place));
                    }
                    None => {}
                },
                None if is_older(&place.0, STARTING) => over.push((Timestamp::MIN, place)),
                None => {}
            }
        }
        over.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let before = Timestamp::now() - KEPT_FOR;
        for (number, (at, place)) in over.iter().enumerate() {
            if (number >= KEPT || *at < before)
                && let Err(error) = place.remove()
            {
                tracing::warn!(place = %place.0.display(), %error, "a record stays");
            }
        }
    }
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since > age))
}
