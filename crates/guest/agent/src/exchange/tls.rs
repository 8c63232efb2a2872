//! A listener for TLS: clients show a certificate of an authority we know, or send a token as their first line.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Connection, ExchangeError, Io, Peer, StreamExchange};
use crate::config::TlsConfig;

/// How long a client may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time; more clients wait in the kernel's queue.
const HANDSHAKES: usize = 8;
/// Longest token, bytes.
const TOKEN_BYTES: usize = 512;
/// Bytes taken from the kernel at a time: rustls itself asks it for four thousand each time, four to five times a record,
/// which costs a tenth of the speed of an upload.
const AT_A_TIME: usize = 64 << 10;

type Stream = TlsStream<BufReader<TcpStream>>;
type Shaken = io::Result<(Stream, Option<String>)>;

/// The exchange.
pub struct Tls {
    config: TlsConfig,
    refusal: Arc<[u8]>,
    listening: Option<Listening>,
}

struct Listening {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    token: Option<Arc<Vec<u8>>>,
    shaking: JoinSet<Shaken>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("listen", &self.config.listen).finish_non_exhaustive()
    }
}

impl Tls {
    pub fn new(config: TlsConfig) -> Self {
        Self { config, refusal: Arc::default(), listening: None }
    }

    /// What is said to a client whose token is not ours, before the connection is closed; by default nothing.
    #[must_use]
    pub fn refusing(self, refusal: Vec<u8>) -> Self {
        Self { refusal: refusal.into(), ..self }
    }

    fn acceptor(&self) -> Result<TlsAcceptor, ExchangeError> {
        let wrong = |path: &Path, error: &dyn fmt::Display| ExchangeError::Config {
            exchange: self.name(),
            reason: format!("`{}`: {error}", path.display()),
        };
        let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, ExchangeError> {
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| wrong(path, &error))
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&self.config.certificate, &error))?;
        let builder = match &self.config.client_ca {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| wrong(path, &error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                // With a token beside it, a client may come without a certificate.
                let verifier = match self.config.token_file {
                    Some(_) => verifier.allow_unauthenticated(),
                    None => verifier,
                };
                builder.with_client_cert_verifier(
                    verifier.build().map_err(|error| wrong(path, &error))?,
                )
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_file(&self.config.key)
            .map_err(|error| wrong(&self.config.key, &error))?;
        let config = builder
            .with_single_cert(certificates(&self.config.certificate)?, key)
            .map_err(|error| wrong(&self.config.certificate, &error))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn token(&self) -> Result<Option<Arc<Vec<u8>>>, ExchangeError> {
        let Some(path) = &self.config.token_file else { return Ok(None) };
        let wrong = |reason: String| ExchangeError::Config { exchange: self.name(), reason };
        let text = std::fs::read(path)
            .map_err(|error| wrong(format!("cannot read `{}`: {error}", path.display())))?;
        let token = text.trim_ascii().to_vec();
        if token.len() < 16 || token.len() > TOKEN_BYTES {
            let path = path.display();
            return Err(wrong(format!("`{path}` holds no token of 16 to {TOKEN_BYTES} bytes")));
        }
        Ok(Some(Arc::new(token)))
    }
}

/// Whether the client has shown who it is, and as whom.
async fn shake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    token: Option<Arc<Vec<u8>>>,
    refusal: Arc<[u8]>,
) -> Shaken {
    let shaking = async {
        // Credit and answers are small, and somebody waits for each.
        stream.set_nodelay(true)?;
        let stream = BufReader::with_capacity(AT_A_TIME, stream);
        let mut stream = acceptor.accept(stream).await?;
        if let Some([certificate, ..]) = stream.get_ref().1.peer_certificates() {
            // As `openssl x509 -fingerprint -sha256` has it, without its colons.
            let digest: String =
                Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((stream, Some(format!("certificate sha256:{digest}"))));
        }
        let Some(token) = token else {
            // The verifier lets nobody pass without a certificate; should it ever, we do not.
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        };
        let mut line = Vec::with_capacity(TOKEN_BYTES);
        // One that is longer is wrong as well.
        while line.len() <= TOKEN_BYTES {
            match stream.read_u8().await? {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        let line = line.trim_ascii_end();
        // Takes as long wherever the first difference is.
        let differ = line.len() != token.len()
            || line.iter().zip(token.iter()).fold(0, |all, (a, b)| all | (a ^ b)) != 0;
        if differ {
            stream.write_all(&refusal).await?;
            stream.shutdown().await?;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok((stream, None))
    };
    tokio::time::timeout(HANDSHAKE, shaking).await?
}

impl StreamExchange for Tls {
    fn name(&self) -> String {
        format!("tls:{}", self.config.listen)
    }

    fn open(&mut self) -> BoxFuture<'_, Result<(), ExchangeError>> {
        Box::pin(async {
            self.listening = None;
            let (acceptor, token) = (self.acceptor()?, self.token()?);
            let listener = TcpListener::bind(self.config.listen).await.map_err(|source| {
                ExchangeError::Io { exchange: self.name(), action: "listen", source }
            })?;
            let shaking = JoinSet::new();
            self.listening = Some(Listening { listener, acceptor, token, shaking });
            Ok(())
        })
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Connection, ExchangeError>> {
        Box::pin(async {
            let exchange = self.name();
            let failed =
                |source| ExchangeError::Io { exchange: exchange.clone(), action: "accept", source };
            let Some(listening) = &mut self.listening else {
                return Err(failed(io::ErrorKind::NotConnected.into()));
            };
            loop {
                let room = listening.shaking.len() < HANDSHAKES;
                tokio::select! {
                    Some(shaken) = listening.shaking.join_next() => match shaken {
                        Ok(Ok((stream, subject))) => {
                            let peer = Peer::Tls { subject };
                            return Ok(Connection { stream: Box::new(stream), peer });
                        }
                        Ok(Err(error)) => {
                            tracing::warn!(exchange, %error, "a client did not show who it is");
                        }
                        Err(error) => tracing::error!(exchange, %error, "a handshake broke"),
                    },
                    accepted = listening.listener.accept(), if room => {
                        let (stream, _) = accepted.map_err(failed)?;
                        let token = listening.token.clone();
                        let (acceptor, refusal) =
                            (listening.acceptor.clone(), Arc::clone(&self.refusal));
                        listening.shaking.spawn(shake(acceptor, stream, token, refusal));
                    }
                }
            }
        })
    }
}

impl Io for Stream {}
