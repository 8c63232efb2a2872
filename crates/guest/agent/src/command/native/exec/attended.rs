//! Programs whose clients are there, on record for the sudden death of this process: the next life ends what it finds, as
//! this one would have ended it with its client.
//!
//! A file for each agent, named after its process and that one's namespace, `attended-NAMESPACE-PID-START`, with a line for each program that runs: its mark, or
//! blanks where it has ended. It is written twice a program and never synced, for it counts in this boot alone.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    record::{Process, Store, is_id},
    tree::Kin,
};
use crate::{command::CommandError, context::Context};

/// Bytes of a line: a mark and the line's end.
const LINE: u64 = 17;
const BLANK: &[u8] = b"                \n";

/// Those of this agent.
#[derive(Debug, Default)]
pub(super) struct Attended(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    /// Made with the first program.
    file: Option<(File, PathBuf)>,
    taken: Vec<bool>,
}

/// A program's line, blank again when this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    attended: Arc<Attended>,
    number: usize,
}

impl Attended {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn write(&self, number: usize, text: &[u8]) -> std::io::Result<()> {
        let Some((file, _)) = &self.file else { return Ok(()) };
        file.write_all_at(text, number as u64 * LINE)
    }
}

/// Puts a program on record before it begins. `None`: there is no place for records here, and a program runs without.
pub(super) fn enter(context: &Context, mark: &str) -> Option<Line> {
    let attended: Arc<Attended> = context.state();
    let mut lines = attended.lines();
    if lines.file.is_none() {
        match make(context) {
            Ok(made) => lines.file = Some(made),
            Err(error) => {
                tracing::debug!(%error, "programs are not on record");
                return None;
            }
        }
    }
    let number = lines.taken.iter().position(|taken| !taken).unwrap_or(lines.taken.len());
    if let Err(error) = lines.write(number, format!("{mark}\n").as_bytes()) {
        tracing::debug!(%error, "a program is not on record");
        return None;
    }
    if number == lines.taken.len() {
        lines.taken.push(true);
    } else {
        lines.taken[number] = true;
    }
    drop(lines);
    Some(Line { attended, number })
}

/// What the names of files of agents begin with whose numbers are of our namespace; of others nothing can be said.
fn prefix() -> String {
    let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino());
    format!("attended-{namespace}-")
}

fn make(context: &Context) -> Result<(File, PathBuf), CommandError> {
    let store = Store::of(context)?;
    store.prepare()?;
    let path = store.path().join(format!("{}{}", prefix(), Process::own().name()));
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.map(|file| (file, path)).map_err(|error| super::failed("put programs on record", error))
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = self.attended.lines();
        // A mark that stays names nobody any more.
        let _ = lines.write(self.number, BLANK);
        lines.taken[self.number] = false;
    }
}

/// Ends the programs of agents that were killed.
///
/// # Errors
/// The options of `exec` are wrong.
pub async fn end_those_left(context: &Context) -> Result<(), CommandError> {
    let store = Store::of(context)?;
    let prefix = prefix();
    let entries = fs::read_dir(store.path()).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(&*prefix)) else {
            continue;
        };
        if Process::named(owner).is_some_and(Process::lives) {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        for mark in text.lines().filter(|mark| is_id(mark)) {
            Kin::new(None, mark).kill().await;
        }
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "a record stays");
        }
    }
    Ok(())
}

/// Takes the record away, when no program is left.
pub fn over(context: &Context) {
    let attended: Arc<Attended> = context.state();
    let mut lines = attended.lines();
    if !lines.taken.contains(&true)
        && let Some((_, path)) = lines.file.take()
    {
        // One that stays is empty, and the next agent takes it away.
        let _ = fs::remove_file(path);
    }
}
