//! Debian's kernel: which one, its plain form, its modules in the order in which they are loaded.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{BuildError, fail};

/// Modules a small machine needs, by name; what a kernel has built in, or lacks, is left out.
const MODULES: &[&str] = &[
    // Asked for by others by name only, which modules.dep does not show.
    "crc32c_generic",
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "qemu_fw_cfg",
    "button",
    "evdev",
    "i6300esb",
    "e1000",
    "ext4",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "vfat",
    "bridge",
    "8021q",
    "dummy",
    "veth",
    "sch_netem",
    "sch_tbf",
];
/// Largest kernel that is unpacked, bytes.
const MOST: u64 = 512 << 20;

/// An installed or unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) version: String,
    image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// The newest below `top` whose image and modules are both there.
    pub(super) fn find(top: &Path) -> Option<Self> {
        let mut versions: Vec<String> = std::fs::read_dir(top.join("boot"))
            .into_iter()
            .flatten()
            .filter_map(|e| {
                Some(e.ok()?.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned())
            })
            .collect();
        versions.sort();
        versions.into_iter().rev().find_map(|version| {
            let folders = [top.join("lib/modules"), top.join("usr/lib/modules")];
            let modules = folders.into_iter().map(|folder| folder.join(&version));
            let modules = modules.into_iter().find(|folder| folder.join("kernel").is_dir())?;
            let image = top.join("boot").join(format!("vmlinuz-{version}"));
            Some(Self { version, image, modules })
        })
    }

    /// The kernel as a plain ELF file: under emulation its own unpacking costs seconds at each boot.
    pub(super) fn plain(&self) -> Result<Vec<u8>, BuildError> {
        let packed = std::fs::read(&self.image).map_err(fail("read", &self.image))?;
        // The payload of a bzImage, by the magic numbers of what Debian's kernels are packed with.
        for (magic, unpack) in [
            (&b"\xfd7zXZ\0"[..], unpack_xz as fn(&[u8]) -> Vec<u8>),
            (&b"\x28\xb5\x2f\xfd"[..], unpack_zstd),
        ] {
            let mut from = 0;
            while let Some(at) =
                packed[from..].windows(magic.len()).position(|window| window == magic)
            {
                let plain = unpack(&packed[from + at..]);
                if plain.starts_with(b"\x7fELF") {
                    return Ok(plain);
                }
                from += at + magic.len();
            }
        }
        Err(BuildError::Kernel { path: self.image.clone() })
    }

    /// Module files, each after those it needs, as name and plain contents.
    pub(super) fn modules(&self) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
        let path = self.modules.join("modules.dep");
        let text = std::fs::read_to_string(&path).map_err(fail("read", &path))?;
        let name = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            file.split('.').next().unwrap_or(file).replace('-', "_")
        };
        let lines: BTreeMap<String, (&str, Vec<&str>)> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, needs)| (name(path), (path, needs.split_whitespace().collect())))
            .collect();
        let mut order: Vec<&str> = Vec::new();
        for wanted in MODULES {
            let Some((path, needs)) = lines.get(*wanted) else { continue };
            // modules.dep lists all that is needed, the deepest last.
            for path in needs.iter().rev().chain([path]) {
                if !order.contains(path) {
                    order.push(path);
                }
            }
        }
        let read = |file: &str| {
            let path = self.modules.join(file);
            let bytes = std::fs::read(&path).map_err(fail("read", &path))?;
            let bytes = match file.rsplit('.').next() {
                Some("xz") => unpack_xz(&bytes),
                Some("zst") => unpack_zstd(&bytes),
                _ => bytes,
            };
            Ok((format!("{}.ko", name(file)), bytes))
        };
        order.into_iter().map(read).collect()
    }
}

/// What comes out before the stream ends or breaks: a bzImage has more behind its payload.
fn unpack_xz(bytes: &[u8]) -> Vec<u8> {
    read_some(liblzma::read::XzDecoder::new(bytes))
}

fn unpack_zstd(bytes: &[u8]) -> Vec<u8> {
    match zstd::stream::read::Decoder::new(bytes) {
        Ok(decoder) => read_some(decoder.single_frame()),
        Err(_) => Vec::new(),
    }
}

fn read_some(reader: impl Read) -> Vec<u8> {
    let mut plain = Vec::new();
    // An error after the payload is no error of it; one within shows by what is missing.
    let _ = reader.take(MOST).read_to_end(&mut plain);
    plain
}
