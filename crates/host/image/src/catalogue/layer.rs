//! A layer: streamed once through hash, decompression, hash and unpacking, and put under its name.

use std::io::{self, Read};
use std::sync::Arc;

use rustix::io::Errno;
use vnode_beneath::{
    Decoder, Devices, Dir, Mode, RootFileSystem, Scope, UnpackError, Whiteouts, archive, unpack_tar,
};

use super::inner::{Inner, Pins, RECORD, Temporary};
use super::record::{LayerRecord, VERSION};
use crate::digest::{Digest, Gauge};
use crate::error::PullError;

/// What a layer must turn out to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    /// For people.
    pub(crate) name: String,
    /// Of the bytes as transferred, with their number.
    pub(crate) packed: Option<(Digest, u64)>,
    /// Of the tar stream.
    pub(crate) plain: Option<Digest>,
}

impl Inner {
    /// Reads a layer and puts it into the catalogue; answers its digest, pinned. Blocks.
    pub(crate) fn unpack_layer(
        self: &Arc<Self>,
        mut reader: impl Read,
        expected: &Expected,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(Digest, Pins), PullError> {
        let temporary = self.temporary()?;
        let root = self.layer_folder(&temporary)?.with_scope(Scope::InRoot);
        let mode = Mode::RootFileSystem(RootFileSystem {
            devices: Devices::Skip,
            whiteouts: Whiteouts::Overlay,
            owners: rustix::process::geteuid().is_root(),
        });
        let (packed, plain) = (Gauge::default(), Gauge::default());
        let unpacked = Decoder::new(packed.tap(&mut reader))
            .map_err(|e| UnpackError::from(archive::Error::Read(e)))
            .and_then(|decoder| {
                unpack_tar(plain.tap(decoder), &root, &self.options.limits.unpack, mode, cancelled)
            });
        if matches!(unpacked, Err(UnpackError::Archive(_))) && expected.packed.is_some() {
            // Damaged on the way, or made so? The digest of the whole tells; so the rest is read as well.
            drain(packed.tap(&mut reader), cancelled);
        }
        let verified = verify(expected, &packed, &plain, unpacked.is_ok());
        let report = match (unpacked, verified) {
            (Err(UnpackError::Cancelled), _) => return Err(PullError::Cancelled),
            (Ok(report), Ok(())) => report,
            // What is not what was promised has no other fault worth telling.
            (Ok(_) | Err(UnpackError::Archive(_)), Err(wrong)) => return Err(wrong),
            (Err(source), _) => {
                return Err(PullError::Unpack { layer: expected.name.clone(), source });
            }
        };
        let digest = plain.digest();
        let record = LayerRecord {
            version: VERSION,
            size_bytes: report.bytes,
            entries: report.entries,
            devices_skipped: report.devices_skipped,
            attributes_skipped: report.attributes_skipped,
            implied_folders: report.implied_folders,
        };
        let pins = self.pin(&[digest]);
        self.put_layer(&temporary, digest, record)?;
        Ok((digest, pins))
    }

    /// Makes the folder that becomes a node's `/`, open to all as `/` is.
    pub(super) fn layer_folder(&self, temporary: &Temporary<'_>) -> Result<Dir, PullError> {
        let path = temporary.path.join("root");
        self.dir.mkdir(&path, 0o700)?;
        let root = self.dir.open_dir(&path)?;
        // Not by mkdir, which the process's umask would have a say in.
        rustix::fs::fchmod(&root, 0o755.into())
            .map_err(|e| PullError::disk("open to all", &path)(e.into()))?;
        Ok(root)
    }

    /// Puts a finished layer under its name, with its record. The caller has pinned it.
    pub(super) fn put_layer(
        &self,
        temporary: &Temporary<'_>,
        digest: Digest,
        record: LayerRecord,
    ) -> Result<(), PullError> {
        let bytes = serde_json::to_vec(&record)
            .map_err(|e| PullError::disk("write the record of a layer in", &self.root)(e.into()))?;
        // What could not be read again would be swept away with its layer.
        if bytes.len() as u64 > RECORD {
            let why = format!("the paths of its folders take more than {RECORD} bytes");
            return Err(PullError::disk("write the record of a layer in", &self.root)(
                io::Error::other(why),
            ));
        }
        self.dir.write_atomic(temporary.path.join("layer.json"), &bytes, 0o600)?;
        match self.dir.rename(&temporary.path, format!("layers/{}", digest.hex())) {
            Ok(()) => {}
            // Brought in by another pull, under another digest of the packed bytes.
            Err(e) if is_taken(&e) => {}
            Err(e) => return Err(e.into()),
        }
        self.state().layers.insert(digest, record);
        Ok(())
    }
}

fn is_taken(error: &vnode_beneath::DirError) -> bool {
    [Errno::NOTEMPTY, Errno::EXIST].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

fn drain(mut reader: impl Read, cancelled: &dyn Fn() -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while !cancelled() {
        match reader.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // An error here is the transfer's, which reports it itself.
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn verify(
    expected: &Expected,
    packed: &Gauge,
    plain: &Gauge,
    whole: bool,
) -> Result<(), PullError> {
    let what = || format!("layer {}", expected.name);
    if let Some((digest, size)) = expected.packed {
        if packed.bytes() != size {
            return Err(PullError::Size { what: what(), expected: size, actual: packed.bytes() });
        }
        if packed.digest() != digest {
            return Err(PullError::Digest {
                what: what(),
                expected: digest,
                actual: packed.digest(),
                by: "manifest",
            });
        }
    }
    match expected.plain {
        Some(digest) if whole && plain.digest() != digest => Err(PullError::Digest {
            what: format!("{}, unpacked,", what()),
            expected: digest,
            actual: plain.digest(),
            by: "image configuration",
        }),
        _ => Ok(()),
    }
}
