//! What an archive holds, as pass 1 lists it, and the rules that need all of it.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
};

use sha2::{Digest, Sha256};

use crate::{
    limits::Limits,
    path::{folded, resolve},
    problem::{Code, Problem},
};

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Symlink(String),
    HardLink(String),
}

/// One entry of the archive, its path already normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
}

/// Takes the entries of an archive, one after the other.
pub(crate) trait Visit {
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Problem>;
}

/// Bytes of a file that are kept to look at it as a script.
const HEAD: usize = 256;
/// Hops from a link to what it means.
const HOPS: usize = 8;
/// Bytes of descriptors, manifests and signatures kept in all.
const KEPT: u64 = 4 << 20;

pub(crate) fn escaped(raw: &[u8]) -> String {
    String::from_utf8_lossy(raw).into_owned()
}

/// A member as it was listed.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) entry: Entry,
    pub(crate) sha256: [u8; 32],
    pub(crate) head: Vec<u8>,
    /// The whole file, of those that say something about the package.
    pub(crate) kept: Option<Vec<u8>>,
}

/// All that an archive holds.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) members: Vec<Member>,
    by_path: HashMap<String, usize>,
    /// Folded path, or folder on the way, to how it was written first, and whether it is a folder.
    seen: HashMap<String, (String, bool)>,
    kept: u64,
    descriptor_bytes: u64,
}

fn speaks_of_the_package(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(
        name,
        "lifecycle.json"
            | "MANIFEST"
            | "MANIFEST.sig"
            | "TOSCA.meta"
            | "vnfd.json"
            | "Metadata.yaml"
    ) || [
        ".mf", ".yaml", ".yml", ".minisig", ".sig", ".p7s", ".cms", ".cert", ".crt", ".pem",
        ".json",
    ]
    .iter()
    .any(|end| name.ends_with(end))
}

impl Listing {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { descriptor_bytes: limits.descriptor_bytes, ..Self::default() }
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Member> {
        self.by_path.get(path).map(|at| &self.members[*at])
    }

    /// Whether there is a folder of that path, named by itself or by what is in it.
    pub(crate) fn is_folder(&self, path: &str) -> bool {
        path.is_empty()
            || self
                .seen
                .get(&folded(path))
                .is_some_and(|(written, folder)| *folder && written == path)
    }

    fn place(&mut self, entry: &Entry) -> Result<(), Problem> {
        let twice = |path: &str, other: &str| {
            let what = if path == other {
                "the path is there twice".to_owned()
            } else {
                format!("some file systems take it for `{other}`")
            };
            Problem::new(Code::Duplicate, what).entry(path)
        };
        for (at, _) in entry.path.match_indices('/') {
            let folder = &entry.path[..at];
            let key = folded(folder);
            match self.seen.get(&key) {
                Some((other, true)) if other == folder => {}
                Some((other, true)) => return Err(twice(folder, other)),
                Some((other, false)) => {
                    let link =
                        self.get(other).is_some_and(|m| matches!(m.entry.kind, Kind::Symlink(_)));
                    let (code, what) = if link {
                        (Code::Link, "it lies below a link")
                    } else {
                        (Code::Duplicate, "it lies below what is a file")
                    };
                    return Err(Problem::new(code, what).entry(&entry.path));
                }
                None => {
                    self.seen.insert(key, (folder.to_owned(), true));
                }
            }
        }
        let key = folded(&entry.path);
        let folder = entry.kind == Kind::Folder;
        match self.seen.get(&key) {
            // A folder known by what is in it may still be named itself.
            Some((other, true)) if folder && *other == entry.path && self.get(other).is_none() => {
                Ok(())
            }
            Some((other, _)) => Err(twice(&entry.path, other)),
            None => {
                self.seen.insert(key, (entry.path.clone(), folder));
                Ok(())
            }
        }
    }

    /// The rules that need all entries: where links end.
    pub(crate) fn finish(&self) -> Result<(), Problem> {
        for member in &self.members {
            let Kind::Symlink(target) = &member.entry.kind else { continue };
            let wrong = |what: &str| Problem::new(Code::Link, what).entry(&member.entry.path);
            let mut from = member.entry.path.clone();
            let mut target = target.clone();
            let mut hops = 0;
            loop {
                let path =
                    resolve(&from, &target).ok_or_else(|| wrong("the link leaves the package"))?;
                hops += 1;
                if hops > HOPS {
                    return Err(wrong("the link turns in a circle, or has more than 8 hops"));
                }
                match self.get(&path).map(|member| &member.entry.kind) {
                    Some(Kind::Symlink(next)) => {
                        target.clone_from(next);
                        from = path;
                    }
                    Some(_) => break,
                    None if self.is_folder(&path) => break,
                    None => return Err(wrong("the link leads to nothing in the package")),
                }
            }
        }
        Ok(())
    }

