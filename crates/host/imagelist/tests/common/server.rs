//! A server on the loopback which does all that servers do wrong, and what downloads from it need.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sha2::{Digest as _, Sha512};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use vnode_imagelist::download::{DownloadError, DownloadOptions, Downloader, Job, Verified};

/// How the server answers the first requests for a path; then it is honest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Trick {
    /// Closes after so many bytes of the body.
    Cut(usize),
    /// As a server that does not know ranges.
    NoRange,
    /// The file has another ETag, and other bytes.
    Changed,
    /// Says 206 and gives another range than asked.
    WrongRange,
    /// Sends the header and then nothing.
    Stall,
    Status(u16),
    /// Says and sends more bytes than the file has.
    TooLong,
    /// Says and sends fewer.
    Short,
    /// Sends so many bytes and then nothing.
    StallAt(usize),
    /// Gives the range that was asked for, with other bytes in it.
    WrongBytes,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) files: HashMap<String, Vec<u8>>,
    pub(crate) tricks: HashMap<String, Vec<Trick>>,
    pub(crate) redirects: HashMap<String, String>,
    /// Path, range and authorisation of each request.
    pub(crate) seen: Vec<(String, Option<String>, Option<String>)>,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) most: Arc<AtomicUsize>,
    pub(crate) base: String,
}

impl Server {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server =
            Self { state: Arc::default(), open: Arc::default(), most: Arc::default(), base };
        let own = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                // A client that goes away in the middle is part of the tests.
                tokio::spawn(async move { drop(own.answer(stream).await) });
            }
        });
        server
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8], tricks: &[Trick]) -> String {
        let mut state = self.state.lock().unwrap();
        state.files.insert(path.to_owned(), bytes.to_vec());
        state.tricks.insert(path.to_owned(), tricks.to_vec());
        format!("{}{path}", self.base)
    }

    pub(crate) fn seen(&self) -> Vec<(String, Option<String>, Option<String>)> {
        self.state.lock().unwrap().seen.clone()
    }

    pub(crate) async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte).await? == 0 {
                return Ok(());
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let field = |name: &str| {
            head.lines().find_map(|l| {
                let (n, value) = l.split_once(':')?;
                n.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let (range, condition) = (field("range"), field("if-range"));
        let (file, trick, redirect) = {
            let mut state = self.state.lock().unwrap();
            state.seen.push((path.clone(), range.clone(), field("authorization")));
            let tricks = state.tricks.entry(path.clone()).or_default();
            let trick = (!tricks.is_empty()).then(|| tricks.remove(0));
            (state.files.get(&path).cloned(), trick, state.redirects.get(&path).cloned())
        };
        self.most.fetch_max(self.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let result =
            respond(&mut stream, file, trick, redirect, range, condition, field("if-none-match"))
                .await;
        self.open.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

pub(crate) async fn respond(
    stream: &mut TcpStream,
    file: Option<Vec<u8>>,
    trick: Option<Trick>,
    redirect: Option<String>,
    range: Option<String>,
    condition: Option<String>,
    none_match: Option<String>,
) -> std::io::Result<()> {
    if let Some(to) = redirect {
        let text = format!(
            "HTTP/1.1 302 F\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        return stream.write_all(text.as_bytes()).await;
    }
    let status = match (&file, trick) {
        (_, Some(Trick::Status(status))) => status,
        (None, _) => 404,
        _ => 0,
    };
    let Some(mut file) = file.filter(|_| status == 0) else {
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return stream.write_all(text.as_bytes()).await;
    };
    let etag = if trick == Some(Trick::Changed) { "\"new\"" } else { "\"old\"" };
    if none_match.as_deref() == Some(etag) {
        let text = "HTTP/1.1 304 N\r\nconnection: close\r\n\r\n";
        return stream.write_all(text.as_bytes()).await;
    }
    if matches!(trick, Some(Trick::Changed | Trick::WrongBytes)) {
        file.iter_mut().for_each(|b| *b ^= 1);
    }
    if trick == Some(Trick::TooLong) {
        file.push(0);
    }
    if trick == Some(Trick::Short) {
        file.pop();
    }
    let from = range
        .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        .filter(|from| condition.as_deref() == Some(etag) && *from < file.len())
        .filter(|_| trick != Some(Trick::NoRange));
    let (status, content_range) = match from {
        Some(_) if trick == Some(Trick::WrongRange) => {
            (206, format!("content-range: bytes 0-{}/{}\r\n", file.len() - 1, file.len()))
        }
        Some(from) => {
            (206, format!("content-range: bytes {from}-{}/{}\r\n", file.len() - 1, file.len()))
        }
        None => (200, String::new()),
    };
    let body = &file[from.unwrap_or(0)..];
    let text = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\netag: {etag}\r\n{content_range}connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    match trick {
        Some(Trick::Cut(bytes)) => stream.write_all(&body[..bytes.min(body.len())]).await,
        Some(Trick::Stall) => std::future::pending().await,
        Some(Trick::StallAt(bytes)) => {
            stream.write_all(&body[..bytes.min(body.len())]).await?;
            std::future::pending().await
        }
        _ => stream.write_all(body).await,
    }
}

pub(crate) fn bytes(size: usize) -> Vec<u8> {
    let mut state = 12345_u32;
    (0..size)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

pub(crate) fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn job(sources: &[&str], bytes: &[u8]) -> Job {
    Job {
        name: "image".to_owned(),
        sources: sources.iter().map(|s| (*s).to_owned()).collect(),
        blobs: Vec::new(),
        sha256: None,
        credential: None,
        size: bytes.len() as u64,
        sha512: sha512(bytes),
        unpack: None,
    }
}

pub(crate) fn options() -> DownloadOptions {
    DownloadOptions {
        pause: Duration::from_millis(1),
        keep_free: 0,
        retries: 3,
        ..DownloadOptions::default()
    }
}

pub(crate) async fn fetch(job: &Job, folder: &Path) -> Result<Verified, DownloadError> {
    let downloader = Downloader::new(options()).unwrap();
    downloader.fetch(job, folder, &(), &CancellationToken::new()).await
}

/// Names in a folder.
pub(crate) fn left(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn forget(folder: &Path) {
    fs::remove_file(folder.join("image")).unwrap();
}
