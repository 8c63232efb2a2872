//! A little HTTP server that lies as told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::{TestImage, digest};

/// What happens to one request of a blob or manifest.
#[derive(Clone, Debug)]
pub enum Lie {
    Honest,
    /// Breaks the connection after so many bytes of the body.
    CutAt(usize),
    /// Claims only so many bytes, and sends those.
    ShortAt(usize),
    /// Goes silent after so many bytes.
    StallAt(usize),
    /// Sends other bytes of the same number.
    Garbage,
    /// Answers with a status.
    Status(u16),
    /// Gives a range that was not asked for.
    WrongRange,
    /// Ignores ranges.
    NoRanges,
    /// More than the manifest says.
    TooMuch,
    /// An endless body.
    Endless,
}

#[derive(Default)]
struct Inner {
    content: HashMap<String, (Vec<u8>, String)>,
    /// Path → lies for the requests to come, in order; then honesty.
    lies: HashMap<String, Vec<Lie>>,
    log: Vec<String>,
    /// Challenge, and what answers it; asked below `/v2/` only.
    authorisation: Option<(String, String)>,
}

#[derive(Clone)]
pub struct Liar {
    pub address: String,
    inner: Arc<Mutex<Inner>>,
}

impl Liar {
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Speaks TLS with this certificate.
    pub async fn start_tls(config: rustls::ServerConfig) -> Self {
        Self::listen(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let inner: Arc<Mutex<Inner>> = Arc::default();
        let shared = inner.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away in the middle is part of the tests.
                let (shared, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(serve(stream, shared).await);
                            }
                        }
                        None => drop(serve(stream, shared).await),
                    }
                });
            }
        });
        Self { address, inner }
    }

    /// Serves an image as `name` with a tag; answers what to ask for.
    pub fn serve(&self, name: &str, tag: &str, image: &TestImage) -> String {
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        for blob in image.blobs() {
            self.put(
                &format!("/v2/{name}/blobs/{}", digest(blob)),
                blob,
                "application/octet-stream",
            );
        }
        self.put(&format!("/v2/{name}/manifests/{tag}"), &image.manifest, manifest);
        self.put(
            &format!("/v2/{name}/manifests/{}", digest(&image.manifest)),
            &image.manifest,
            manifest,
        );
        format!("{}/{name}:{tag}", self.address)
    }

    pub fn put(&self, path: &str, body: &[u8], media_type: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.content.insert(path.into(), (body.to_vec(), media_type.into()));
    }

    pub fn lie(&self, path: &str, lies: impl IntoIterator<Item = Lie>) {
        self.inner.lock().unwrap().lies.insert(path.into(), lies.into_iter().collect());
    }

    pub fn want_authorisation(&self, challenge: &str, answer: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.authorisation = Some((challenge.into(), answer.into()));
    }

    pub fn blob(name: &str, blob: &[u8]) -> String {
        format!("/v2/{name}/blobs/{}", digest(blob))
    }

    /// Requests of a path so far, with their ranges.
    pub fn requests(&self, path: &str) -> Vec<String> {
        let inner = self.inner.lock().unwrap();
        inner.log.iter().filter(|line| line.split(' ').next() == Some(path)).cloned().collect()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    inner: Arc<Mutex<Inner>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut from = 0;
        let mut authorisation = String::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            if let Some(range) = header.to_ascii_lowercase().strip_prefix("range: bytes=") {
                from = range.trim().trim_end_matches('-').parse().unwrap();
            }
            if let Some((name, value)) = header.split_once(": ")
                && name.eq_ignore_ascii_case("authorization")
            {
                authorisation = value.trim().to_owned();
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let wanted = inner.lock().unwrap().authorisation.clone();
        if let Some((challenge, answer)) = wanted
            && path.starts_with("/v2/")
            && answer != authorisation
        {
            let head = format!(
                "HTTP/1.1 401 No\r\nwww-authenticate: {challenge}\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await?;
            continue;
        }
        let (content, lie) = {
            let mut inner = inner.lock().unwrap();
            inner.log.push(format!("{path} {from}"));
            let lie = inner.lies.get_mut(&path).filter(|l| !l.is_empty()).map(|l| l.remove(0));
            (inner.content.get(&path).cloned(), lie.unwrap_or(Lie::Honest))
        };
        let Some((mut body, media_type)) = content else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
            stream.flush().await?;
            continue;
        };
        if let Lie::Status(status) = lie {
            let head = format!("HTTP/1.1 {status} No\r\ncontent-length: 4\r\n\r\nwhy?");
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await?;
            continue;
        }
        if matches!(lie, Lie::Garbage) {
            body.iter_mut().for_each(|b| *b ^= 0x55);
        }
        if matches!(lie, Lie::TooMuch) {
            body.extend_from_slice(&[0; 1000]);
        }
        if matches!(lie, Lie::NoRanges) {
            from = 0;
        }
        let whole = body.len();
        let body = &body[from.min(whole)..];
        let told = match lie {
            Lie::ShortAt(n) => n.min(body.len()),
            Lie::Endless => usize::MAX >> 1,
            _ => body.len(),
        };
        let status = if from > 0 {
            let start = if matches!(lie, Lie::WrongRange) { from / 2 } else { from };
            format!("206 Partial\r\ncontent-range: bytes {start}-{}/{whole}", whole - 1)
        } else {
            "200 OK".into()
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {told}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        match lie {
            Lie::CutAt(n) => {
                stream.write_all(&body[..n.min(body.len())]).await?;
                stream.flush().await?;
                return Ok(());
            }
            Lie::ShortAt(n) => stream.write_all(&body[..n.min(body.len())]).await?,
            Lie::StallAt(n) => {
                stream.write_all(&body[..n.min(body.len())]).await?;
                stream.flush().await?;
                // Until the client has had enough.
                let mut rest = Vec::new();
                let wait = stream.read_to_end(&mut rest);
                drop(tokio::time::timeout(Duration::from_secs(60), wait).await);
                return Ok(());
            }
            Lie::Endless => loop {
                stream.write_all(&[b' '; 65536]).await?;
            },
            _ => stream.write_all(body).await?,
        }
        stream.flush().await?;
    }
}
