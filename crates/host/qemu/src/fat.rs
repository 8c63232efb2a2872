//! Small FAT volumes: the form of a seed that every guest can read.

use std::io::{self, Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};

/// Room for the file system's own tables.
const OVERHEAD: usize = 256 * 1024;

/// Files to be put on a volume.
#[derive(Debug)]
pub(crate) struct Volume {
    label: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Volume {
    /// `label` has at most eleven characters.
    pub(crate) fn new(label: &'static str) -> Self {
        Self { label, files: Vec::new() }
    }

    /// `path` has folders between slashes, which are made.
    pub(crate) fn add(&mut self, path: &'static str, bytes: Vec<u8>) {
        self.files.push((path, bytes));
    }

    /// The volume's bytes.
    pub(crate) fn build(&self) -> io::Result<Vec<u8>> {
        let files: usize =
            self.files.iter().map(|(_, bytes)| bytes.len().next_multiple_of(8192)).sum();
        let mut image = Cursor::new(vec![0; (OVERHEAD + files).next_multiple_of(64 * 1024)]);
        let mut label = [b' '; 11];
        for (to, from) in label.iter_mut().zip(self.label.bytes()) {
            *to = from;
        }
        format_volume(&mut image, FormatVolumeOptions::new().volume_label(label))?;
        let system = FileSystem::new(&mut image, FsOptions::new())?;
        {
            let root = system.root_dir();
            for (path, bytes) in &self.files {
                let mut at = 0;
                while let Some(slash) = path[at..].find('/') {
                    root.create_dir(&path[..at + slash])?;
                    at += slash + 1;
                }
                let mut file = root.create_file(path)?;
                file.write_all(bytes)?;
                file.flush()?;
            }
        }
        system.unmount()?;
        Ok(image.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_volume_holds_its_files_and_its_label() {
        let mut volume = Volume::new("config-2");
        volume.add("openstack/latest/meta_data.json", b"{}".to_vec());
        volume.add("openstack/latest/user_data", vec![b'x'; 100_000]);
        let bytes = volume.build().unwrap();
        let system = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        assert_eq!(system.volume_label(), "config-2");
        let mut text = Vec::new();
        let mut file = system.root_dir().open_file("openstack/latest/user_data").unwrap();
        file.read_to_end(&mut text).unwrap();
        assert_eq!(text.len(), 100_000);
    }
}
