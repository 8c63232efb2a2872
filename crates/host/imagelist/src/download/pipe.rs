//! One try at one source: the request, what the answer claims, and the bytes into the sink.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use reqwest::{RequestBuilder, Response, StatusCode, header};
use tokio::sync::mpsc;
use vnode_image::registry::Error as RegistryError;
use vnode_operation::fault;

use super::{
    DownloadError, Downloader, Job, Progress, Source, Verified,
    part::{self, Note, Part},
    sink::{Passed, Sink},
};
use crate::fetch::{self, FetchError};

/// Pieces between the network and the disk: they bound the memory of a download.
const PIECES: usize = 16;

impl Source<'_> {
    /// Names it; one address however it is spelled.
    fn uri(self) -> Result<String, FetchError> {
        match self {
            Source::Address(address) => Ok(fetch::address(address)?.to_string()),
            Source::Blob(blob) => Ok(blob.name()),
        }
    }
}

impl Downloader {
    pub(super) async fn try_one(
        &self,
        job: &Job,
        source: Source<'_>,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Verified, DownloadError> {
        let uri = source.uri()?;
        let part = Part::new(folder, &job.name);
        if let Some(verified) = self.complete(job, &part, progress).await? {
            return Ok(verified);
        }
        let here = part.here(job, &uri);
        let begun = here.as_ref().map_or(0, |(bytes, _)| *bytes);
        self.check_space(job, folder, begun)?;
        let own = job.credential.as_ref().filter(|(address, _)| fetch::same_host(address, &uri));
        let credential = own.map(|(_, credential)| credential);
        let result = match source {
            Source::Address(_) if uri.starts_with("file:") => {
                self.copy(job, &part, &uri, progress).await.map(|passed| (passed, 0))
            }
            _ => self.get(job, &part, source, here, credential, progress).await,
        };
        let (passed, resumed) = match result {
            Ok(passed) => passed,
            Err(error) => {
                if let Some(unpack) = &job.unpack {
                    // Made anew by the next try, from what is here.
                    part::remove(&unpack.path)?;
                }
                // Wrong bytes are of no use to the next try.
                if !error.may_pass() && !matches!(error, DownloadError::Write { .. }) {
                    part.discard()?;
                }
                return Err(error);
            }
        };
        if !passed.is(job) {
            part.discard()?;
            if resumed > 0 {
                // The part may have been of another file in spite of its validator: once more, from the begin.
                tracing::warn!(name = job.name, "a resumed file is wrong; it is fetched again");
                return Box::pin(self.try_one(job, source, folder, progress)).await;
            }
            let found = passed.sha256.unwrap_or(passed.sha512);
            return Err(DownloadError::Hash { uri, found });
        }
        let (disk, inner) = match passed.probe() {
            Ok(probed) => probed,
            Err(error) => {
                part.discard()?;
                return Err(error);
            }
        };
        part.complete()?;
        let unpacked = unpacked(job, &passed, inner);
        Ok(Verified {
            path: part.whole,
            size: passed.size,
            sha512: passed.sha512,
            disk,
            unpacked,
            resumed,
        })
    }

    /// A file that came whole before, and whose run was cut off: its bytes are read again, not fetched.
    async fn complete(
        &self,
        job: &Job,
        part: &Part,
        progress: &dyn Progress,
    ) -> Result<Option<Verified>, DownloadError> {
        if !part.is_whole(job) {
            return Ok(None);
        }
        let nothing = stream::empty::<Result<Bytes, DownloadError>>();
        let passed = self.pump(job, part, job.size, nothing, "", progress).await;
        match passed {
            Ok(passed) if passed.is(job) => {
                let (disk, inner) = passed.probe()?;
                part.complete()?;
                Ok(Some(Verified {
                    unpacked: unpacked(job, &passed, inner),
                    path: part.whole.clone(),
                    size: passed.size,
                    sha512: passed.sha512,
                    disk,
                    resumed: job.size,
                }))
            }
            Ok(_) => {
                part.discard()?;
                Ok(None)
            }
            Err(error) => {
                part.discard()?;
                if let Some(unpack) = &job.unpack {
                    part::remove(&unpack.path)?;
                }
                Err(error)
            }
        }
    }

