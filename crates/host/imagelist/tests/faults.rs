//! What goes wrong around a download: servers in the middle of a file, proxies, the disk.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod common;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use common::server::{Server, Trick, bytes, fetch, forget, job, left, options};
use tokio_util::sync::CancellationToken;
use vnode_imagelist::{
    download::{DownloadError, DownloadOptions, Downloader, Job, Progress, Unpack},
    fetch::{ClientOptions, Fetch, Fetched, HttpFetch, Request},
    record::Validators,
};

#[tokio::test]
async fn w14_servers_that_stall_and_lie_in_the_middle_of_a_file() {
    let (server, folder, file) = (Server::new().await, tempfile::tempdir().unwrap(), bytes(90_000));
    let never = CancellationToken::new();
    let quick =
        DownloadOptions { stall_limit: Duration::from_millis(500), retries: 30, ..options() };
    let downloader = Downloader::new(quick).unwrap();
    // Silent in the middle: left, and gone on with.
    let uri = server.put("/stalls", &file, &[Trick::StallAt(30_000), Trick::StallAt(30_000)]);
    let found = downloader.fetch(&job(&[&uri], &file), folder.path(), &(), &never).await.unwrap();
    assert!(found.resumed >= 30_000, "{}", found.resumed);
    forget(folder.path());
    // The right range with wrong bytes in it: the whole is fetched once more, from the begin.
    let uri = server.put("/lies", &file, &[Trick::Cut(20_000), Trick::WrongBytes]);
    let found = downloader.fetch(&job(&[&uri], &file), folder.path(), &(), &never).await.unwrap();
    assert_eq!(found.resumed, 0);
    let seen = server.seen();
    let ranges: Vec<_> = seen.iter().filter(|s| s.0 == "/lies").map(|s| s.1.clone()).collect();
    assert_eq!(ranges, [None, Some("bytes=20000-".to_owned()), None]);
    forget(folder.path());
    // Fewer bytes than the list says, as the whole: nothing is left of them.
    let uri = server.put("/short", &file, &[Trick::Short]);
    let error = fetch(&job(&[&uri], &file), folder.path()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Size { found: 89_999, .. }), "{error}");
    assert!(left(folder.path()).is_empty());
    // Another file each time it is asked.
    let uri = server.put("/changes", &file, &[Trick::Cut(9), Trick::Changed]);
    let error = fetch(&job(&[&uri], &file), folder.path()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Hash { .. }), "{error}");
    assert!(left(folder.path()).is_empty());
}

#[tokio::test]
async fn a_proxy_is_asked_for_everything_but_the_loopback() {
    let (server, folder, file) = (Server::new().await, tempfile::tempdir().unwrap(), bytes(5000));
    let through =
        |proxy: &str| ClientOptions { proxy: Some(proxy.to_owned()), ..ClientOptions::default() };
    let never = CancellationToken::new();
    // No such host is there: only the proxy can have the file, under its whole address.
    let far = "http://images.example.invalid/i";
    server.put(far, &file, &[]);
    let client = through(&server.base);
    let downloader = Downloader::new(DownloadOptions { client, ..options() }).unwrap();
    downloader.fetch(&job(&[far], &file), folder.path(), &(), &never).await.unwrap();
    let list = "http://lists.example.invalid/image.list";
    server.put(list, b"a list", &[]);
    let request = Request {
        uri: list.to_owned(),
        credential: None,
        key: None,
        validators: Validators::default(),
    };
    let fetched = HttpFetch::new(&through(&server.base)).unwrap().fetch(&request).await.unwrap();
    assert!(matches!(fetched, Fetched::Message { bytes, .. } if bytes == b"a list"));
    forget(folder.path());
    // Nobody listens where this proxy should be.
    let near = server.put("/i", &file, &[]);
    let client = through("http://192.0.2.1:9");
    let downloader = Downloader::new(DownloadOptions { client, ..options() }).unwrap();
    downloader.fetch(&job(&[&near], &file), folder.path(), &(), &never).await.unwrap();
    assert!(HttpFetch::new(&through("no proxy")).is_err());
}

#[tokio::test]
async fn a_bandwidth_is_kept_by_all_downloads_together() {
    let (server, folder, file) = (Server::new().await, tempfile::tempdir().unwrap(), bytes(60_000));
    let uri = server.put("/i", &file, &[]);
    let limit = DownloadOptions { bandwidth: Some(120_000), at_once: 2, ..options() };
    let downloader = Downloader::new(limit).unwrap();
    let never = CancellationToken::new();
    let begun = Instant::now();
    let both = [0, 1].map(|n| {
        let job = Job { name: format!("image-{n}"), ..job(&[&uri], &file) };
        let (downloader, folder, never) = (&downloader, folder.path(), &never);
        async move { downloader.fetch(&job, folder, &(), never).await.unwrap() }
    });
    futures_util::future::join_all(both).await;
    // Never sooner, however busy this machine is.
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}

/// Takes what room is left when the first bytes have come.
struct Hog<'a> {
    folder: &'a Path,
    bytes: usize,
    done: AtomicBool,
}

impl Progress for Hog<'_> {
    fn at(&self, _here: u64, _of: u64) {
        if !self.done.swap(true, Ordering::SeqCst) {
            fs::write(self.folder.join("hog"), vec![1; self.bytes]).unwrap();
        }
    }
}