    /// The file a path means, through links.
    pub(crate) fn file(&self, path: &str) -> Option<&Member> {
        let mut member = self.get(path)?;
        for _ in 0..HOPS {
            match &member.entry.kind {
                Kind::Symlink(target) => {
                    member = self.get(&resolve(&member.entry.path, target)?)?
                }
                Kind::HardLink(target) => member = self.get(target)?,
                Kind::File => return Some(member),
                Kind::Folder => return None,
            }
        }
        None
    }

    /// The one top level folder in which everything lies.
    pub(crate) fn only_folder(&self) -> Option<String> {
        let mut tops = self.members.iter().map(|member| {
            let path = member.entry.path.as_str();
            path.split_once('/')
                .map_or((path, member.entry.kind == Kind::Folder), |(top, _)| (top, true))
        });
        let (first, folder) = tops.next()?;
        (folder && tops.all(|(top, folder)| folder && top == first)).then(|| first.to_owned())
    }

    /// Paths below `root`, as the store will hold them, sorted, with their members.
    pub(crate) fn below<'a>(&'a self, root: &str) -> BTreeMap<&'a str, &'a Member> {
        let mut found = BTreeMap::new();
        for member in &self.members {
            let path = member.entry.path.as_str();
            if let Some(path) = stripped(path, root)
                && !path.is_empty()
            {
                found.insert(path, member);
            }
        }
        found
    }

    /// A digest of names and contents: the same for one tree however it was packed.
    pub(crate) fn tree_digest(&self, root: &str) -> String {
        let mut digest = Sha256::new();
        for (path, member) in self.below(root) {
            let target = match &member.entry.kind {
                Kind::Folder => continue,
                Kind::Symlink(target) => target.as_str(),
                Kind::File | Kind::HardLink(_) => "",
            };
            digest.update((path.len() as u64).to_be_bytes());
            digest.update(path);
            digest.update((target.len() as u64).to_be_bytes());
            digest.update(target);
            digest.update(self.file(&member.entry.path).map_or([0; 32], |file| file.sha256));
        }
        hex(&digest.finalize())
    }
}

/// `path` below `root`.
pub(crate) fn stripped<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    if root.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(root)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

impl Visit for Listing {
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Problem> {
        if entry.path.is_empty() {
            return Ok(());
        }
        let link = |what: &str| Problem::new(Code::Link, what).entry(&entry.path);
        let mut head = Vec::new();
        let mut kept = None;
        let mut sha256 = [0; 32];
        match &entry.kind {
            Kind::Folder => {}
            Kind::Symlink(target) => {
                if target.chars().any(char::is_control) || resolve(&entry.path, target).is_none() {
                    return Err(link(&format!("the link leads to `{target}`, out of the package")));
                }
            }
            Kind::HardLink(target) => {
                let earlier = self.get(target);
                let Some(Member {
                    entry: Entry { kind: Kind::File, .. },
                    sha256: of,
                    head: begin,
                    ..
                }) = earlier
                else {
                    return Err(link(&format!(
                        "a hard link to `{target}`, which is no earlier file of the package"
                    )));
                };
                sha256 = *of;
                head.clone_from(begin);
            }
            Kind::File => {
                let keep = speaks_of_the_package(&entry.path)
                    && entry.size <= self.descriptor_bytes
                    && self.kept + entry.size <= KEPT;
                let mut whole = keep.then(Vec::new);
                let mut digest = Sha256::new();
                let mut buffer = [0; 16 << 10];
                loop {
                    let read = data.read(&mut buffer).map_err(|error| {
                        crate::decode::problem_of(error, crate::Packing::Tar, true)
                            .entry(&entry.path)
                    })?;
                    if read == 0 {
                        break;
                    }
                    let piece = &buffer[..read];
                    digest.update(piece);
                    if head.len() < HEAD {
                        head.extend_from_slice(&piece[..piece.len().min(HEAD - head.len())]);
                    }
                    if let Some(whole) = &mut whole {
                        whole.extend_from_slice(piece);
                    }
                }
                self.kept += whole.as_ref().map_or(0, Vec::len) as u64;
                kept = whole;
                sha256 = digest.finalize().into();
            }
        }
        self.place(entry)?;
        self.by_path.insert(entry.path.clone(), self.members.len());
        self.members.push(Member { entry: entry.clone(), sha256, head, kept });
        Ok(())
    }
}

/// Lower case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}
