//! Opening an archive: everything is checked before anything is written.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::{
    check::{self, Checked},
    decode::{self, LOOK, Packing, Unpacked},
    descriptor::Descriptor,
    envelope::Envelope,
    foreign,
    limits::Limits,
    manifest,
    problem::{Code, Problem, Refused},
    scripts,
    sign::{Signature, Trust},
    tarball,
    tree::{Entry, Listing, Visit, hex, stripped},
    zipped,
};

/// In which form a package came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `lifecycle.json` and scripts.
    Native,
    /// ETSI's, with a manifest.
    Csar,
    /// Open Baton's `vnfd.json` and `scripts/`.
    OpenBaton,
}

/// An archive that has passed every check.
#[derive(Debug)]
pub struct Package {
    pub descriptor: Descriptor,
    /// What is odd, and not wrong.
    pub warnings: Vec<String>,
    pub form: Form,
    pub packing: Packing,
    /// Bytes of the archive, and their SHA-256.
    pub size: u64,
    pub digest: String,
    /// The same for one tree however it was packed.
    pub tree_digest: String,
    pub signature: Signature,
    /// What was in an outer archive.
    pub(crate) inner: Option<File>,
    pub(crate) listing: Listing,
    /// The folder of the archive that is the package.
    pub(crate) root: String,
    pub(crate) limits: Limits,
}

impl Package {
    /// Reads and checks an archive. Blocks; nothing is written but, for a package in an outer archive, a file without a
    /// name in the folder for temporary files.
    ///
    /// # Errors
    /// Why it is refused; problems of the descriptor are collected.
    pub fn open(file: &File, limits: &Limits, trust: &Trust) -> Result<Self, Refused> {
        Self::open_in(file, limits, trust, &std::env::temp_dir())
    }

    /// As [`Package::open`], with another folder for the file without a name.
    ///
    /// # Errors
    /// As [`Package::open`].
    pub fn open_in(
        file: &File,
        limits: &Limits,
        trust: &Trust,
        scratch: &Path,
    ) -> Result<Self, Refused> {
        let (size, digest) = digest_of(file, limits)?;
        let listed = Listed::read(file, limits)?;
        let package = match Envelope::find(file, &listed, limits, scratch)? {
            None => Self::checked(file, listed, limits, trust, None)?,
            Some((envelope, inner)) => {
                let listed = Listed::read(&inner, limits)?;
                let package = Self::checked(&inner, listed, limits, trust, Some(&envelope))?;
                Self { inner: Some(inner), ..package }
            }
        };
        Ok(Self { size, digest, ..package })
    }

    fn checked(
        file: &File,
        listed: Listed,
        limits: &Limits,
        trust: &Trust,
        envelope: Option<&Envelope>,
    ) -> Result<Self, Refused> {
        let Listed { packing, listing } = listed;
        let (root, form) = find_root(&listing)?;
        let Checked { descriptor, mut warnings } = match form {
            Form::OpenBaton => foreign::open_baton(&listing, &root, limits)?,
            _ => check::descriptor(descriptor_bytes(&listing, &root, limits)?, limits)?,
        };
        scripts::check(&descriptor, &listing, &root)?;
        let signature = manifest::check(&Integrity {
            file,
            packing,
            limits,
            listing: &listing,
            root: &root,
            descriptor: &descriptor,
            form,
            trust,
            envelope,
        })?;
        if let Signature::None = signature
            && descriptor.signature.is_some()
        {
            warnings.push("signature: not looked at".to_owned());
        }
        let tree_digest = listing.tree_digest(&root);
        let limits = limits.clone();
        Ok(Self {
            descriptor,
            warnings,
            form,
            packing,
            size: 0,
            digest: String::new(),
            tree_digest,
            signature,
            inner: None,
            listing,
            root,
            limits,
        })
    }

    /// The files of the package, and their sizes in bytes.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        let below = self.listing.below(&self.root);
        below.into_iter().filter_map(|(path, member)| {
            let file = self.listing.file(&member.entry.path)?;
            Some((path, file.entry.size))
        })
    }
}

/// What a check of digests and signatures needs.
pub(crate) struct Integrity<'a> {
    pub(crate) file: &'a File,
    pub(crate) packing: Packing,
    pub(crate) limits: &'a Limits,
    pub(crate) listing: &'a Listing,
    pub(crate) root: &'a str,
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) form: Form,
    pub(crate) trust: &'a Trust,
    pub(crate) envelope: Option<&'a Envelope>,
}

/// What an archive holds, as the first reading found it.
pub(crate) struct Listed {
    pub(crate) packing: Packing,
    pub(crate) listing: Listing,
}

impl Listed {
    fn read(file: &File, limits: &Limits) -> Result<Self, Problem> {
        let mut start = [0; LOOK];
        let read = start_of(file, &mut start);
        let packing = decode::packing(&start[..read])?;
        let mut listing = Listing::new(limits);
        walk(file, packing, limits, &mut listing)?;
        listing.finish()?;
        Ok(Self { packing, listing })
    }
}

