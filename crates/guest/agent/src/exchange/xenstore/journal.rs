//! What was begun and not yet answered, in a file that outlives the agent but not the boot (XS-12).

use std::{
    collections::HashMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::requests::Content;

/// Largest file that is read: ids have at most 2048 bytes, and few commands run at a time.
const BYTES_MAX: u64 = 256 << 10;

/// One line for each request: the start of its digest, a blank, its id.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Begun in an earlier run.
    earlier: HashMap<String, String>,
    /// Said once.
    complained: bool,
}

impl Journal {
    /// Reads what an earlier run left. A file that cannot be read is as none.
    pub(super) fn open(dir: &Path, channel: &str) -> Self {
        let path = dir.join(format!("{}.begun", channel.replace(['/', '\0'], "_")));
        let mut journal = Self { path, earlier: HashMap::new(), complained: false };
        match read(&journal.path) {
            Ok(text) => {
                let lines = text.lines().filter_map(|line| line.split_once(' '));
                journal.earlier =
                    lines.map(|(content, id)| (id.to_owned(), content.to_owned())).collect();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => journal.complain(&error),
        }
        journal
    }

    /// Whether an earlier run began it and did not get to its answer.
    pub(super) fn was_begun(&self, id: &str, content: Content) -> bool {
        self.earlier.get(id).is_some_and(|begun| *begun == content.hex())
    }

    /// An earlier run's request is answered.
    pub(super) fn settle(&mut self, id: &str) {
        self.earlier.remove(id);
    }

    /// Notes what runs now. The file is replaced at once; that it does not survive the machine is wanted.
    pub(super) fn note<'a>(&mut self, running: impl Iterator<Item = (&'a str, Content)>) {
        let mut text = String::new();
        for (id, content) in running {
            text.push_str(&format!("{} {id}\n", content.hex()));
        }
        for (id, content) in &self.earlier {
            text.push_str(&format!("{content} {id}\n"));
        }
        if let Err(error) = self.replace(text.as_bytes()) {
            self.complain(&error);
        }
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let new = self.path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text)?;
        fs::rename(new, &self.path)
    }

    fn complain(&mut self, error: &io::Error) {
        if !self.complained {
            tracing::warn!(
                path = %self.path.display(), %error,
                "what is begun cannot be noted: after a restart of the agent it may be done twice"
            );
            self.complained = true;
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, BYTES_MAX), &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_is_known_to_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("below");
        let body = Content::of(b"body");
        let mut first = Journal::open(&state, "a/b");
        assert!(!first.was_begun("x", body));
        first.note([("x", body), ("y", body)].into_iter());
        first.note([("x", body)].into_iter());
        let mut second = Journal::open(&state, "a/b");
        assert!(second.was_begun("x", body) && !second.was_begun("y", body));
        assert!(!second.was_begun("x", Content::of(b"other")));
        second.note(std::iter::empty());
        assert!(Journal::open(&state, "a/b").was_begun("x", body), "not yet answered");
        second.settle("x");
        second.note(std::iter::empty());
        assert!(!Journal::open(&state, "a/b").was_begun("x", body));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let mut journal = Journal::open(&file, "x");
        journal.note([("x", Content::of(b""))].into_iter());
        assert!(journal.complained);
    }
}
