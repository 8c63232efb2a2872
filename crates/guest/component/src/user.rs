//! Users and groups of this machine, from its own files: a static program has no name service switch.

use std::{fs, path::Path};

use thiserror::Error;
use vnode_action::{User, account};

/// Why a user cannot be run as.
#[derive(Debug, Error)]
pub enum Error {
    #[error("there is no {what} `{name}` in {file}")]
    Unknown { what: &'static str, name: String, file: String },
    #[error("cannot read {file}")]
    Io {
        file: String,
        #[source]
        source: std::io::Error,
    },
}

/// Largest passwd or group file read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Looks up whom to run as: names or numbers, in `passwd` and `group` below `etc`. Without a group it is the
/// user's own, with the groups the user is a member of; with one, that group alone.
///
/// # Errors
/// When there is no such user or group.
pub fn look_up(etc: &Path, user: Option<&str>, group: Option<&str>) -> Result<Option<User>, Error> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let groups_file = etc.join("group");
    let user = match user {
        // Only the group is changed: the user stays ours.
        None => User { uid: rustix::process::geteuid().as_raw(), gid: 0, groups: vec![0] },
        // The one group that is named takes the place of all others.
        Some(name) => user_of(etc, name, || match group {
            Some(_) => Ok(String::new()),
            None => lines(&groups_file),
        })?,
    };
    if let Some(name) = group {
        let gid = match name.parse() {
            Ok(gid) => gid,
            Err(_) => account::group_id(&lines(&groups_file)?, name)
                .ok_or_else(|| unknown("group", name, &groups_file))?,
        };
        return Ok(Some(User { uid: user.uid, gid, groups: vec![gid] }));
    }
    Ok(Some(user))
}

/// The user, with those groups of the text that the user is a member of.
fn user_of(
    etc: &Path,
    name: &str,
    groups: impl FnOnce() -> Result<String, Error>,
) -> Result<User, Error> {
    let file = etc.join("passwd");
    match (account::account(&lines(&file)?, name), name.parse()) {
        (Some(account), _) => Ok(account.user(&groups()?)),
        // A number needs no account; its group is then the same number.
        (None, Ok(uid)) => Ok(User { uid, gid: uid, groups: vec![uid] }),
        (None, Err(_)) => Err(unknown("user", name, &file)),
    }
}

fn unknown(what: &'static str, name: &str, file: &Path) -> Error {
    Error::Unknown { what, name: name.to_owned(), file: file.display().to_string() }
}

fn lines(file: &Path) -> Result<String, Error> {
    use std::io::Read as _;
    let failed = |source| Error::Io { file: file.display().to_string(), source };
    let mut bytes = Vec::new();
    fs::File::open(file).map_err(failed)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_by_name_and_number() {
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("passwd"), "root:x:0:0::/:\nann:x:7:8::/:\nbroken\n").unwrap();
        fs::write(etc.path().join("group"), "g:x:8:\nh:x:9:bob,ann\ni:x:10:annette\n").unwrap();
        let look = |user, group| look_up(etc.path(), user, group);
        let ann = User { uid: 7, gid: 8, groups: vec![8, 9] };
        assert_eq!(look(Some("ann"), None).unwrap(), Some(ann.clone()));
        assert_eq!(look(Some("7"), None).unwrap(), Some(ann));
        let alone = User { uid: 7, gid: 10, groups: vec![10] };
        assert_eq!(look(Some("ann"), Some("i")).unwrap(), Some(alone));
        let number = User { uid: 77, gid: 77, groups: vec![77] };
        assert_eq!(look(Some("77"), None).unwrap(), Some(number));
        assert!(look(None, None).unwrap().is_none());
        assert!(look(Some("no"), None).is_err());
        assert!(look(Some("ann"), Some("no")).is_err());
    }
}
