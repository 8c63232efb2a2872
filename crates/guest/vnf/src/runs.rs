//! What is known of a script while it runs: a file beside the store, a line for each thing that is learnt.
//!
//! The store writes for good, which takes milliseconds, and loses with this process what it was given to write later.
//! These files are for the death of this process alone: the kernel keeps what was written to them, and the machine does
//! not die without the script. So they are never synced, and count for nothing in another boot.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use vnode_vnfpkg::Event;

use crate::{core::Paths, environment, model::Occurrence, script::Outcome, watch::Identity};

/// Bytes of such a file that are read.
const MOST: u64 = 1 << 20;

/// One run of one script, as it was when it was about to begin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) boot: String,
    pub(crate) op: String,
    /// The engine's name of the operation; hooks are not its.
    pub(crate) run: Option<String>,
    /// Which of the operation's steps it is.
    pub(crate) step: usize,
    pub(crate) event: Event,
    /// Which of the event's scripts it is.
    pub(crate) index: usize,
    pub(crate) revision: u32,
    pub(crate) attempt: u32,
    /// Of them, those that nobody asked for.
    pub(crate) tries: u32,
    /// The script's file.
    pub(crate) script: PathBuf,
    pub(crate) hook: Option<Hook>,
}

/// What else must be known of a hook: the store learns of it only while it runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) op: Occurrence,
    /// What it is run for.
    pub(crate) processes: Vec<Identity>,
}

impl Begun {
    /// The variables that only this run has.
    pub(crate) fn marks(&self) -> Vec<String> {
        environment::marks(&self.op, self.event, self.index, self.attempt)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Begun(Box<Begun>),
    Runs(Identity),
    Ended(Outcome),
}

/// How far a run is known to have come.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// It may have been started or not.
    Begun,
    Runs(Identity),
    Ended(Outcome),
}

/// The file of a run that goes on.
#[derive(Debug)]
pub(crate) struct RunFile {
    file: File,
}

impl Paths {
    fn runs(&self, instance: &str) -> PathBuf {
        self.instance(instance).join("runs")
    }

    fn run(&self, instance: &str, op: &str) -> PathBuf {
        self.runs(instance).join(format!("{op}.run"))
    }

    /// The file of a run that is over, until the next takes it: a file system that looks at what was removed of late before
    /// it makes a new one takes longer with each that is removed (ext4 without a journal).
    fn spare(&self, instance: &str) -> PathBuf {
        self.runs(instance).join("spare")
    }

    /// Where a script leaves its values.
    pub(crate) fn values(&self, instance: &str, op: &str) -> PathBuf {
        self.runs(instance).join(format!("{op}.values"))
    }

    /// There, with the boot's name, while our own `start_command` is started and not on record.
    pub(crate) fn starting(&self, instance: &str) -> PathBuf {
        self.runs(instance).join("starting")
    }

    /// Makes the folder of them.
    pub(crate) fn prepare_runs(&self, instance: &str) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        // A script's user must come through to its values.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(self.runs(instance))
    }

    /// Forgets the runs of an operation: what became of them is in the store.
    pub(crate) fn forget_runs(&self, instance: &str, op: &str) {
        let run = self.run(instance, op);
        let over = fs::rename(&run, self.spare(instance)).map_err(|error| (run, error));
        let values = self.values(instance, op);
        let removed = fs::remove_file(&values).map_err(|error| (values, error));
        for (path, error) in [over, removed].into_iter().filter_map(Result::err) {
            if error.kind() != io::ErrorKind::NotFound {
                // The next life sees by the store that it is over.
                tracing::warn!(path = %path.display(), %error, "cannot be removed");
            }
        }
    }

    /// What is known of an instance's runs. One that cannot be read never came to run.
    pub(crate) fn known_runs(&self, instance: &str) -> io::Result<Vec<(Begun, Known)>> {
        let entries = match fs::read_dir(self.runs(instance)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "run") {
                all.extend(read(&path)?);
            }
        }
        Ok(all)
    }
}

