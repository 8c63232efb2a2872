//! The "newc" cpio archive that the kernel unpacks as its first file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeMap;
use std::io::{self, Write};

/// One thing in the tree.
#[derive(Debug)]
enum Entry {
    Folder,
    Link(String),
    File(Vec<u8>, u32),
    /// Mode with type, major, minor.
    Device(u32, u32, u32),
}

/// A file tree in memory; folders above an entry come by themselves.
#[derive(Debug, Default)]
pub(super) struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    pub(super) fn folder(&mut self, path: &str) {
        let mut above = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            above = format!("{above}/{part}");
            self.entries.entry(above.clone()).or_insert(Entry::Folder);
        }
    }

    fn add(&mut self, path: &str, entry: Entry) {
        self.folder(path.rsplit_once('/').map_or("", |(above, _)| above));
        self.entries.insert(path.to_owned(), entry);
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    pub(super) fn file(&mut self, path: &str, bytes: Vec<u8>, mode: u32) {
        self.add(path, Entry::File(bytes, mode));
    }

    pub(super) fn link(&mut self, path: &str, to: &str) {
        self.add(path, Entry::Link(to.to_owned()));
    }

    pub(super) fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.add(path, Entry::Device(0o020_000 | mode, major, minor));
    }

    pub(super) fn write(&self, out: impl Write) -> io::Result<()> {
        let mut archive = Archive { out, written: 0, inode: 0 };
        for (path, entry) in &self.entries {
            let name = path.trim_start_matches('/');
            match entry {
                Entry::Folder => archive.entry(name, 0o040_755, (0, 0), &[])?,
                Entry::Link(to) => archive.entry(name, 0o120_777, (0, 0), to.as_bytes())?,
                Entry::File(bytes, mode) => archive.entry(name, 0o100_000 | mode, (0, 0), bytes)?,
                Entry::Device(mode, major, minor) => {
                    archive.entry(name, *mode, (*major, *minor), &[])?;
                }
            }
        }
        archive.entry("TRAILER!!!", 0, (0, 0), &[])?;
        archive.out.flush()
    }
}

struct Archive<W: Write> {
    out: W,
    written: u64,
    inode: u32,
}

impl<W: Write> Archive<W> {
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let size = u32::try_from(data.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        let mut header = String::from("070701");
        for field in [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0] {
            header.push_str(&format!("{field:08X}"));
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(b"\0")?;
        self.align()?;
        self.put(data)?;
        self.align()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        let rest = (4 - self.written % 4) % 4;
        self.put(&[0; 3][..rest as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_lies_in_them() {
        let mut tree = Tree::default();
        tree.file("/etc/init.d/rc", b"x".to_vec(), 0o755);
        let mut bytes = Vec::new();
        tree.write(&mut bytes).unwrap();
        let at = |name: &[u8]| bytes.windows(name.len()).position(|w| w == name).unwrap();
        assert!(at(b"etc\0") < at(b"etc/init.d\0") && at(b"etc/init.d\0") < at(b"etc/init.d/rc\0"));
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..6], b"070701");
    }
}
