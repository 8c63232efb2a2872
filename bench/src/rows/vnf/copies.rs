//! Files to and from the request service over TLS, beside a plain copy over TLS: the same library, bytes and loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use vnode_testkit::eventually;

use crate::rows::agent::client::Native;
use crate::table::{Table, median};

const MIB: usize = 1 << 20;
/// The file; it lies in memory, for it is not the disk that is measured.
const SIZE: usize = 128 * MIB;
const PIECE: usize = 256 << 10;
const ROUNDS: usize = 5;
/// What the service is to reach of a plain copy.
const SHARE: f64 = 0.8;
const TOKEN: &str = "a-token-of-some-length";

/// Both ends of a TLS connection to `localhost`.
struct Ends {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Ends {
    /// With a certificate of their own, which is written down for the service too.
    fn new(dir: &Path) -> Ends {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate can be made");
        std::fs::write(dir.join("cert.pem"), made.cert.pem()).expect("it is writable");
        let key = made.signing_key.serialize_pem();
        std::fs::write(dir.join("key.pem"), key).expect("it is writable");
        std::fs::write(dir.join("token"), TOKEN).expect("it is writable");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let chain = vec![made.cert.der().clone()];
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("it is a certificate");
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ends { server: Arc::new(server.expect("they belong together")), client: Arc::new(client) }
    }

    fn connect(&self, port: u16) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_nodelay(true).expect("it can be set");
        let name = "localhost".try_into().expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.client), name);
        StreamOwned::new(connection.expect("the configuration is whole"), stream)
    }

    /// A plain copy from (`out`) or to a file at the other end, by a thread; how long it took.
    fn plain(&self, path: &Path, piece: &[u8], out: bool) -> f64 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has one").port();
        let (config, path) = (Arc::clone(&self.server), path.to_owned());
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client comes");
            stream.set_nodelay(true).expect("it can be set");
            let connection = ServerConnection::new(config).expect("the configuration is whole");
            let mut stream = StreamOwned::new(connection, stream);
            if out {
                let mut file = std::fs::File::open(path).expect("the file is there");
                copy(&mut file, &mut stream);
            } else {
                let mut file = std::fs::File::create(path).expect("memory has room");
                copy(&mut stream, &mut file);
                stream.write_all(b"done").expect("the client reads");
            }
            stream.conn.send_close_notify();
            stream.flush().expect("the client reads");
        });
        let mut stream = self.connect(port);
        let begun = Instant::now();
        if out {
            copy(&mut stream, &mut std::io::sink());
        } else {
            for _ in 0..SIZE / piece.len() {
                stream.write_all(piece).expect("the server reads");
            }
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).expect("the server answers");
        }
        let took = begun.elapsed().as_secs_f64();
        server.join().expect("the server ends");
        took
    }
}

/// A whole file's bytes, a piece at a time.
fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = vec![0; PIECE];
    let mut done = 0;
    while done < SIZE {
        let count = from.read(&mut buffer).expect("it can be read");
        assert!(count > 0, "the whole file comes");
        to.write_all(&buffer[..count]).expect("it can be written");
        done += count;
    }
}

/// The service with a TLS channel; ends with the value.
struct Agent(Child);

impl Agent {
    fn start(program: &Path, dir: &Path) -> (Agent, u16) {
        // A free port: taken and given back.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr());
        let port = port.expect("a port is free").port();
        let config = format!(
            "defaults = false\n[log]\nlevel = \"warn\"\n[[channel]]\nname = \"tls\"\nexchange = \"tls\"\n\
             parser = \"native\"\nlisten = \"127.0.0.1:{port}\"\ncertificate = {:?}\nkey = {:?}\n\
             token-file = {:?}\n",
            dir.join("cert.pem"),
            dir.join("key.pem"),
            dir.join("token")
        );
        std::fs::write(dir.join("tls.toml"), config).expect("it is writable");
        let mut command = Command::new(program);
        command.args(["run", "--quiet", "--config"]).arg(dir.join("tls.toml"));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        eventually("the agent listens", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        (Agent(child), port)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("it is ours");
    }
}

/// Files of this run that lie in memory.
struct InMemory(PathBuf, PathBuf);

impl Drop for InMemory {
    fn drop(&mut self) {
        for path in [&self.0, &self.1] {
            // The second one is there only when something was copied to it.
            let _ = std::fs::remove_file(path);
        }
    }
}

pub(super) fn measure(table: &mut Table, dir: &Path, program: &Path) {
    let ends = Ends::new(dir);
    let (_agent, port) = Agent::start(program, dir);
    let place = std::env::var("VNODE_BENCH_FILES").unwrap_or_else(|_| "/dev/shm".to_owned());
    let name = |what: &str| format!("{place}/vnode-bench-{what}-{}", std::process::id()).into();
    let files = InMemory(name("from"), name("to"));
    let piece: Vec<u8> = (0..PIECE).map(|n| (n * 31 % 251) as u8).collect();
    let mut file = std::fs::File::create(&files.0).expect("/dev/shm is writable");
    for _ in 0..SIZE / PIECE {
        file.write_all(&piece).expect("/dev/shm has room");
    }
    drop(file);
    let connect = || {
        let mut stream = ends.connect(port);
        stream.write_all(format!("{TOKEN}\n").as_bytes()).expect("the agent reads");
        Native::over(stream)
    };
    let rate = |seconds: f64| SIZE as f64 / MIB as f64 / seconds;
    let (mut ours, mut plain) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        let mut client = connect();
        let begun = Instant::now();
        assert_eq!(client.get(&files.0), SIZE, "the whole file comes");
        ours[0].push(rate(begun.elapsed().as_secs_f64()));
        plain[0].push(rate(ends.plain(&files.0, &piece, true)));
        let mut client = connect();
        let begun = Instant::now();
        client.put(&files.1, (0..SIZE / PIECE).map(|_| &piece[..]));
        ours[1].push(rate(begun.elapsed().as_secs_f64()));
        let length = files.1.metadata().expect("it is there").len();
        assert_eq!(length, SIZE as u64, "the whole file has come");
        plain[1].push(rate(ends.plain(&files.1, &piece, false)));
    }
    for (what, ours, plain) in [("from", &ours[0], &plain[0]), ("to", &ours[1], &plain[1])] {
        let (own, other) = (median(ours), median(plain));
        table.row(
            &format!("vnf: a file of {} MiB {what} the request service over TLS", SIZE / MIB),
            &format!("{own:.0} MiB/s"),
            &format!("a plain copy over TLS: {other:.0} MiB/s; {:.2} of it", own / other),
            "at least 0.8 of a plain copy over TLS",
            Some(own >= SHARE * other),
            serde_json::json!({ "ours_mib_s": ours, "plain_mib_s": plain }),
        );
    }
}
