//! Exchanges: who may come, what appears later, what breaks.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use rustix::termios::LocalModes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::support::{Agent, Client, PATIENCE};

#[tokio::test]
async fn rq_28_the_unix_socket_is_for_its_user_alone() {
    let agent = Agent::start("");
    drop(agent.stream().await);
    let mode = agent.path("agent.sock").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let python = "/usr/bin/python3";
    if !rustix::process::getuid().is_root() || !Path::new(python).exists() {
        println!("skipped: another user needs root and python3");
    } else {
        // Another user, though the file's mode would let it in.
        let socket = agent.path("agent.sock");
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
        std::fs::set_permissions(agent.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let script = format!(
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect({socket:?}); \
             print(s.makefile('rb').read())"
        );
        let output = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", python, "-c", &script])
            .output()
            .unwrap();
        // The API's 403, and the end of the connection.
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("\"code\":\"forbidden\""), "{output:?}");
    }
}

#[tokio::test]
async fn a_second_agent_does_not_take_the_socket_and_a_dead_ones_is_replaced() {
    let mut agent = Agent::start("");
    let mut other = std::process::Command::new(super::support::PROGRAM)
        .args(["run", "--config"])
        .arg(agent.path("agent.toml"))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(other.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("another process does")));
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(agent.connect().await.call("ping", Value::Null).await.result.unwrap().is_ok());
    // Killed, it leaves its socket; the next takes its place.
    agent.child.kill().unwrap();
    agent.wait();
    assert!(agent.path("agent.sock").exists());
    agent.child = std::process::Command::new(super::support::PROGRAM)
        .args(["run", "--config"])
        .arg(agent.path("agent.toml"))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    agent.wait_for("serving");
    assert!(agent.connect().await.call("ping", Value::Null).await.result.unwrap().is_ok());
}

/// A terminal stands for a serial line: the agent opens the one end, we hold the other.
fn terminal() -> (std::fs::File, String) {
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let ours = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&ours).unwrap();
    let name = rustix::pty::ptsname(&ours, Vec::new()).unwrap();
    (ours.into(), name.into_string().unwrap())
}

#[tokio::test]
async fn a_serial_line_that_appears_later_is_picked_up_and_reopened_after_a_hang_up() {
    let folder = tempfile::tempdir().unwrap();
    let line = folder.path().join("dev/line");
    let agent = Agent::start(&format!(
        "[[channel]]\nname = \"line\"\nexchange = \"isa\"\nparser = \"native\"\nbaud = 115200\npath = {line:?}\n"
    ));
    // Its folder, then the line itself: neither is there at the start.
    std::fs::create_dir(folder.path().join("dev")).unwrap();
    for _ in 0..2 {
        let (ours, name) = terminal();
        std::os::unix::fs::symlink(&name, &line).unwrap();
        // Until the agent has made it raw, the line would echo what we send.
        super::support::eventually("the line is raw", || {
            let modes = rustix::termios::tcgetattr(&ours).unwrap().local_modes;
            !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
        });
        let stream = vnode_agent::exchange::FdStream::new(ours.into()).unwrap();
        let mut client = Client::new(stream);
        assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
        // All bytes pass as they are: no echo, no line ends changed.
        let ended = client.exec(&["printf", "\\n\\r\\003\\004\\021\\377"]).await;
        assert_eq!(ended.stdout, b"\n\r\x03\x04\x11\xff");
        std::fs::remove_file(&line).unwrap();
        drop(client);
    }
    assert!(agent.connect().await.call("ping", Value::Null).await.result.unwrap().is_ok());
}

/// A certificate of its own authority for `localhost`, one for a client, and one that was for a client.
struct Certificates {
    server: rcgen::CertifiedKey<rcgen::KeyPair>,
    client: rcgen::CertifiedKey<rcgen::KeyPair>,
    expired: rcgen::CertifiedKey<rcgen::KeyPair>,
}

