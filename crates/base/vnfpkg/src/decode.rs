//! The stream beneath an archive: decompression chosen by content, counted as it comes out.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use crate::{
    limits::Limits,
    problem::{Code, Problem},
};

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Tar,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Zip,
}

/// Bytes that tell the packing.
pub(crate) const LOOK: usize = 512;

/// The packing of an archive that begins with `start`.
pub(crate) fn packing(start: &[u8]) -> Result<Packing, Problem> {
    let found = match start {
        [] => return Err(Problem::new(Code::Empty, "the archive is empty")),
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Packing::Bzip2,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Packing::Zip,
        _ if is_tar(start) => Packing::Tar,
        _ => {
            return Err(Problem::new(
                Code::Format,
                "this is no tar, tar.gz, tar.zst, tar.xz, tar.bz2 or zip archive",
            ));
        }
    };
    Ok(found)
}

fn is_tar(start: &[u8]) -> bool {
    start.len() >= 512
        && (&start[257..262] == b"ustar"
            || tar::Header::from_byte_slice(start).cksum().is_ok_and(|sum| {
                sum == crate::tarball::checksum(start) && start.iter().any(|byte| *byte != 0)
            }))
}

/// A problem as an error of reading, which [`problem_of`] takes out again.
pub(crate) fn wrapped(problem: Problem) -> io::Error {
    io::Error::other(problem)
}

/// What went wrong while bytes came out.
pub(crate) fn problem_of(error: io::Error, packing: Packing, began: bool) -> Problem {
    if let Some(problem) = error.get_ref().and_then(|inner| inner.downcast_ref::<Problem>()) {
        return problem.clone();
    }
    let text = error.to_string();
    if error.kind() == io::ErrorKind::UnexpectedEof || text.contains("incomplete frame") {
        return Problem::new(Code::Truncated, "the archive ends in the middle; send it again");
    }
    let code = match packing {
        Packing::Zstd if text.contains("requires too much memory") => Code::Bomb,
        Packing::Xz if text.contains("memory") => Code::Bomb,
        Packing::Zstd if began && text.contains("Unknown frame") => Code::Trailing,
        Packing::Xz if began && text.contains("format") => Code::Trailing,
        Packing::Bzip2 if began && text.contains("magic") => Code::Trailing,
        Packing::Tar => Code::Truncated,
        _ => Code::Checksum,
    };
    let what = match code {
        Code::Bomb => "unpacking it needs more memory than is allowed",
        Code::Trailing => "other bytes follow the end of the archive",
        Code::Truncated => "the archive cannot be read",
        _ => "the packed stream is damaged; send it again",
    };
    Problem::new(code, format!("{what} ({text})"))
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

type Input<R> = BufReader<Counted<R>>;

/// Gzip members one after the other, and nothing behind them.
struct Gzip<R: Read> {
    member: Option<flate2::bufread::GzDecoder<Input<R>>>,
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let read = member.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            let Some(ended) = self.member.take() else { return Ok(0) };
            let mut input = ended.into_inner();
            let next = input.fill_buf()?;
            if next.is_empty() {
                return Ok(0);
            }
            if next[0] != 0x1f || next.get(1).is_some_and(|byte| *byte != 0x8b) {
                let what = "other bytes follow the end of the gzip stream";
                return Err(wrapped(Problem::new(Code::Trailing, what)));
            }
            self.member = Some(flate2::bufread::GzDecoder::new(input));
        }
    }
}

/// The unpacked bytes of a tar archive, bounded by what was packed.
pub(crate) struct Unpacked<R: Read> {
    decoder: Box<dyn Read>,
    packing: Packing,
    packed: Rc<Cell<u64>>,
    unpacked: u64,
    /// Bytes looked at and to be read once more, and how many of them were.
    again: (Vec<u8>, usize),
    limits: Limits,
    source: std::marker::PhantomData<R>,
}

impl<R: Read + 'static> Unpacked<R> {
    pub(crate) fn new(reader: R, packing: Packing, limits: &Limits) -> Result<Self, Problem> {
        let packed = Rc::new(Cell::new(0));
        let counted = Counted { inner: reader, count: Rc::clone(&packed) };
        let input = BufReader::with_capacity(64 << 10, counted);
        let failed = |error| problem_of(error, packing, false);
        let decoder: Box<dyn Read> = match packing {
            Packing::Tar | Packing::Zip => Box::new(input),
            Packing::Gzip => {
                Box::new(Gzip { member: Some(flate2::bufread::GzDecoder::new(input)) })
            }
            Packing::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
                decoder.window_log_max(limits.window_log).map_err(failed)?;
                Box::new(decoder)
            }
            Packing::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(limits.decoder_bytes, flags)
                        .map_err(|error| failed(error.into()))?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        };
        let source = std::marker::PhantomData;
        Ok(Self {
            decoder,
            packing,
            packed,
            unpacked: 0,
            again: (Vec::new(), 0),
            limits: limits.clone(),
            source,
        })
    }

    fn check(&self) -> io::Result<()> {
        if self.packing == Packing::Tar {
            return Ok(());
        }
        // Headers and padding come on top of what the files hold.
        let most = self.limits.total_bytes + (self.limits.entries as u64 + 16) * 4096;
        let stretched = self.unpacked > self.limits.ratio_from
            && self.unpacked / self.limits.ratio > self.packed.get();
        if self.unpacked > most || stretched {
            let what = format!(
                "{} packed bytes unpack to more than {} bytes",
                self.packed.get(),
                self.unpacked
            );
            return Err(wrapped(Problem::new(Code::Bomb, what)));
        }
        Ok(())
    }

    /// Has bytes that were looked at read once more.
    pub(crate) fn put_back(&mut self, bytes: Vec<u8>) {
        self.again = (bytes, 0);
    }

    /// What an error of reading means.
    pub(crate) fn problem(&self, error: io::Error) -> Problem {
        problem_of(error, self.packing, self.unpacked > 0)
    }

    pub(crate) fn is_packed(&self) -> bool {
        self.packing != Packing::Tar
    }
}

impl<R: Read + 'static> Read for Unpacked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (bytes, at) = &mut self.again;
        if *at < bytes.len() {
            let read = (&bytes[*at..]).read(into)?;
            *at += read;
            return Ok(read);
        }
        let read = self.decoder.read(into)?;
        self.unpacked += read as u64;
        self.check()?;
        Ok(read)
    }
}