#[test]
fn a_disk_that_fills_up_keeps_what_arrived() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting wants root");
        return;
    }
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    let top = tempfile::tempdir().unwrap();
    let folder = top.path().to_owned();
    // A thread with mounts of its own; those it starts inherit them.
    let test = std::thread::spawn(move || {
        // SAFETY: only this thread's mount namespace and working directory become its own; it ends with the test.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
        mount("tmpfs", &folder, "tmpfs", MountFlags::empty(), Some(c"size=4m")).unwrap();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(filled_up(&folder));
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

async fn filled_up(folder: &Path) {
    let (server, file) = (Server::new().await, bytes(3 << 20));
    let never = CancellationToken::new();
    let downloader = Downloader::new(options()).unwrap();
    let uri = server.put("/i", &file, &[]);
    let hog = Hog { folder, bytes: 2 << 20, done: AtomicBool::new(false) };
    let error = downloader.fetch(&job(&[&uri], &file), folder, &hog, &never).await.unwrap_err();
    assert!(vnode_protocol::chain(&error).contains("No space left"), "{error:?}");
    // With less room than it needs it is not even begun.
    let error = downloader.fetch(&job(&[&uri], &file), folder, &(), &never).await.unwrap_err();
    assert!(matches!(error, DownloadError::Space { .. }), "{error}");
    fs::remove_file(folder.join("hog")).unwrap();
    let found = downloader.fetch(&job(&[&uri], &file), folder, &(), &never).await.unwrap();
    assert!(found.resumed > 0, "what had arrived is gone on with");
    forget(folder);
    // What is packed in it is larger than the disk: all of it goes again.
    let packed = zstd::encode_all(&vec![7; 64 << 20][..], 1).unwrap();
    let uri = server.put("/packed", &packed, &[]);
    let unpack = Some(Unpack { path: folder.join("out"), max_bytes: 1 << 30 });
    let job = Job { unpack, ..job(&[&uri], &packed) };
    let error = downloader.fetch(&job, folder, &(), &never).await.unwrap_err();
    assert!(vnode_protocol::chain(&error).contains("No space left"), "{error:?}");
    assert!(!folder.join("out").exists(), "{:?}", left(folder));
}

#[tokio::test]
async fn w01_an_address_is_never_a_command() {
    let (server, folder, file) = (Server::new().await, tempfile::tempdir().unwrap(), bytes(5000));
    let trap = folder.path().join("trap");
    // Everything a shell would act on is a part of the path.
    let uri = server.put(&format!("/i;touch$(touch)&&touch|{}", trap.display()), &file, &[]);
    let piped = uri.replace('|', "%7C");
    server.put(&piped[server.base.len()..], &file, &[]);
    fetch(&job(&[&uri], &file), folder.path()).await.unwrap();
    forget(folder.path());
    for refused in [
        "http://127.0.0.1/i touch".to_owned(),
        "http://127.0.0.1/i\ntouch".to_owned(),
        "--output-document=/etc/passwd".to_owned(),
        format!("ftp://127.0.0.1/{}", trap.display()),
        "file://elsewhere/etc/passwd".to_owned(),
        "http://user:word@127.0.0.1/i".to_owned(),
    ] {
        let error = fetch(&job(&[&refused], &file), folder.path()).await.unwrap_err();
        assert!(error.to_string().contains("no address"), "{refused}: {error}");
    }
    assert!(!trap.exists() && left(folder.path()).is_empty());
}

/// Serves one body to everybody who believes a certificate that nobody signed; the certificate, and the address.
fn tls(body: Vec<u8>) -> (Vec<u8>, String) {
    use openssl::{
        asn1::Asn1Time,
        bn::BigNum,
        ec::{EcGroup, EcKey},
        hash::MessageDigest,
        nid::Nid,
        pkey::PKey,
        ssl::{SslAcceptor, SslMethod},
        x509::{X509Builder, X509NameBuilder, extension::SubjectAlternativeName},
    };
    use std::io::{Read as _, Write as _};
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "a server").unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(300).unwrap()).unwrap();
    let alternative = SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(alternative).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let pem = certificate.to_pem().unwrap();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    let acceptor = acceptor.build();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}/i", listener.local_addr().unwrap());
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever does not believe the certificate goes away in the handshake.
            let Ok(mut stream) = acceptor.accept(stream) else { continue };
            let mut head = [0; 4096];
            let head = stream.read(&mut head);
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 O\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let sent = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&body));
            drop((head, sent, stream.shutdown()));
        }
    });
    (pem, address)
}

#[tokio::test]
async fn w07_a_certificate_that_nobody_knows_is_refused() {
    let (folder, file) = (tempfile::tempdir().unwrap(), bytes(5000));
    let (pem, uri) = tls(file.clone());
    let never = CancellationToken::new();
    let once = || DownloadOptions { retries: 0, ..options() };
    let downloader = Downloader::new(once()).unwrap();
    let error = downloader.fetch(&job(&[&uri], &file), folder.path(), &(), &never).await;
    let error = vnode_protocol::chain(&error.unwrap_err()).to_lowercase();
    assert!(error.contains("certificate"), "{error}");
    let request = |uri: &str| Request {
        uri: uri.to_owned(),
        credential: None,
        key: None,
        validators: Validators::default(),
    };
    assert!(
        HttpFetch::new(&ClientOptions::default()).unwrap().fetch(&request(&uri)).await.is_err()
    );
    // A site that names its authority is served.
    let client = ClientOptions { extra_authorities: Some(pem), ..ClientOptions::default() };
    assert!(HttpFetch::new(&client).unwrap().fetch(&request(&uri)).await.is_ok());
    let downloader = Downloader::new(DownloadOptions { client, ..once() }).unwrap();
    downloader.fetch(&job(&[&uri], &file), folder.path(), &(), &never).await.unwrap();
}