    fn check_space(&self, job: &Job, folder: &Path, here: u64) -> Result<(), DownloadError> {
        let stat = rustix::fs::statvfs(folder).map_err(|e| DownloadError::File {
            doing: "look at",
            path: folder.to_owned(),
            source: e.into(),
        })?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let wanted = (job.size - here.min(job.size)).saturating_add(self.options.keep_free);
        if wanted > free {
            return Err(DownloadError::Space { folder: folder.to_owned(), wanted, free });
        }
        Ok(())
    }

    /// The file by HTTP, from a server or a registry; gives what the pass found, and how much of it was here.
    async fn get(
        &self,
        job: &Job,
        part: &Part,
        source: Source<'_>,
        here: Option<(u64, String)>,
        credential: Option<&crate::record::Credential>,
        progress: &dyn Progress,
    ) -> Result<(Passed, u64), DownloadError> {
        let uri = source.uri()?;
        let transport = |source: reqwest::Error| {
            DownloadError::Fetch(FetchError::Transport {
                uri: uri.clone(),
                source: source.without_url(),
            })
        };
        let limit = self.options.stall_limit;
        let asked = async {
            match source {
                Source::Address(_) => {
                    self.request(&uri, here.as_ref(), credential)?.send().await.map_err(transport)
                }
                Source::Blob(blob) => {
                    Ok(blob.open(here.as_ref().map_or(0, |(bytes, _)| *bytes)).await?)
                }
            }
        };
        let response = match tokio::time::timeout(limit, asked)
            .await
            .map_err(|_| DownloadError::Stalled { uri: uri.clone(), limit })?
        {
            // What a registry answers when the part is longer than what it has.
            Err(DownloadError::Registry(RegistryError::Status { status: 416, .. }))
                if here.is_some() =>
            {
                part.discard()?;
                return Err(DownloadError::Short { uri, expected: job.size, found: 0 });
            }
            answered => answered?,
        };
        let from = match (response.status(), here) {
            (StatusCode::PARTIAL_CONTENT, Some((bytes, _)))
                if continues(&response, bytes, job.size) =>
            {
                bytes
            }
            (StatusCode::OK, _) => 0,
            // A range that was not asked for, or that the server will not give: from the begin, by the next try.
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => {
                part.discard()?;
                return Err(DownloadError::Short { uri, expected: job.size, found: 0 });
            }
            (status, _) => {
                return Err(FetchError::Status { uri, status: status.as_u16() }.into());
            }
        };
        if let Some(length) = response.content_length()
            && length != job.size - from
        {
            return Err(DownloadError::Size {
                expected: job.size,
                found: from.saturating_add(length),
            });
        }
        if from == 0 {
            part.discard()?;
            part.write_note(&Note {
                uri: uri.clone(),
                validator: match source {
                    Source::Address(_) => validator(&response),
                    // A blob is what its digest says, whoever is asked.
                    Source::Blob(blob) => Some(blob.digest.to_string()),
                },
                size: job.size,
                sha512: job.sha512.clone(),
            })?;
        }
        let body = response.bytes_stream().map(|piece| piece.map_err(transport));
        let passed = self.pump(job, part, from, body, &uri, progress).await?;
        Ok((passed, from))
    }

    /// A request to a server, for what is not here of the file it had.
    fn request(
        &self,
        uri: &str,
        here: Option<&(u64, String)>,
        credential: Option<&crate::record::Credential>,
    ) -> Result<RequestBuilder, DownloadError> {
        let mut request = self.client()?.get(uri).header(header::ACCEPT_ENCODING, "identity");
        if let Some((user, password)) = fetch::secret(credential)? {
            request = request.basic_auth(user, Some(password));
        }
        if let Some((bytes, validator)) = here {
            request = request
                .header(header::RANGE, format!("bytes={bytes}-"))
                .header(header::IF_RANGE, validator);
        }
        Ok(request)
    }

