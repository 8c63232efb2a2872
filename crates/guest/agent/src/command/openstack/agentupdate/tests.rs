use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use serde_json::json;

use super::*;
use crate::command::{Class, CommandSet, Policy, Registry};

/// Of the key that the archives beside this file are signed by. Each is a few bytes of tar, made by hand.
const KEY: &str = "RWR2bm9kZXRzdPSCFIsj4yj8VQKYf3N5jtfdanes3VYOcyq28w4XMHhH";

/// Names and contents of the archives and their signatures.
macro_rules! archives {
    ($($name:literal),+ $(,)?) => {
        &[$(
            ($name, include_bytes!(concat!("archives/", $name)).as_slice()),
            (concat!($name, ".minisig"), include_bytes!(concat!("archives/", $name, ".minisig")).as_slice()),
        )+]
    };
}

const ARCHIVES: &[(&str, &[u8])] = archives!(
    "good.tar.gz",
    "below.tar.gz",
    "fails.tar.gz",
    "none.tar.gz",
    "climbing.tar.gz",
    "absolute.tar.gz",
    "link.tar.gz",
    "device.tar.gz",
    "no.archive",
);

struct Guest {
    dir: tempfile::TempDir,
    context: Context,
    commands: Arc<CommandSet>,
}

impl Guest {
    fn new() -> Self {
        Self::with(json!({}))
    }

    /// With these settings beside the usual ones.
    fn with(more: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("srv/sub")).unwrap();
        for (name, bytes) in ARCHIVES {
            fs::write(dir.path().join("srv").join(name), bytes).unwrap();
        }
        let mut settings = json!({
            "key": KEY, "local": "/srv", "binary": "/vnode-agent", "restart": ["true"],
        });
        for (name, value) in more.as_object().unwrap() {
            settings[name] = value.clone();
        }
        settings.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let context =
            Context::builder(dir.path()).options("agentupdate", settings).build().unwrap();
        let policy = Policy { allow: Some(vec!["agentupdate".to_owned()]), ..Policy::default() };
        let commands = Arc::new(Registry::built_in().for_form(Form::Openstack, &policy));
        Self { dir, context, commands }
    }

    async fn call(&self, value: Value) -> Result<usize, CommandError> {
        let called = self.commands.call(&self.context, "agentupdate", value).await;
        called.result.map(|value| {
            assert_eq!(value, "");
            called.after.len()
        })
    }

    /// By its name, with the right checksum, in the form H uses today.
    async fn update(&self, name: &str) -> Result<usize, CommandError> {
        let bytes = ARCHIVES.iter().find(|(other, _)| *other == name).unwrap().1;
        self.call(json!(format!("file:///srv/{name},{}", md5_of(bytes)))).await
    }

    async fn fails(&self, value: Value) -> String {
        self.call(value).await.unwrap_err().message().to_owned()
    }
}

