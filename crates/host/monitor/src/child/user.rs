//! Users and groups by the node's own account files.

use super::beneath::Root;
use crate::fail::{Doing, Fail, Result};

/// Account files longer than this are not read.
const MOST: u64 = 4 * 1024 * 1024;

/// Who a program runs as.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Finds `user[:group]`, names or numbers; empty is root.
pub(super) fn find(root: &Root, text: &str) -> Result<User> {
    let read = |path: &str| -> Result<String> {
        let bytes = root.read(path, MOST).doing(|| format!("read the node's {path}"))?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let passwd = read("/etc/passwd")?;
    // Plain root without groups is by far the commonest; only groups that list the user need the other file.
    let group = read("/etc/group")?;
    resolve(text, &passwd, &group)
}

fn resolve(text: &str, passwd: &str, group: &str) -> Result<User> {
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let entry = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| {
        f.len() >= 6 && (f[0] == user || (number.is_some() && f[2].parse().ok() == number))
    });
    let bad = |what: &str| Fail(format!("user `{text}`: {what}"));
    let (uid, mut gid, home, name) = match &entry {
        Some(fields) => (
            fields[2].parse().map_err(|_| bad("its line in the node's /etc/passwd is damaged"))?,
            fields[3].parse().map_err(|_| bad("its line in the node's /etc/passwd is damaged"))?,
            fields[5],
            Some(fields[0]),
        ),
        None => (
            number.ok_or_else(|| bad("not in the node's /etc/passwd, and not a number"))?,
            0,
            "/",
            None,
        ),
    };
    let lines = || group.lines().map(|l| l.split(':').collect::<Vec<_>>()).filter(|f| f.len() >= 4);
    let mut groups = Vec::new();
    match wanted_group {
        Some(wanted) => {
            gid = match lines().find(|f| f[0] == wanted).and_then(|f| f[2].parse().ok()) {
                Some(gid) => gid,
                None => wanted.parse().map_err(|_| {
                    bad("its group is not in the node's /etc/group, and not a number")
                })?,
            };
        }
        None => {
            if let Some(name) = name {
                groups = lines()
                    .filter(|f| f[3].split(',').any(|member| member == name))
                    .filter_map(|f| f[2].parse().ok())
                    .take(1024)
                    .collect();
            }
        }
    }
    // -1 means "leave as it is" to the kernel.
    if uid == u32::MAX || gid == u32::MAX {
        return Err(bad("the number is too large"));
    }
    let home = if home.is_empty() { "/" } else { home }.to_owned();
    Ok(User { uid, gid, groups, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nfrr:x:100:101:frr:/home/frr:/bin/sh\n";
    const GROUP: &str = "root:x:0:root\nfrr:x:101:\nvty:x:102:frr,other\n";

    fn ids(text: &str) -> (u32, u32, Vec<u32>, String) {
        let user = resolve(text, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups, user.home)
    }

    #[test]
    fn names_and_numbers_are_found_with_their_groups() {
        assert_eq!(ids(""), (0, 0, vec![0], "/root".into()));
        assert_eq!(ids("frr"), (100, 101, vec![102], "/home/frr".into()));
        assert_eq!(ids("100"), (100, 101, vec![102], "/home/frr".into()));
        assert_eq!(ids("frr:vty"), (100, 102, vec![], "/home/frr".into()));
        assert_eq!(ids("7:8"), (7, 8, vec![], "/".into()));
        assert_eq!(ids("7"), (7, 0, vec![], "/".into()));
    }

    #[test]
    fn unknown_names_are_refused_by_name() {
        let Fail(text) = resolve("nobody-here", PASSWD, GROUP).unwrap_err();
        assert!(text.contains("`nobody-here`"), "{text}");
        resolve("frr:nogroup", PASSWD, GROUP).unwrap_err();
        resolve("4294967295", PASSWD, GROUP).unwrap_err();
        resolve("-1", PASSWD, GROUP).unwrap_err();
    }
}
