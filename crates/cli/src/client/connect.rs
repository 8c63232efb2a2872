//! Where the daemon is, and the way there: a unix socket here, or TLS elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use vnode_api::{Code, Problem, socket};

/// Time to reach another host, handshake included.
const REACH_TIME: Duration = Duration::from_secs(15);
/// Certificates of the system, where Debian and Fedora keep them.
const SYSTEM_CERTIFICATES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Where the daemon is.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// On this host, by its state folder.
    Here { state_dir: PathBuf },
    /// `host:port` over TLS.
    There { address: String, token: Option<String>, ca: Option<PathBuf> },
}

/// Why there is no connection.
pub(crate) enum Failure<'a> {
    /// Nobody listens in this state folder.
    NoDaemon(&'a Path),
    Other(Problem),
}

impl Failure<'_> {
    pub(crate) fn into_problem(self) -> Problem {
        match self {
            Self::NoDaemon(state_dir) => Problem::new(
                Code::Unavailable,
                format!("no daemon answers in `{}`", state_dir.display()),
            )
            .hint("see `daemon.log` there"),
            Self::Other(problem) => problem,
        }
    }
}

impl Target {
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Here { .. } => "localhost".into(),
            Self::There { address, .. } => address.clone(),
        }
    }

    pub(crate) fn token(&self) -> Option<String> {
        match self {
            Self::Here { .. } => None,
            Self::There { token, .. } => token.clone(),
        }
    }

    pub(crate) async fn open(&self) -> Result<Stream, Failure<'_>> {
        match self {
            Self::Here { state_dir } => here(state_dir),
            Self::There { address, ca, .. } => {
                let reached = tokio::time::timeout(REACH_TIME, there(address, ca.as_deref())).await;
                match reached {
                    Ok(stream) => stream.map_err(Failure::Other),
                    Err(_) => Err(Failure::Other(
                        Problem::new(Code::Deadline, format!("cannot reach `{address}`"))
                            .cause(format!("no answer in {} s", REACH_TIME.as_secs())),
                    )),
                }
            }
        }
    }
}

fn here(state_dir: &Path) -> Result<Stream, Failure<'_>> {
    let path = state_dir.join(socket::NAME);
    let fail = |error: io::Error| {
        let problem = Problem::from_error(Code::Unavailable, &error)
            .in_front(format!("cannot connect to the daemon at `{}`", path.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied => problem.hint("run `vnode` as root"),
            _ => problem,
        }
    };
    match socket::connect(&path) {
        Ok(stream) => stream
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(stream))
            .map(Stream::Unix)
            .map_err(|error| Failure::Other(fail(error))),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Err(Failure::NoDaemon(state_dir))
        }
        Err(error) => Err(Failure::Other(fail(error))),
    }
}

async fn there(address: &str, ca: Option<&Path>) -> Result<Stream, Problem> {
    let name = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name).map_err(|error| {
        Problem::from_error(Code::Usage, &error).in_front(format!("`{address}` is no `HOST:PORT`"))
    })?;
    let config = client_config(ca)?;
    let unreachable = |error: io::Error| {
        Problem::from_error(Code::Unavailable, &error).in_front(format!("cannot reach `{address}`"))
    };
    let stream = TcpStream::connect(address).await.map_err(|error| {
        unreachable(error).hint("on that host `vnode daemon --listen ADDRESS:PORT` opens the door")
    })?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let stream =
        tokio_rustls::TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
            unreachable(error).hint(
                "give the daemon's certificate with `--ca` (`api-cert.pem` in its state folder)",
            )
        })?;
    Ok(Stream::Tls(Box::new(stream)))
}

fn client_config(ca: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, Problem> {
    let path = ca
        .or_else(|| SYSTEM_CERTIFICATES.iter().map(Path::new).find(|path| path.exists()))
        .ok_or_else(|| {
            Problem::new(Code::Usage, "this system has no certificates to check the daemon's with")
                .hint("give the daemon's own with `--ca`")
        })?;
    let mut roots = rustls::RootCertStore::empty();
    let unreadable = |error: rustls::pki_types::pem::Error| {
        Problem::from_error(Code::Usage, &error)
            .in_front(format!("cannot read certificates `{}`", path.display()))
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let added = roots.add(certificate.map_err(unreadable)?);
        // A system's bundle may hold one that rustls does not take; the operator's own must be good.
        if let (Err(error), Some(_)) = (added, ca) {
            return Err(Problem::from_error(Code::Usage, &error)
                .in_front(format!("cannot use the certificates in `{}`", path.display())));
        }
    }
    if roots.is_empty() {
        return Err(Problem::new(
            Code::Usage,
            format!("`{}` holds no certificate", path.display()),
        )
        .hint("it is a PEM file, as `api-cert.pem` in the daemon's state folder"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::from_error(Code::Internal, &error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Either way, bytes.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
