//! Users and groups of this machine, from its own files: a static program has no name service switch.

use std::{fs, path::Path};

use thiserror::Error;
use vnode_action::User;

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
    let account = match user {
        // Only the group is changed: the user stays ours.
        None => (rustix::process::geteuid().as_raw(), 0, None),
        Some(name) => account(etc, name)?,
    };
    let (uid, own_group, login) = account;
    let groups_file = etc.join("group");
    if let Some(name) = group {
        let gid = match name.parse() {
            Ok(gid) => gid,
            Err(_) => lines(&groups_file)?
                .lines()
                .find_map(|line| {
                    let mut fields = line.split(':');
                    (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
                })
                .ok_or_else(|| unknown("group", name, &groups_file))?,
        };
        return Ok(Some(User { uid, gid, groups: vec![gid] }));
    }
    let mut groups = vec![own_group];
    if let Some(login) = login {
        for line in lines(&groups_file)?.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [_, _, gid, members] = fields[..]
                && members.split(',').any(|member| member == login)
                && let Ok(gid) = gid.parse()
                && gid != own_group
            {
                groups.push(gid);
            }
        }
    }
    Ok(Some(User { uid, gid: own_group, groups }))
}

/// User id, group id, login name.
fn account(etc: &Path, name: &str) -> Result<(u32, u32, Option<String>), Error> {
    let file = etc.join("passwd");
    let number: Option<u32> = name.parse().ok();
    for line in lines(&file)?.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [login, _, uid, gid, ..] = fields[..]
            && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
            && (login == name || number == Some(uid))
        {
            return Ok((uid, gid, Some(login.to_owned())));
        }
    }
    // A number needs no account; its group is then the same number.
    number.map(|uid| (uid, uid, None)).ok_or_else(|| unknown("user", name, &file))
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
