use super::*;

/// `VNODE_REWRITE=1` writes the document instead of comparing it.
#[test]
fn the_committed_document_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/reference/openapi.json");
    let current = openapi_json();
    if std::env::var_os("VNODE_REWRITE").is_some() {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == current,
        "docs/reference/openapi.json is not current: run this test with VNODE_REWRITE=1"
    );
}

#[test]
fn every_error_status_in_the_document_has_the_one_form() {
    let document: serde_json::Value = serde_json::from_str(&openapi_json()).unwrap();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(responses) = operation["responses"].as_object() else { continue };
            for (status, response) in responses {
                if status.starts_with('4') || status.starts_with('5') {
                    let form = &response["content"]["application/json"]["schema"]["$ref"];
                    assert_eq!(form, "#/components/schemas/Problem", "{method} {path} {status}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 20);
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    fn references(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                if let Some(reference) = map.get("$ref").and_then(|value| value.as_str()) {
                    found.push(reference.to_owned());
                }
                map.values().for_each(|value| references(value, found));
            }
            serde_json::Value::Array(list) => {
                list.iter().for_each(|value| references(value, found));
            }
            _ => {}
        }
    }
    let document: serde_json::Value = serde_json::from_str(&openapi_json()).unwrap();
    let mut found = vec![];
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

/// A daemon's door without a daemon: one route behind it, over the unix socket and over TLS.
struct Served {
    dir: tempfile::TempDir,
    address: std::net::SocketAddr,
    certificate: std::path::PathBuf,
    tokens: Arc<Tokens>,
    stop: tokio_util::sync::CancellationToken,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Arc::new(Tokens::open(&dir.path().join("tokens.json")).unwrap());
        let files =
            crate::tls::CertificateFiles::ensure_in(dir.path(), &["127.0.0.1".into()]).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let unix = crate::socket::listen(&dir.path().join(crate::socket::NAME)).unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let never = async |request: Request| {
            // A stream that only the end of the daemon ends.
            drop(request);
            let pieces = futures_util::stream::once(async { Ok::<_, std::io::Error>("first") });
            let pieces = futures_util::StreamExt::chain(pieces, futures_util::stream::pending());
            axum::body::Body::from_stream(pieces)
        };
        let router = Router::new()
            .route("/v1/health", get(machine::health))
            .route("/never", get(never))
            .fallback(nowhere)
            .layer(DefaultBodyLimit::max(SMALL_BODY));
        let router = guarded(
            router,
            Door {
                tokens: Arc::clone(&tokens),
                metrics: Arc::new(Metrics::new()),
                busy: Arc::default(),
            },
        );
        let listeners =
            crate::Listeners { unix: vec![unix], tcp: vec![(tcp, files.server_config().unwrap())] };
        let ended = tokio::spawn(crate::serve(router, listeners, stop.clone()));
        Self { dir, address, certificate: files.certificate, tokens, stop, ended }
    }

    /// One request over TLS; the whole answer.
    async fn ask_tls(&self, path: &str, token: Option<&str>) -> String {
        use rustls::pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(rustls::pki_types::CertificateDer::from_pem_file(&self.certificate).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        ask(stream.unwrap(), path, token).await
    }

    async fn ask_unix(&self, path: &str) -> String {
        let stream = crate::socket::connect(&self.dir.path().join(crate::socket::NAME)).unwrap();
        stream.set_nonblocking(true).unwrap();
        ask(tokio::net::UnixStream::from_std(stream).unwrap(), path, None).await
    }
}

/// Sends a request that closes the connection, and reads to its end.
async fn ask(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    path: &str,
    token: Option<&str>,
) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: vnode\r\nConnection: close\r\n{}\r\n",
        token.unwrap_or_default()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A TLS peer that closes without its farewell is an error to rustls; the bytes are all there.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn over_tls_a_request_needs_a_token_and_over_the_socket_it_does_not() {
    let served = Served::new();
    assert!(served.ask_unix("/v1/health").await.starts_with("HTTP/1.1 200"));

    let answer = served.ask_tls("/v1/health", None).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.contains("\"code\":\"unauthorized\""), "{answer}");
    let answer = served.ask_tls("/v1/health", Some("vnode_0000")).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");

    let made = served.tokens.create("test", 0).unwrap();
    let answer = served.ask_tls("/v1/health", Some(&made.token)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    served.tokens.remove("test").unwrap();
    let answer = served.ask_tls("/v1/health", Some(&made.token)).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn what_is_no_route_is_answered_in_the_one_form() {
    let served = Served::new();
    let answer = served.ask_unix("/v1/nothing").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let problem: Problem = serde_json::from_str(body).unwrap();
    assert_eq!(problem.code, Code::NotFound);
    assert!(!problem.hints.is_empty());
}

#[tokio::test]
async fn plain_bytes_to_the_tls_port_and_garbage_to_the_socket_harm_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let served = Served::new();
    let mut plain = tokio::net::TcpStream::connect(served.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = vec![];
    drop(plain.read_to_end(&mut rest).await);
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    let path = served.dir.path().join(crate::socket::NAME);
    let mut garbage = tokio::net::UnixStream::connect(path).await.unwrap();
    garbage.write_all(&[0xff; 100_000]).await.ok();
    drop(garbage);
    assert!(served.ask_unix("/v1/health").await.starts_with("HTTP/1.1 200"));
}

/// The end waits for running requests, but not for ever for one that nobody ends.
#[tokio::test(start_paused = true)]
async fn stopping_ends_connections_that_do_not_end_by_themselves() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let served = Served::new();
    let path = served.dir.path().join(crate::socket::NAME);
    let mut idle = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut busy = tokio::net::UnixStream::connect(&path).await.unwrap();
    busy.write_all(b"GET /never HTTP/1.1\r\nHost: v\r\n\r\n").await.unwrap();
    let mut bytes = [0; 12];
    busy.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"HTTP/1.1 200");
    served.stop.cancel();
    assert!(served.ended.await.unwrap().is_ok());
    let mut rest = vec![];
    assert_eq!(idle.read_to_end(&mut rest).await.unwrap_or(0), 0);
}