fn md5_of(bytes: &[u8]) -> String {
    md5::Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// R-U1.
#[tokio::test]
async fn it_is_off_unless_it_is_allowed_by_name() {
    let guest = Guest::new();
    let commands = Registry::built_in().for_form(Form::Openstack, &Policy::default());
    let called = commands.call(&guest.context, "agentupdate", json!("a,b")).await;
    assert_eq!(called.result.unwrap_err().class(), Class::Disabled, "answered with 404");
}

/// UP-1: the file is fetched, whole, and the agent is replaced after the answer.
#[tokio::test]
async fn up_1_a_signed_archive_is_taken() {
    for name in ["good.tar.gz", "below.tar.gz"] {
        let guest = Guest::new();
        assert_eq!(guest.update(name).await.unwrap(), 1, "something is done after the answer");
        let kept = guest.dir.path().join("var/lib/vnode-agent/update").join(name);
        assert_eq!(
            md5_of(&fs::read(kept).unwrap()),
            md5_of(ARCHIVES.iter().find(|(n, _)| *n == name).unwrap().1)
        );
    }
    let guest = Guest::new();
    let value =
        json!({"url": "file:///srv/good.tar.gz", "md5sum": md5_of(ARCHIVES[0].1).to_uppercase()});
    assert_eq!(guest.call(value).await.unwrap(), 1, "the older form");
}

#[tokio::test]
async fn up_2_a_wrong_checksum() {
    let guest = Guest::new();
    let text = guest.fails(json!("file:///srv/good.tar.gz,bogus")).await;
    assert_eq!(text, format!("MD5 sums do not match (bogus != {})", md5_of(ARCHIVES[0].1)));
}

#[tokio::test]
async fn up_3_the_table_of_answers() {
    let guest = Guest::new();
    for value in [json!(5), json!(null), json!(["a,b"])] {
        assert_eq!(guest.fails(value).await, "Invalid arguments");
    }
    for value in [
        json!({}),
        json!({"url": "a/b.c"}),
        json!({"md5sum": "x"}),
        json!({"url": 1, "md5sum": "x"}),
    ] {
        let text = "Missing URL or MD5 sum in dictionary arguments";
        assert_eq!(guest.fails(value).await, text);
    }
    assert_eq!(guest.fails(json!("no-comma")).await, "need more than 1 value to unpack");
    for url in [
        "nourl",
        "https://host/nodot",
        "https://host/a.b/",
        "file:///srv/a b.c",
        "https://h/x.y?q=1",
    ] {
        assert_eq!(guest.fails(json!(format!("{url},0"))).await, "Invalid URL", "{url}");
    }
    assert!(
        guest
            .fails(json!("file:///srv/absent.tar,0"))
            .await
            .starts_with("file:///srv/absent.tar: ")
    );
    let text = guest.update("no.archive").await.unwrap_err().message().to_owned();
    assert!(text.contains("no.archive: "), "{text}");
    let text = guest.update("fails.tar.gz").await.unwrap_err().message().to_owned();
    assert_eq!(text, "Agent installer script failed: exit code 3");
    let text = guest.update("none.tar.gz").await.unwrap_err().message().to_owned();
    assert!(text.contains("no `vnode-agent`"), "{text}");
    let error = Guest::with(json!({"restart": null})).update("good.tar.gz").await.unwrap_err();
    assert_eq!((error.message(), error.code()), ("No init script found to restart", Some("404")));
}

/// R-U3.
#[tokio::test]
async fn up_3_archives_that_climb() {
    for name in ["climbing.tar.gz", "absolute.tar.gz", "link.tar.gz", "device.tar.gz"] {
        let guest = Guest::new();
        let text = guest.update(name).await.unwrap_err().message().to_owned();
        assert!(text.contains(name), "{text}");
        assert!(!guest.dir.path().join("var/lib/vnode-agent/update/x").exists());
    }
}

/// R-U2.
#[tokio::test]
async fn up_3_what_is_not_signed_is_not_taken() {
    let refused = "Signature check failed";
    let other = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    for key in [json!(null), json!(other), json!("nonsense")] {
        let guest = Guest::with(json!({ "key": key }));
        assert_eq!(guest.update("good.tar.gz").await.unwrap_err().message(), refused);
    }
    let guest = Guest::new();
    let srv = guest.dir.path().join("srv");
    fs::copy(srv.join("below.tar.gz.minisig"), srv.join("good.tar.gz.minisig")).unwrap();
    assert_eq!(guest.update("good.tar.gz").await.unwrap_err().message(), refused);
    fs::remove_file(srv.join("good.tar.gz.minisig")).unwrap();
    assert_eq!(guest.update("good.tar.gz").await.unwrap_err().message(), refused);
}

#[tokio::test]
async fn up_3_where_it_may_come_from() {
    let guest = Guest::new();
    fs::write(guest.dir.path().join("secret.x"), "x").unwrap();
    std::os::unix::fs::symlink("../secret.x", guest.dir.path().join("srv/link.x")).unwrap();
    for url in [
        "file:///secret.x",
        "file:///srv/../secret.x",
        "file:///srv/link.x",
        "file://host/srv/good.tar.gz",
        "http://127.0.0.1:1/a.b",
        "ftp://127.0.0.1/a.b",
        "https://user@127.0.0.1/a.b",
    ] {
        let text = guest.fails(json!(format!("{url},0"))).await;
        assert!(text.starts_with(url), "{text}");
    }
    let closed = Guest::with(json!({"local": null}));
    assert!(closed.update("good.tar.gz").await.unwrap_err().message().contains("file: ones below"));
    let small = Guest::with(json!({"max-bytes": 10}));
    assert!(
        small.update("good.tar.gz").await.unwrap_err().message().contains("more than 10 bytes")
    );
}

/// A server with a certificate of our own authority, and one with another's.
#[tokio::test]
async fn up_1_by_https_from_a_server_whose_certificate_holds() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let name = text.split_whitespace().nth(1).unwrap().rsplit('/').next().unwrap();
            let answer = match ARCHIVES.iter().find(|(other, _)| *other == name) {
                Some((_, bytes)) => {
                    let head =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                    [head.as_bytes(), bytes].concat()
                }
                None => b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec(),
            };
            stream.write_all(&answer).await.unwrap();
            // The client may have all and be gone.
            let _ = stream.shutdown().await;
        }
    });
    let ask = async |guest: &Guest, name: &str| {
        guest
            .call(json!(format!("https://localhost:{port}/{name},{}", md5_of(ARCHIVES[0].1))))
            .await
    };
    let guest = Guest::with(json!({"certificates": "/ca.pem"}));
    fs::write(guest.dir.path().join("ca.pem"), made.cert.pem()).unwrap();
    assert_eq!(ask(&guest, "good.tar.gz").await.unwrap(), 1);
    let error = ask(&guest, "absent.tar.gz").await.unwrap_err();
    assert!(error.message().contains("404 Not Found"), "{error}");
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(guest.dir.path().join("ca.pem"), stranger.cert.pem()).unwrap();
    let error = ask(&guest, "good.tar.gz").await.unwrap_err();
    assert!(error.message().to_lowercase().contains("certificate"), "{error}");
    let bare = Guest::new();
    let error = ask(&bare, "good.tar.gz").await.unwrap_err();
    assert!(error.message().contains("no certificates"), "{error}");
    server.abort();
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// R-U4.
#[tokio::test]
async fn a_new_version_takes_the_place_of_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let (new, binary) = (dir.path().join("unpacked"), dir.path().join("agent"));
    script(&new, "echo new");
    script(&binary, "echo old");
    finish(&new, &binary, &["true".to_owned()]).await.unwrap();
    assert!(fs::read_to_string(&binary).unwrap().contains("new"));
    assert!(fs::read_to_string(dir.path().join("agent.old")).unwrap().contains("old"));
    assert_eq!(fs::metadata(&binary).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[tokio::test]
async fn a_new_version_that_does_not_come_up_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (new, binary) = (dir.path().join("unpacked"), dir.path().join("agent"));
    let restart = dir.path().join("restart");
    script(&new, "exit 1");
    script(&binary, "exit 0 # old");
    // Succeeds when the program in place does.
    script(&restart, &format!("echo >> {0}/restarts; exec {0}/agent", dir.path().display()));
    let error = finish(&new, &binary, &[restart.display().to_string()]).await.unwrap_err();
    assert!(error.contains("the old version is back") && !error.contains("not start"), "{error}");
    assert!(fs::read_to_string(&binary).unwrap().contains("old"));
    assert_eq!(fs::read_to_string(dir.path().join("restarts")).unwrap(), "\n\n");
}