impl RunFile {
    /// Puts a run on record that is about to begin, in place of the operation's last one.
    pub(crate) fn begin(paths: &Paths, instance: &str, begun: &Begun) -> io::Result<Self> {
        let (path, spare) = (paths.run(instance, &begun.op), paths.spare(instance));
        let mut options = File::options();
        options.write(true).truncate(true).mode(0o600);
        let file = match options.open(&path) {
            Ok(file) => file,
            // Empty before it has the name: what it said of another run is gone.
            Err(_) => match options.open(&spare) {
                Ok(file) if fs::rename(&spare, &path).is_ok() => file,
                _ => options.create(true).open(&path)?,
            },
        };
        let mut run = Self { file };
        run.line(&Line::Begun(Box::new(begun.clone())))?;
        Ok(run)
    }

    pub(crate) fn runs(&mut self, process: Identity) -> io::Result<()> {
        self.line(&Line::Runs(process))
    }

    pub(crate) fn ended(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.line(&Line::Ended(outcome.clone()))
    }

    /// One write: it is there whole, or cut at its end.
    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

fn read(path: &Path) -> io::Result<Option<(Begun, Known)>> {
    let mut found = None;
    for line in BufReader::new(File::open(path)?.take(MOST)).split(b'\n') {
        // A line that was cut is one that was not written.
        let Ok(line) = serde_json::from_slice::<Line>(&line?) else { break };
        match (line, &mut found) {
            (Line::Begun(begun), None) => found = Some((*begun, Known::Begun)),
            (Line::Runs(process), Some((_, known))) => *known = Known::Runs(process),
            (Line::Ended(outcome), Some((_, known))) => *known = Known::Ended(outcome),
            _ => break,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn op_10_a_line_that_was_cut_is_one_that_was_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = Paths { state: folder.path().to_owned() };
        paths.prepare_runs("i").expect("it can be made");
        let begun = Begun {
            boot: "b".to_owned(),
            op: "o".to_owned(),
            run: None,
            step: 2,
            event: Event::Instantiate,
            index: 1,
            revision: 1,
            attempt: 3,
            tries: 1,
            script: "/x".into(),
            hook: None,
        };
        let mut file = RunFile::begin(&paths, "i", &begun).expect("written");
        file.runs(Identity { pid: 7, start: 9 }).expect("written");
        file.ended(&Outcome { code: Some(0), ..Outcome::default() }).expect("written");
        let whole = fs::read(paths.run("i", "o")).expect("it is there");
        let mut stages = Vec::new();
        for length in 0..=whole.len() {
            fs::write(paths.run("i", "o"), &whole[..length]).expect("written");
            let known = paths.known_runs("i").expect("it can be read");
            stages.push(match known.first() {
                None => 0,
                Some((_, Known::Begun)) => 1,
                Some((_, Known::Runs(_))) => 2,
                Some((read, Known::Ended(outcome))) => {
                    assert!(outcome.ok() && read.marks() == begun.marks());
                    3
                }
            });
        }
        assert!(stages.is_sorted());
        stages.dedup();
        assert_eq!(stages, [0, 1, 2, 3]);
        paths.forget_runs("i", "o");
        assert!(paths.known_runs("i").expect("it can be read").is_empty());

        // The next takes its file over, with nothing of it.
        let next = Begun { op: "p".to_owned(), ..begun };
        let file = RunFile::begin(&paths, "i", &next).expect("written");
        assert!(!paths.spare("i").exists());
        drop(file);
        let known = paths.known_runs("i").expect("it can be read");
        assert!(matches!(&known[..], [(Begun { op, .. }, Known::Begun)] if op == "p"));
        paths.forget_runs("i", "p");
        paths.forget_runs("i", "p");
        assert!(paths.known_runs("i").expect("it can be read").is_empty());
    }
}
