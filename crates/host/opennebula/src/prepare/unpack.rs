//! One packed stream to a file, with holes where zeros are.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use tokio_util::sync::CancellationToken;
use vnode_image::disk::Format;

use super::{Bounds, PrepareError, open};

/// Written at once; zeros of this length are a hole.
const BLOCK: usize = 64 << 10;
/// Output up to which no ratio is asked for: a small disk is mostly zeros.
const FREE_OF_RATIO: u64 = 1 << 30;
/// Memory of the decoder of xz; its largest usual preset takes 65 MiB.
const XZ_MEMORY: u64 = 96 << 20;
/// Largest window of zstd, as a power of two: what `zstd --ultra -22` writes without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Unpacks `from` into the new file `to`.
pub(super) fn unpack(
    from: &Path,
    format: Format,
    to: &Path,
    bounds: &Bounds,
    cancellation: &CancellationToken,
) -> Result<(), PrepareError> {
    let file = open(from)?;
    let length = file.metadata().map_err(PrepareError::file("look at", from))?.len();
    let failed = PrepareError::file("unpack", from);
    let reader: Box<dyn Read> = match format {
        Format::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Format::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        Format::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)
                .map_err(|error| failed(io::Error::other(error)))?;
            Box::new(liblzma::read::XzDecoder::new_stream(file, stream))
        }
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(file).map_err(&failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(&failed)?;
            Box::new(decoder)
        }
        other => return Err(failed(io::Error::other(format!("{other:?} is no stream")))),
    };
    copy(reader, from, length, to, bounds, cancellation)
}

/// Copies a stream that was made of `length` bytes of `from` to the new file `to`.
pub(super) fn copy(
    mut reader: impl Read,
    from: &Path,
    length: u64,
    to: &Path,
    bounds: &Bounds,
    cancellation: &CancellationToken,
) -> Result<(), PrepareError> {
    let read = PrepareError::file("unpack", from);
    let write = PrepareError::file("write", to);
    let folder = to.parent().unwrap_or(to);
    let mut room = bounds.room(folder)?;
    let mut file = create(to)?;
    let mut block = vec![0; BLOCK];
    let mut size: u64 = 0;
    let mut written: u64 = 0;
    loop {
        if cancellation.is_cancelled() {
            return Err(PrepareError::Stopped);
        }
        let got = fill(&mut reader, &mut block).map_err(&read)?;
        if got == 0 {
            break;
        }
        size += got as u64;
        if size > bounds.max_bytes {
            return Err(PrepareError::TooLarge { path: from.to_owned(), limit: bounds.max_bytes });
        }
        if size > FREE_OF_RATIO && size / length.max(1) > bounds.max_ratio {
            return Err(PrepareError::Ratio { path: from.to_owned(), ratio: bounds.max_ratio });
        }
        if block[..got].iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(got as i64)).map_err(&write)?;
            continue;
        }
        written += got as u64;
        if written > room {
            // Others write there too: what was free at the begin may be gone, or more may be.
            room = written.saturating_add(bounds.room(folder)?);
            if written >= room {
                return Err(PrepareError::Space { folder: folder.to_owned() });
            }
        }
        file.write_all(&block[..got]).map_err(&write)?;
    }
    file.set_len(size).map_err(&write)?;
    file.sync_all().map_err(&write)
}

fn create(path: &Path) -> Result<File, PrepareError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(PrepareError::file("make", path))
}

fn fill(reader: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < block.len() {
        match reader.read(&mut block[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
