//! What a topology file may ask of the git checkout around it: branch and commit. Read from its files; no
//! program is started for it.

use std::fs;
use std::path::{Path, PathBuf};

/// Branch and commit checked out around a folder; each `None` where there is none.
pub(crate) fn checkout(folder: &Path) -> (Option<String>, Option<String>) {
    let Some(git) = folder.ancestors().find_map(git_folder) else { return (None, None) };
    let Ok(head) = fs::read_to_string(git.join("HEAD")) else { return (None, None) };
    let head = head.trim();
    match head.strip_prefix("ref: ") {
        Some(reference) => {
            let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
            (Some(branch.to_owned()), commit(&git, reference))
        }
        None => (None, Some(head.to_owned())),
    }
}

/// `.git` is a folder, or in a work tree a file that names one.
fn git_folder(folder: &Path) -> Option<PathBuf> {
    let git = folder.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = fs::read_to_string(&git).ok()?;
    Some(folder.join(text.trim().strip_prefix("gitdir: ")?))
}

fn commit(git: &Path, reference: &str) -> Option<String> {
    // A work tree keeps its branches in the folder that `commondir` names.
    let common = match fs::read_to_string(git.join("commondir")) {
        Ok(text) => git.join(text.trim()),
        Err(_) => git.to_owned(),
    };
    if let Ok(text) = fs::read_to_string(common.join(reference)) {
        return Some(text.trim().to_owned());
    }
    let packed = fs::read_to_string(common.join("packed-refs")).ok()?;
    packed.lines().find_map(|line| {
        let (hash, name) = line.split_once(' ')?;
        (name == reference).then(|| hash.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_and_commit_are_found_from_a_folder_below() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("labs/a");
        fs::create_dir_all(&below).unwrap();
        assert_eq!(checkout(&below), (None, None));
        fs::create_dir_all(dir.path().join(".git/refs/heads")).unwrap();
        fs::write(dir.path().join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(dir.path().join(".git/packed-refs"), "# pack\nabc refs/heads/main\n").unwrap();
        assert_eq!(checkout(&below), (Some("main".into()), Some("abc".into())));
        fs::write(dir.path().join(".git/refs/heads/main"), "def\n").unwrap();
        assert_eq!(checkout(&below), (Some("main".into()), Some("def".into())));
        fs::write(dir.path().join(".git/HEAD"), "0123\n").unwrap();
        assert_eq!(checkout(&below), (None, Some("0123".into())));
    }
}
