//! Getting an archive: by https from a server whose certificate holds, or from a folder of this machine.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::Settings;
use crate::{command::CommandError, context::Context};

/// Where systems keep the certificates they trust.
const CERTIFICATES: &[&str] = &[
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
    "usr/local/share/certs/ca-root-nss.crt",
];
/// Most bytes of an answer's status and headers.
const HEAD_MAX: usize = 16 << 10;

/// Why a URL cannot be fetched. Texts leave the query out (R-J5).
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("only https: URLs are fetched, and file: ones below the folder of the settings")]
    Scheme,
    #[error("the address is not well-formed")]
    Address,
    #[error("no certificates to check the server by")]
    Certificates,
    #[error("the server answers `{0}`")]
    Status(String),
    #[error("more than {0} bytes")]
    TooLarge(u64),
    #[error("the transfer ended too early")]
    Short,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

pub(super) struct Source<'a> {
    context: &'a Context,
    settings: &'a Settings,
}

impl<'a> Source<'a> {
    pub(super) fn new(context: &'a Context, settings: &'a Settings) -> Self {
        Self { context, settings }
    }

    /// Fetches into a new file.
    pub(super) async fn fetch(
        &self,
        url: &str,
        into: &Path,
        limit: u64,
    ) -> Result<(), CommandError> {
        let done = match url.split_once("://") {
            Some(("https", rest)) => self.by_https(rest, into, limit).await,
            Some(("file", path)) => self.by_file(path, into, limit).await,
            _ => Err(Error::Scheme),
        };
        done.map_err(|error| {
            let shown = url.split(['?', '#']).next().unwrap_or_default();
            CommandError::failed(format!("{shown}: {error}")).with_source(error)
        })
    }

    async fn by_file(&self, path: &str, into: &Path, limit: u64) -> Result<(), Error> {
        let local = self.settings.local.as_deref().ok_or(Error::Scheme)?;
        let below = Path::new(path).strip_prefix(local).map_err(|_| Error::Scheme)?;
        let refused = |error: vnode_beneath::DirError| Error::Io(std::io::Error::other(error));
        let folder = self.context.root().open_dir(local).map_err(refused)?;
        // Nothing leads out of the folder, no link and no `..`.
        let folder = folder.with_scope(vnode_beneath::Scope::Beneath);
        let file = folder.open(below).map_err(refused)?;
        if !file.metadata()?.is_file() {
            return Err(Error::Scheme);
        }
        let mut whole = std::io::Read::take(file, limit + 1);
        let written = std::io::copy(&mut whole, &mut File::create_new(into)?)?;
        if written > limit { Err(Error::TooLarge(limit)) } else { Ok(()) }
    }

    async fn by_https(&self, rest: &str, into: &Path, limit: u64) -> Result<(), Error> {
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let odd = |b: u8| b <= b' ' || b >= 0x7f;
        if authority.contains('@') || authority.bytes().any(odd) || path.bytes().any(odd) {
            return Err(Error::Address);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| Error::Address)?)
            }
            _ => (authority, 443),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| Error::Address)?;
        let tcp = tokio::net::TcpStream::connect((bare, port)).await?;
        let mut stream = TlsConnector::from(self.tls()?).connect(name, tcp).await?;
        let path = path.split('#').next().unwrap_or("/");
        // The old version of the protocol has no chunks, and its answer ends with the connection.
        let request =
            format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nUser-Agent: vnode-agent\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let (head, body) = head_of(&mut stream).await?;
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default();
        if status.split_whitespace().nth(1) != Some("200") {
            let shown: String = status.chars().filter(|c| !c.is_control()).take(80).collect();
            return Err(Error::Status(shown));
        }
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        keep(stream, body, into, limit, length).await
    }

    fn tls(&self) -> Result<Arc<rustls::ClientConfig>, Error> {
        let root = self.context.root_path();
        let files: Vec<PathBuf> = match &self.settings.certificates {
            Some(file) => vec![root.join(super::relative(file))],
            None => CERTIFICATES.iter().map(|file| root.join(file)).collect(),
        };
        let mut roots = rustls::RootCertStore::empty();
        for file in files.iter().filter(|file| file.is_file()) {
            let certificates = CertificateDer::pem_file_iter(file)
                .map_err(|_| Error::Certificates)?
                // One that cannot be read does not make the others useless.
                .filter_map(Result::ok);
            roots.add_parsable_certificates(certificates);
            if !roots.is_empty() {
                break;
            }
        }
        if roots.is_empty() {
            return Err(Error::Certificates);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// Status and headers, and what of the body came with them.
async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> Result<(String, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), body));
        }
        if bytes.len() > HEAD_MAX {
            return Err(Error::TooLarge(HEAD_MAX as u64));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(Error::Short);
        }
    }
}

/// Writes what came and what comes to the file.
async fn keep(
    mut stream: impl AsyncRead + Unpin,
    start: Vec<u8>,
    into: &Path,
    limit: u64,
    length: Option<u64>,
) -> Result<(), Error> {
    let mut file = File::create_new(into)?;
    let mut piece = start;
    let mut written = 0;
    loop {
        written += piece.len() as u64;
        if written > limit {
            return Err(Error::TooLarge(limit));
        }
        file.write_all(&piece)?;
        piece.clear();
        piece.reserve(16 << 10);
        match stream.read_buf(&mut piece).await {
            Ok(0) => break,
            Ok(_) => {}
            // A server that ends without saying so: the length, or the checksum, tells whether all came.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
    }
    if length.is_some_and(|length| written < length) {
        return Err(Error::Short);
    }
    Ok(())
}
