//! Bounds on what a package may cost. Each can be set, none taken away.

/// What a package may cost to receive and to unpack.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Bytes of all files, unpacked.
    pub total_bytes: u64,
    /// Bytes of one file, unpacked.
    pub file_bytes: u64,
    pub entries: usize,
    /// Bytes of a path.
    pub path_bytes: usize,
    /// Folders of a path, the file counted too.
    pub depth: usize,
    /// Bytes of one component of a path.
    pub component_bytes: usize,
    /// Unpacked bytes for each packed one, once [`Limits::ratio_from`] have been unpacked.
    pub ratio: u64,
    pub ratio_from: u64,
    /// Memory of the xz decoder, bytes.
    pub decoder_bytes: u64,
    /// Largest window of zstd, as a power of two.
    pub window_log: u32,
    /// Bytes of the descriptor and of a manifest.
    pub descriptor_bytes: u64,
    /// Levels of the descriptor.
    pub descriptor_depth: usize,
    pub scripts_per_event: usize,
    pub scripts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive_bytes: 256 << 20,
            total_bytes: 1 << 30,
            file_bytes: 512 << 20,
            entries: 4096,
            path_bytes: 255,
            depth: 16,
            component_bytes: 128,
            ratio: 250,
            ratio_from: 16 << 20,
            decoder_bytes: 64 << 20,
            window_log: 26,
            descriptor_bytes: 256 << 10,
            descriptor_depth: 32,
            scripts_per_event: 64,
            scripts: 256,
        }
    }
}
