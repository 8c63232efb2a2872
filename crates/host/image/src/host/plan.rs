//! The plan of a mask: what is at each path that is not as it is on the host.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use vnode_beneath::{Dir, DirError, Scope};

use super::listing::Listing;
use super::rules::{
    Action, NEVER_HIDDEN, NOT_SECRET, OPEN, RULES, Rule, SHOWN, Sanitiser, TOO_LARGE,
};
use super::{MaskAction, MaskEntry, accounts, failed, real};
use crate::digest::Digest;
use crate::{Error, HostOptions};

/// Entries of one folder, and of all folders walked.
pub(super) const ENTRIES: usize = 200_000;
/// Entries looked at below one folder of those that may hold anything; twice that below all. Some 100 ms of work.
const LOOKED_OVER: usize = 50_000;
/// Folders below each other that are walked; what is deeper is emptied as a whole.
const DEPTH: usize = 24;
/// Folders kept below `/var/log`.
const KEPT: usize = 2000;
/// Account files, bytes.
const ACCOUNTS: u64 = 16 << 20;

/// Owner and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A folder on the way to something; what is in it on the host shows through.
    Folder(Meta),
    /// A folder that hides what is in it on the host.
    Empty(Meta),
    /// Nothing.
    Whiteout,
    File(Meta, Vec<u8>),
}

/// What a mask consists of, by real path without the leading slash.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) top: Meta,
    pub(super) items: BTreeMap<PathBuf, Item>,
    why: BTreeMap<PathBuf, String>,
}

struct Maker<'a> {
    root: Dir,
    root_path: PathBuf,
    options: &'a HostOptions,
    plan: Plan,
    walked: usize,
    /// How much may still be looked over for what is closed.
    looked_over: usize,
}

impl Plan {
    /// Looks over the host's root. `ours` are folders of the catalogue's own.
    pub(super) fn make(options: &HostOptions, ours: &[PathBuf]) -> Result<Self, Error> {
        let root = Dir::open_ambient(&options.root, Scope::InRoot)
            .map_err(|e| failed(&options.root, "opening it")(std::io::Error::other(e)))?;
        let root_path = real(&options.root)?;
        let top = root.stat(".").map_err(|e| masked(Path::new("/"), e))?;
        let plan = Plan { top: meta(&top), items: BTreeMap::new(), why: BTreeMap::new() };
        let mut maker =
            Maker { root, root_path, options, plan, walked: 0, looked_over: 2 * LOOKED_OVER };
        maker.top_folders()?;
        maker.homes()?;
        for rule in RULES {
            maker.rule(rule)?;
        }
        maker.chosen(ours)?;
        maker.folders_on_the_way()?;
        Ok(maker.plan)
    }

    /// Stands for all the plan says.
    pub(super) fn digest(&self) -> Digest {
        let mut text = format!("mask 1\n{:?}\n", self.top).into_bytes();
        for (path, item) in &self.items {
            text.extend_from_slice(format!("{path:?} {item:?}\n").as_bytes());
        }
        Digest::of(&text)
    }

    pub(super) fn entries(&self) -> Vec<MaskEntry> {
        let action = |item: &Item| match item {
            Item::Folder(_) => None,
            Item::Empty(_) => Some(MaskAction::Emptied),
            Item::Whiteout => Some(MaskAction::Removed),
            Item::File(..) => Some(MaskAction::Sanitised),
        };
        self.items
            .iter()
            .filter_map(|(path, item)| {
                Some(MaskEntry {
                    path: Path::new("/").join(path),
                    action: action(item)?,
                    why: self.why.get(path).cloned().unwrap_or_default(),
                })
            })
            .collect()
    }

    /// True when what is at `path` on the host does not show.
    pub(super) fn hides(&self, path: &Path) -> bool {
        path.ancestors().any(|p| matches!(self.items.get(p), Some(Item::Empty(_) | Item::Whiteout)))
    }
}