    /// Moves pieces from a stream to the sink.
    async fn pump(
        &self,
        job: &Job,
        part: &Part,
        from: u64,
        body: impl Stream<Item = Result<Bytes, DownloadError>>,
        uri: &str,
        progress: &dyn Progress,
    ) -> Result<Passed, DownloadError> {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES);
        let (path, limit, unpack) = (part.bytes.clone(), job.size, job.unpack.clone());
        let also_sha256 = job.sha256.is_some();
        let sink = tokio::task::spawn_blocking(move || {
            let mut sink = Sink::open(&path, from, limit, also_sha256, unpack)?;
            while let Some(piece) = receiver.blocking_recv() {
                sink.write(piece)?;
            }
            Ok::<_, DownloadError>(sink)
        });
        let mut body = std::pin::pin!(body);
        let mut here = from;
        let mut ended = Ok(());
        loop {
            let piece = match tokio::time::timeout(self.options.stall_limit, body.next()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(error))) => {
                    ended = Err(error);
                    break;
                }
                Ok(None) => break,
                Err(_) => {
                    let limit = self.options.stall_limit;
                    ended = Err(DownloadError::Stalled { uri: uri.to_owned(), limit });
                    break;
                }
            };
            self.throttle(piece.len()).await;
            here += piece.len() as u64;
            // The sink has ended: its own error says why.
            if sender.send(piece).await.is_err() {
                break;
            }
            progress.at(here.min(job.size), job.size);
            fault::point("imagelist.download.piece").map_err(|injected| DownloadError::Write {
                source: std::io::Error::other(injected),
            })?;
        }
        drop(sender);
        // What arrived before the server failed is in the file either way.
        let sink = sink.await.map_err(|_| DownloadError::Cancelled)??;
        ended?;
        if sink.size() != job.size {
            let uri = uri.to_owned();
            return Err(DownloadError::Short { uri, expected: job.size, found: sink.size() });
        }
        let finish = tokio::task::spawn_blocking(move || sink.finish());
        finish.await.map_err(|_| DownloadError::Cancelled)?
    }

    /// A file of this machine.
    async fn copy(
        &self,
        job: &Job,
        part: &Part,
        uri: &str,
        progress: &dyn Progress,
    ) -> Result<Passed, DownloadError> {
        let path = fetch::address(uri)?.to_file_path().map_err(|()| FetchError::Address {
            uri: uri.to_owned(),
            reason: "it has no path".to_owned(),
        })?;
        let cannot = {
            let path = path.clone();
            move |source| DownloadError::Fetch(FetchError::File { path: path.clone(), source })
        };
        let file = super::open(&path, false).map_err(&cannot)?;
        let meta = file.metadata().map_err(&cannot)?;
        if !meta.is_file() {
            return Err(cannot(std::io::Error::other("it is no file")));
        }
        if meta.len() != job.size {
            return Err(DownloadError::Size { expected: job.size, found: meta.len() });
        }
        part.discard()?;
        let file = Arc::new(file);
        let body = stream::try_unfold(file, |file| {
            let cannot = cannot.clone();
            async move {
                let own = Arc::clone(&file);
                let read = move || {
                    let mut piece = vec![0; 256 << 10];
                    let read = std::io::Read::read(&mut &*own, &mut piece)?;
                    piece.truncate(read);
                    Ok(Bytes::from(piece))
                };
                let piece = tokio::task::spawn_blocking(read)
                    .await
                    .map_err(|_| DownloadError::Cancelled)?;
                let piece = piece.map_err(cannot)?;
                Ok((!piece.is_empty()).then_some((piece, file)))
            }
        });
        self.pump(job, part, 0, body, uri, progress).await
    }
}

fn unpacked(
    job: &Job,
    passed: &Passed,
    inner: Option<crate::disk::Disk>,
) -> Option<(std::path::PathBuf, u64, crate::disk::Disk)> {
    Some((job.unpack.as_ref()?.path.clone(), passed.unpacked.as_ref()?.size, inner?))
}

/// Whether an answer is the rest of the file, from `here` to its end.
fn continues(response: &Response, here: u64, size: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
    let Some(range) = range.and_then(|range| range.trim().strip_prefix("bytes ")) else {
        return false;
    };
    range == format!("{here}-{}/{size}", size - 1) || range == format!("{here}-{}/*", size - 1)
}

/// What may be compared with `If-Range` (RFC 9110, 13.1.5): a strong ETag, else a date.
fn validator(response: &Response) -> Option<String> {
    let text = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
    let etag = text(header::ETAG).filter(|etag| !etag.starts_with("W/"));
    etag.or_else(|| text(header::LAST_MODIFIED)).filter(|v| v.len() <= 1024).map(str::to_owned)
}