fn certificates(folder: &Path) -> Certificates {
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let client = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), server.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), server.signing_key.serialize_pem()).unwrap();
    let mut until_2001 = rcgen::CertificateParams::new(["client".to_owned()]).unwrap();
    until_2001.not_before = rcgen::date_time_ymd(2000, 1, 1);
    until_2001.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let cert = until_2001.self_signed(&signing_key).unwrap();
    let expired = rcgen::CertifiedKey { cert, signing_key };
    // Of authorities that are known, both.
    std::fs::write(folder.join("ca.pem"), client.cert.pem() + &expired.cert.pem()).unwrap();
    std::fs::write(folder.join("token"), "a-token-of-some-length\n").unwrap();
    Certificates { server, client, expired }
}

fn connector(
    server: &rcgen::CertifiedKey<rcgen::KeyPair>,
    client: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>,
) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        Some(client) => {
            let key = client.signing_key.serialize_der();
            let chain = vec![client.cert.der().clone()];
            builder.with_client_auth_cert(chain, key.try_into().unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn rq_28_tls_lets_in_who_has_a_certificate_that_holds_or_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = certificates(folder.path());
    let at = |name: &str| folder.path().join(name);
    // A free port: taken and given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _agent = Agent::start(&format!(
        "[[channel]]\nname = \"tls\"\nexchange = \"tls\"\nparser = \"native\"\n\
         listen = \"127.0.0.1:{port}\"\ncertificate = {:?}\nkey = {:?}\nclient-ca = {:?}\ntoken-file = {:?}\n",
        at("cert.pem"),
        at("key.pem"),
        at("ca.pem"),
        at("token")
    ));
    let connect = async |client: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>| {
        for _ in 0..600 {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
                let connector = connector(&certificates.server, client);
                return connector.connect("localhost".try_into().unwrap(), stream).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the port is not listened at");
    };
    let mut client = Client::new(connect(Some(&certificates.client)).await.unwrap());
    assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
    // In TLS 1.3 a client is done before the server has looked at what it showed.
    let refused = match connect(Some(&certificates.expired)).await {
        Ok(mut stream) => {
            let read = tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap();
            read.expect_err("nothing comes for it")
        }
        Err(error) => error,
    };
    assert!(refused.to_string().contains("CertificateExpired"), "{refused}");
    let mut stream = connect(None).await.unwrap();
    stream.write_all(b"a-token-of-some-length\n").await.unwrap();
    assert!(Client::new(stream).call("ping", Value::Null).await.result.unwrap().is_ok());
    for wrong in ["a-token-of-some-lengtX\n".to_owned(), "x".repeat(600)] {
        let mut stream = connect(None).await.unwrap();
        stream.write_all(wrong.as_bytes()).await.unwrap();
        let mut client = Client::new(stream);
        // The API's 401, of no request, and the end of the connection.
        let ended = client.end(0).await;
        assert_eq!(ended.error()["code"], "unauthorized");
        assert!(
            tokio::time::timeout(PATIENCE, client.reader.next())
                .await
                .unwrap()
                .is_ok_and(|frame| frame.is_none())
        );
    }
}

#[tokio::test]
async fn standard_input_is_a_channel_and_its_end_the_agents() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let config = "defaults = false\n[[channel]]\nname = \"pipe\"\nexchange = \"stdio\"\nparser = \"native\"\n";
    std::fs::write(&file, config).unwrap();
    let mut child = std::process::Command::new(super::support::PROGRAM)
        .args(["run", "--quiet", "--config"])
        .arg(&file)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let frame = |text: Value| {
        let frame = vnode_protocol::frame::Frame::Request(text.to_string().into_bytes());
        vnode_protocol::frame::Tagged { request: 1, frame }.encode()
    };
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &frame(json!({"command": "ping"}))).unwrap();
    let mut answer = [0; 11];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut answer).unwrap();
    assert_eq!(answer[9..], *b"{}");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn one_channel_that_cannot_work_leaves_the_others() {
    let agent = Agent::start(
        "[[channel]]\nname = \"broken\"\nexchange = \"tls\"\nparser = \"native\"\nlisten = \"127.0.0.1:1\"\n\
         certificate = \"/no/cert\"\nkey = \"/no/key\"\ntoken-file = \"/no/token\"\n\
         [[channel]]\nname = \"absent\"\nexchange = \"virtio\"\nparser = \"guest\"\npath = \"/dev/virtio-ports/no.such\"\n",
    );
    assert!(agent.connect().await.call("ping", Value::Null).await.result.unwrap().is_ok());
}
