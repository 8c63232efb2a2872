//! Decompression chosen by the first bytes of a stream.

use std::io::{self, BufReader, Read};

/// How a stream is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Bytes looked at.
const MAGIC_LENGTH: u64 = 6;

/// The stream with the bytes that were looked at put back.
type Input<R> = BufReader<io::Chain<io::Cursor<Vec<u8>>, R>>;

/// A stream unpacked as it is read. Nothing bounds its output: the reader above must.
pub enum Decoder<R: Read> {
    Plain(Input<R>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Input<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<R>>>),
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Decoder").field(&self.compression()).finish()
    }
}

/// Largest zstd window accepted, as a power of two: 128 MiB, what `zstd --ultra -22` writes without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes and chooses. xz and bzip2 are refused by name.
    pub fn new(reader: R) -> io::Result<Self> {
        let mut reader = reader;
        let mut start = Vec::with_capacity(MAGIC_LENGTH as usize);
        // `read_to_end` waits for all of them, however small the pieces are that a network delivers.
        reader.by_ref().take(MAGIC_LENGTH).read_to_end(&mut start)?;
        let reader =
            BufReader::with_capacity(64 * 1024, io::Cursor::new(start.clone()).chain(reader));
        if start.starts_with(&[0x1f, 0x8b]) {
            return Ok(Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(reader))));
        }
        if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            return Ok(Decoder::Zstd(Box::new(decoder)));
        }
        for (magic, name) in [(&b"\xfd7zXZ"[..], "xz"), (b"BZh", "bzip2"), (b"PK\x03\x04", "zip")] {
            if start.starts_with(magic) {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!(
                        "packed with {name}, which is not read; pack it again with gzip or zstd"
                    ),
                ));
            }
        }
        Ok(Decoder::Plain(reader))
    }

    /// What was found.
    pub fn compression(&self) -> Compression {
        match self {
            Decoder::Plain(_) => Compression::None,
            Decoder::Gzip(_) => Compression::Gzip,
            Decoder::Zstd(_) => Compression::Zstd,
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(r) => r.read(buf),
            Decoder::Gzip(r) => r.read(buf),
            Decoder::Zstd(r) => r.read(buf),
        }
    }
}