fn start_of(file: &File, into: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], filled as u64) {
            Ok(0) | Err(_) => break,
            Ok(read) => filled += read,
        }
    }
    filled
}

fn unreadable(error: std::io::Error) -> Problem {
    Problem::new(Code::Aborted, format!("the archive cannot be read ({error})"))
}

fn digest_of(file: &File, limits: &Limits) -> Result<(u64, String), Problem> {
    let size = file.metadata().map_err(unreadable)?.len();
    if size > limits.archive_bytes {
        let what = format!("{size} bytes, and an archive may have {}", limits.archive_bytes);
        return Err(Problem::new(Code::Size, what));
    }
    let mut digest = Sha256::new();
    let mut buffer = [0; 64 << 10];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at).map_err(unreadable)?;
        if read == 0 {
            return Ok((at, hex(&digest.finalize())));
        }
        digest.update(&buffer[..read]);
        at += read as u64;
    }
}

/// Reads the whole archive once.
pub(crate) fn walk(
    file: &File,
    packing: Packing,
    limits: &Limits,
    visit: &mut dyn Visit,
) -> Result<(), Problem> {
    let mut file = file.try_clone().map_err(unreadable)?;
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    if packing == Packing::Zip {
        return zipped::walk(&mut file, limits, visit);
    }
    let mut unpacked = Unpacked::new(file, packing, limits)?;
    if packing == Packing::Tar {
        return tarball::walk(&mut unpacked, limits, visit);
    }
    // What is inside must be a tar archive, and not packed again.
    let mut start = Vec::with_capacity(LOOK);
    (&mut unpacked)
        .take(LOOK as u64)
        .read_to_end(&mut start)
        .map_err(|error| unpacked.problem(error))?;
    match decode::packing(&start) {
        Ok(Packing::Tar) => {}
        Err(_) if start.len() < LOOK && !start.is_empty() => {
            let what = "the archive ends in the middle; send it again";
            return Err(Problem::new(Code::Truncated, what));
        }
        _ => return Err(Problem::new(Code::Format, "what is packed is no tar archive")),
    }
    unpacked.put_back(start);
    tarball::walk(&mut unpacked, limits, visit)
}

/// Where the package begins in its archive, and in which form it is.
fn find_root(listing: &Listing) -> Result<(String, Form), Problem> {
    let has = |path: String| listing.get(&path).is_some();
    let in_root = |root: &str, name: &str| {
        if root.is_empty() { name.to_owned() } else { format!("{root}/{name}") }
    };
    for root in std::iter::once(String::new()).chain(listing.only_folder()) {
        if has(in_root(&root, "lifecycle.json")) {
            let csar = has(in_root(&root, "TOSCA-Metadata/TOSCA.meta"))
                || foreign::lone_yaml(listing, &root).is_some();
            return Ok((root, if csar { Form::Csar } else { Form::Native }));
        }
        if has(in_root(&root, "vnfd.json")) {
            return Ok((root, Form::OpenBaton));
        }
    }
    Err(Problem::new(
        Code::NoDescriptor,
        "there is no lifecycle.json at the root, nor in the only folder; `vnf new` writes one",
    ))
}

fn descriptor_bytes<'a>(
    listing: &'a Listing,
    root: &str,
    limits: &Limits,
) -> Result<&'a [u8], Problem> {
    let path = if root.is_empty() {
        "lifecycle.json".to_owned()
    } else {
        format!("{root}/lifecycle.json")
    };
    let member = listing.members.iter().find(|member| member.entry.path == path);
    let Some(member) = member else {
        return Err(Problem::new(Code::NoDescriptor, "lifecycle.json is missing"));
    };
    match (&member.entry.kind, &member.kept) {
        (crate::tree::Kind::File, Some(bytes)) => Ok(bytes),
        (crate::tree::Kind::File, None) => {
            let what = format!("larger than {} bytes", limits.descriptor_bytes);
            Err(Problem::new(Code::Schema, what).entry(path))
        }
        (crate::tree::Kind::Folder, _) => {
            Err(Problem::new(Code::NoDescriptor, "lifecycle.json is a folder").entry(path))
        }
        _ => {
            Err(Problem::new(Code::Link, "lifecycle.json is a link; it must be a file").entry(path))
        }
    }
}

/// Compares a second reading of the archive with the first, and gives the entries on.
pub(crate) struct Again<'a, V> {
    pub(crate) listing: &'a Listing,
    pub(crate) root: &'a str,
    pub(crate) at: usize,
    pub(crate) then: V,
}

impl<V: FnMut(&str, &Entry, &mut dyn Read) -> Result<(), Problem>> Visit for Again<'_, V> {
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Problem> {
        if entry.path.is_empty() {
            return Ok(());
        }
        let same = self.listing.members.get(self.at).is_some_and(|member| member.entry == *entry);
        if !same {
            let what = "the archive was not the same when it was read again";
            return Err(Problem::new(Code::ArchiveChanged, what).entry(&entry.path));
        }
        self.at += 1;
        match stripped(&entry.path, self.root) {
            Some(path) if !path.is_empty() => (self.then)(path, entry, data),
            _ => Ok(()),
        }
    }
}
