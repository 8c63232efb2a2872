//! Conversion by `qemu-img`: the format is given, never guessed; memory, size and time are bounded.

use std::{ffi::OsString, path::Path, time::Duration};

use tokio_util::sync::CancellationToken;
use vnode_action::{Resource, Spec, run};
use vnode_image::disk::{Disk, Format};

use super::{Bounds, PrepareError, Prepared};
use crate::settings::{Settings, Target};

/// What is kept of what the program says.
const OUTPUT_BYTES: usize = 4096;
/// Address space of the program: it maps much more than it uses.
const MEMORY: u64 = 4 << 30;

/// Converts a disk that the cloud does not take; the packed or foreign one is removed, unless it is `original`.
pub(super) async fn convert(
    from: &Prepared,
    original: &Path,
    folder: &Path,
    settings: &Settings,
    cancellation: &CancellationToken,
) -> Result<Prepared, PrepareError> {
    let wrong = |reason: String| PrepareError::Convert { path: original.to_owned(), reason };
    let word = match from.disk.format {
        Format::Vmdk => "vmdk",
        Format::Vdi => "vdi",
        other => return Err(wrong(format!("{other:?} is no disk"))),
    };
    let to = folder.join(format!("disk.{}", settings.convert_to.word()));
    let size = from.disk.virtual_size.unwrap_or(settings.max_virtual_size);
    let bounds = Bounds::of(settings);
    // Zeros take no room, but how many there are is not known: this bounds the file at least.
    let largest = size.saturating_add(size / 8).saturating_add(64 << 20);
    if bounds.room(folder)? == 0 {
        return Err(PrepareError::Space { folder: folder.to_owned() });
    }
    let arguments: [OsString; 9] = [
        settings.qemu_img.clone().into(),
        "convert".into(),
        "-f".into(),
        word.into(),
        "-O".into(),
        settings.convert_to.word().into(),
        "--".into(),
        // Whole paths: a name with a colon would be a protocol.
        from.path.clone().into(),
        to.clone().into(),
    ];
    let spec = Spec::new(arguments)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .folder(folder)
        .limit(Resource::As, MEMORY)
        .limit(Resource::Fsize, largest)
        .limit(Resource::Core, 0)
        .time_limit(Duration::from_secs(settings.ready_limit))
        .capture(OUTPUT_BYTES);
    let output = match run(spec, cancellation).await {
        _ if cancellation.is_cancelled() => return Err(PrepareError::Stopped),
        Ok(output) => output,
        Err(error) => return Err(wrong(vnode_protocol::chain(&error))),
    };
    if !output.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(wrong(format!("{}: {last}", output.status)));
    }
    if from.path != original {
        std::fs::remove_file(&from.path).map_err(PrepareError::file("remove", &from.path))?;
    }
    let format = match settings.convert_to {
        Target::Raw => Format::Raw,
        Target::Qcow2 => Format::Qcow2,
    };
    Ok(Prepared { path: to, disk: Disk { format, virtual_size: Some(size) } })
}