impl Maker<'_> {
    /// All at the top but what is shown.
    fn top_folders(&mut self) -> Result<(), Error> {
        let shown = |name: &OsStr| {
            SHOWN.iter().any(|s| name == *s) || self.options.show.iter().any(|s| name == s.as_str())
        };
        let top = self.list(Path::new("."))?;
        // A link is only a name; what it leads to is dealt with where it is.
        for name in top.all_but_links().filter(|name| !shown(name)) {
            if let Some(stat) = top.stat(name)? {
                self.hide(PathBuf::from(name), &stat, "not part of the installed system");
            }
        }
        Ok(())
    }

    fn homes(&mut self) -> Result<(), Error> {
        let passwd = match self.root.read_to_limit("etc/passwd", ACCOUNTS) {
            Err(e) if e.is_not_found() => return Ok(()),
            other => other.map_err(|e| masked(Path::new("etc/passwd"), e))?,
        };
        for home in accounts::homes(&passwd) {
            let Some((path, stat)) = self.resolve(&home)? else { continue };
            let system =
                path.starts_with("usr") || NEVER_HIDDEN.iter().any(|n| path == Path::new(n));
            if system || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                continue;
            }
            // Its owner finds it, empty.
            self.plan.items.insert(path.clone(), Item::Empty(meta(&stat)));
            self.plan.why.insert(path, "home of a person".into());
        }
        Ok(())
    }

    fn rule(&mut self, rule: &Rule) -> Result<(), Error> {
        for pattern in rule.paths {
            for path in self.expand(Path::new(pattern))? {
                let Some((path, stat)) = self.resolve(&path)? else { continue };
                self.apply(rule, path, &stat)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, rule: &Rule, path: PathBuf, stat: &Stat) -> Result<(), Error> {
        let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match rule.action {
            Action::Hide => self.hide(path, stat, rule.why),
            Action::Sanitise(sanitiser) if !folder => {
                let old = self.root.read_to_limit(&path, ACCOUNTS).map_err(|e| masked(&path, e))?;
                let new = match sanitiser {
                    Sanitiser::Passwords => accounts::without_passwords(&old),
                    Sanitiser::Nothing => Vec::new(),
                };
                // Also when nothing was found in it: a closed file that stands in the plan is not removed later on.
                let closed = stat.st_mode & 0o004 == 0;
                if (new != old || closed) && !self.plan.hides(&path) {
                    self.plan.why.insert(path.clone(), rule.why.into());
                    self.plan.items.insert(path, Item::File(meta(stat), new));
                }
            }
            Action::Sanitise(_) => self.hide(path, stat, rule.why),
            Action::KeepFolders if folder => {
                self.hide(path.clone(), stat, rule.why);
                let mut left = KEPT;
                self.keep_folders(&path, DEPTH, &mut left)?;
            }
            Action::HideClosed if folder => self.hide_closed(&path, rule.why)?,
            Action::HideClosedFiles if folder => self.walk(&path, DEPTH, false, rule.why)?,
            Action::KeepFolders | Action::HideClosed | Action::HideClosedFiles => {}
        }
        Ok(())
    }

    fn keep_folders(&mut self, at: &Path, depth: usize, left: &mut usize) -> Result<(), Error> {
        let listing = self.list(at)?;
        for (name, stat) in listing.folders() {
            let (path, stat) = (at.join(name), stat?);
            if *left == 0 {
                break;
            }
            *left -= 1;
            self.plan.items.insert(path.clone(), Item::Folder(meta(&stat)));
            if depth > 0 {
                self.keep_folders(&path, depth - 1, left)?;
            }
        }
        Ok(())
    }

    /// What is closed below a folder. What of it is too large to be looked over is emptied: rather too little shows.
    fn hide_closed(&mut self, at: &Path, why: &str) -> Result<(), Error> {
        let listing = self.list(at)?;
        for name in listing.all_but_links() {
            let path = at.join(name);
            let Some(stat) = listing.stat(name)? else { continue };
            let mut found = Vec::new();
            let before = LOOKED_OVER.min(self.looked_over);
            let mut left = before;
            let whole = self.closed(path.clone(), &stat, DEPTH, &mut left, &mut found)?;
            self.looked_over -= before - left;
            if whole {
                for (path, stat) in found {
                    self.hide(path, &stat, why);
                }
            } else {
                self.hide(path, &stat, TOO_LARGE);
            }
        }
        Ok(())
    }

    /// Puts into `found` what is closed at a path and below. False when there is more than may be looked at.
    fn closed(
        &self,
        path: PathBuf,
        stat: &Stat,
        depth: usize,
        left: &mut usize,
        found: &mut Vec<(PathBuf, Stat)>,
    ) -> Result<bool, Error> {
        let is_one = |paths: &[&str]| paths.iter().any(|p| path == Path::new(p));
        if self.plan.hides(&path) || self.plan.items.contains_key(&path) {
            return Ok(true);
        }
        let open = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => 0,
            FileType::Directory => 0o001,
            _ => 0o004,
        };
        if stat.st_mode & open != open {
            if !is_one(NOT_SECRET) {
                found.push((path, *stat));
            }
            return Ok(true);
        }
        if open != 0o001 || is_one(OPEN) {
            return Ok(true);
        }
        let Some(listing) = Listing::at_most(&self.root, &path, *left)? else { return Ok(false) };
        *left -= listing.entries.len();
        for name in listing.all_but_links() {
            let Some(stat) = listing.stat(name)? else { continue };
            if depth == 0 || !self.closed(path.join(name), &stat, depth - 1, left, found)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `closed`: a folder above may not be entered by every user.
    fn walk(&mut self, at: &Path, depth: usize, closed: bool, why: &str) -> Result<(), Error> {
        let listing = self.list(at)?;
        for name in listing.all_but_links() {
            let path = at.join(name);
            if self.plan.items.contains_key(&path) {
                continue;
            }
            let Some(stat) = listing.stat(name)? else { continue };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {}
                FileType::Directory => {
                    if depth == 0 || (stat.st_uid == 0 && stat.st_mode & 0o077 == 0) {
                        self.hide(path, &stat, why);
                    } else {
                        self.walk(&path, depth - 1, closed || stat.st_mode & 0o001 == 0, why)?;
                    }
                }
                _ => {
                    let secret = !NOT_SECRET.iter().any(|n| path == Path::new(n));
                    if secret && (closed || stat.st_mode & 0o004 == 0) {
                        self.hide(path, &stat, why);
                    }
                }
            }
        }
        Ok(())
    }

    /// What the settings name, and our own folders.
    fn chosen(&mut self, ours: &[PathBuf]) -> Result<(), Error> {
        let options = self.options;
        let state = options.state_dirs.iter().chain(ours).map(|p| (p, "state of vnode"));
        let asked = options.hide.iter().map(|p| (p, "asked for in the settings"));
        for (path, why) in state.chain(asked) {
            // Paths of this machine, which the root may be a part of.
            let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            let Ok(inside) = path.strip_prefix(&self.root_path) else { continue };
            if inside.as_os_str().is_empty() {
                continue;
            }
            let inside = inside.to_owned();
            if let Some((path, stat)) = self.resolve(&inside)? {
                self.hide(path, &stat, why);
            }
        }
        Ok(())
    }

    fn hide(&mut self, path: PathBuf, stat: &Stat, why: &str) {
        let above = path.parent().is_some_and(|above| self.plan.hides(above));
        let known = matches!(
            self.plan.items.get(&path),
            Some(Item::Empty(_) | Item::Whiteout | Item::File(..))
        );
        if above || known || path.as_os_str().is_empty() {
            return;
        }
        let item = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Item::Empty(meta(stat)),
            _ => Item::Whiteout,
        };
        self.plan.why.insert(path.clone(), why.to_owned());
        self.plan.items.insert(path, item);
    }

    /// Folders above the items get the owner and mode they have on the host, for the mask's show.
    fn folders_on_the_way(&mut self) -> Result<(), Error> {
        let paths: Vec<PathBuf> = self.plan.items.keys().cloned().collect();
        for path in paths {
            for above in path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
                if self.plan.items.contains_key(above) {
                    continue;
                }
                if let Some(stat) = self.stat(above)? {
                    self.plan.items.insert(above.to_owned(), Item::Folder(meta(&stat)));
                }
            }
        }
        Ok(())
    }

    /// Paths that a pattern means, links in them not yet followed.
    fn expand(&mut self, pattern: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut found = vec![PathBuf::new()];
        for part in pattern.components() {
            let Component::Normal(part) = part else { continue };
            let mut next = Vec::new();
            for path in found {
                if !part.as_bytes().contains(&b'*') {
                    next.push(path.join(part));
                    continue;
                }
                let fit = |name: &OsStr| matches(part.as_bytes(), name.as_bytes());
                let listing = self.list(&path)?;
                let names = listing.entries.iter().map(|(name, _)| name);
                next.extend(names.filter(|name| fit(name)).map(|name| path.join(name)));
            }
            found = next;
        }
        Ok(found)
    }

    /// Follows all links in `path`, inside the root, and says what is there.
    fn resolve(&self, path: &Path) -> Result<Option<(PathBuf, Stat)>, Error> {
        let file = match self.root.open_with(path, OFlags::PATH, 0) {
            Err(e) if gone(&e) => return Ok(None),
            other => other.map_err(|e| masked(path, e))?,
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| failed(path, "looking at it")(e.into()))?;
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let real = std::fs::read_link(link).map_err(failed(path, "finding its real path"))?;
        // Not below the root: removed this moment, or in a mount that is not reachable by name.
        Ok(real.strip_prefix(&self.root_path).ok().map(|inside| (inside.to_owned(), stat)))
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, Error> {
        match self.root.stat(path) {
            Ok(stat) => Ok(Some(stat)),
            Err(e) if gone(&e) => Ok(None),
            Err(e) => Err(masked(path, e)),
        }
    }

    /// What is in a folder; nothing when it is not there.
    fn list(&mut self, path: &Path) -> Result<Listing, Error> {
        let listing = Listing::of(&self.root, path)?;
        self.walked += listing.entries.len();
        if self.walked > ENTRIES {
            let why = std::io::Error::other(format!("more than {ENTRIES} files to look at"));
            return Err(failed(path, "looking over it")(why));
        }
        Ok(listing)
    }
}

/// Files come and go while they are looked at.
pub(super) fn gone(error: &DirError) -> bool {
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NXIO]
        .iter()
        .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

pub(super) fn masked(path: &Path, error: DirError) -> Error {
    failed(path, "looking at it")(std::io::Error::other(error))
}

fn meta(stat: &Stat) -> Meta {
    Meta { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }
}

/// `*` stands for any bytes.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.iter().position(|b| *b == b'*') {
        None => pattern == name,
        Some(star) => {
            let (start, rest) = (&pattern[..star], &pattern[star + 1..]);
            name.strip_prefix(start)
                .is_some_and(|name| (0..=name.len()).any(|skip| matches(rest, &name[skip..])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_part_of_a_name() {
        for (pattern, name, fits) in [
            ("shadow*", "shadow", true),
            ("shadow*", "shadow-", true),
            ("*secrets", "chap-secrets", true),
            ("*auth*", "my-auth.json", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("x", "xy", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }
}
