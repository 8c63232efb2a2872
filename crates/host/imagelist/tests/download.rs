//! Downloads from a real HTTP server on the loopback, which does all that servers do wrong.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod common;

use std::{fs, io::Write as _, sync::atomic::Ordering, time::Duration};

use common::server::{Server, Trick, bytes, fetch, forget, job, left, options};
use tokio_util::sync::CancellationToken;
use vnode_imagelist::{
    disk::Format,
    download::{DownloadError, DownloadOptions, Downloader, Job, Unpack},
    fetch::{Fetch, FetchError, Fetched, HttpFetch, Request},
    record::{Credential, Validators},
};

#[tokio::test]
async fn w14_a_cut_download_goes_on_where_it_ended() {
    let (server, folder, file) =
        (Server::new().await, tempfile::tempdir().unwrap(), bytes(3 << 20));
    let uri = server.put("/i", &file, &[Trick::Cut(1 << 20), Trick::Cut(1 << 20)]);
    let verified = fetch(&job(&[&uri], &file), folder.path()).await.unwrap();
    assert_eq!(fs::read(&verified.path).unwrap(), file);
    assert_eq!(verified.disk.format, Format::Raw);
    assert!(verified.resumed > 0);
    assert_eq!(left(folder.path()), ["image"], "nothing else is left");
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].1.is_none() && seen[1].1.is_some() && seen[2].1.is_some());
    assert_eq!(seen[2].1.as_deref(), Some(format!("bytes={}-", verified.resumed).as_str()));
}

#[tokio::test]
async fn a_part_of_an_earlier_run_is_used_and_a_changed_file_is_not_mixed() {
    let (server, folder, file) =
        (Server::new().await, tempfile::tempdir().unwrap(), bytes(1 << 20));
    for (trick, resumed) in [
        (None, true),
        // The server ignores ranges, has another file for one request, lies about the range: from the begin.
        (Some(Trick::NoRange), false),
        (Some(Trick::WrongRange), false),
    ] {
        let cut = [Trick::Cut(1 << 19); 4];
        let uri = server.put("/i", &file, &cut[..1]);
        let once = DownloadOptions { retries: 0, ..options() };
        let downloader = Downloader::new(once).unwrap();
        let job = job(&[&uri], &file);
        let never = CancellationToken::new();
        let error = downloader.fetch(&job, folder.path(), &(), &never).await.unwrap_err();
        assert!(error.may_pass(), "{error}");
        assert_eq!(left(folder.path()), ["image.part", "image.part.json"]);
        server.put("/i", &file, trick.as_slice());
        let verified = fetch(&job, folder.path()).await.unwrap();
        assert_eq!(verified.resumed > 0, resumed, "{trick:?}");
        assert_eq!(fs::read(&verified.path).unwrap(), file);
        fs::remove_file(verified.path).unwrap();
    }
    // Another file under the name: its bytes are never mixed with those here, and its hash is wrong.
    let uri = server.put("/i", &file, &[Trick::Cut(1 << 19), Trick::Changed]);
    let error = fetch(&job(&[&uri], &file), folder.path()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Hash { .. }), "{error}");
    assert!(left(folder.path()).is_empty());
}

#[tokio::test]
async fn e12_e13_wrong_files_leave_nothing() {
    let (server, folder, file) =
        (Server::new().await, tempfile::tempdir().unwrap(), bytes(100_000));
    let good = server.put("/good", &file, &[]);
    let mut hash = job(&[&good], &file);
    hash.sha512 = "0".repeat(128);
    let mut small = job(&[&good], &file);
    small.size -= 1;
    let mut large = job(&[&good], &file);
    large.size += 1;
    let long = server.put("/long", &file, &[Trick::TooLong; 8]);
    let mut name = job(&[&good], &file);
    name.name = "../image".to_owned();
    let cases = [
        hash,
        small,
        large,
        job(&[&long], &file),
        job(&[&format!("{}/none", server.base)], &file),
        job(&["gopher://127.0.0.1/x"], &file),
        job(&["http://127.0.0.1/x;touch evil"], &file),
        job(&[], &file),
        name,
    ];
    for wrong in cases {
        let error = fetch(&wrong, folder.path()).await.unwrap_err();
        assert!(!error.may_pass(), "{error}");
        assert!(left(folder.path()).is_empty(), "{:?}: {error}", left(folder.path()));
    }
}

/// Removes the whole file of the download before, which the next one would take.
#[tokio::test]
async fn mirrors_redirects_and_busy_servers() {
    let (server, folder, file) = (Server::new().await, tempfile::tempdir().unwrap(), bytes(50_000));
    let gone = format!("{}/gone", server.base);
    let mirror = server.put("/mirror", &file, &[]);
    let verified = fetch(&job(&[&gone, &mirror], &file), folder.path()).await.unwrap();
    assert_eq!(verified.size, 50_000);
    let other = bytes(50_001)[1..].to_vec();
    let wrong = server.put("/wrong", &other, &[]);
    forget(folder.path());
    fetch(&job(&[&wrong, &mirror], &file), folder.path()).await.unwrap();
    let busy = server.put("/busy", &file, &[Trick::Status(503), Trick::Status(429)]);
    forget(folder.path());
    fetch(&job(&[&busy], &file), folder.path()).await.unwrap();
    server.state.lock().unwrap().redirects.insert("/moved".into(), mirror.clone());
    forget(folder.path());
    fetch(&job(&[&format!("{}/moved", server.base)], &file), folder.path()).await.unwrap();
    server.state.lock().unwrap().redirects.insert("/round".into(), "/round".into());
    let round = format!("{}/round", server.base);
    forget(folder.path());
    assert!(fetch(&job(&[&round], &file), folder.path()).await.is_err());
}

#[tokio::test]
async fn a_silent_server_is_left() {
    let (server, folder, file) = (Server::new().await, tempfile::tempdir().unwrap(), bytes(50_000));
    let uri = server.put("/i", &file, &[Trick::Stall, Trick::Stall]);
    let short =
        DownloadOptions { stall_limit: Duration::from_millis(300), retries: 20, ..options() };
    let downloader = Downloader::new(short).unwrap();
    let never = CancellationToken::new();
    downloader.fetch(&job(&[&uri], &file), folder.path(), &(), &never).await.unwrap();
    let uri = server.put("/j", &file, &[Trick::Stall; 100]);
    let cancel = CancellationToken::new();
    let patient = Downloader::new(options()).unwrap();
    let job = job(&[&uri], &file);
    let (stopped, ()) =
        tokio::join!(patient.fetch(&job, folder.path(), &(), &cancel), async { cancel.cancel() });
    assert!(matches!(stopped, Err(DownloadError::Cancelled)));
}

#[tokio::test]
async fn w15_only_so_many_at_a_time() {
    let (server, folder, file) =
        (Server::new().await, tempfile::tempdir().unwrap(), bytes(300_000));
    let uri = server.put("/i", &file, &[]);
    let downloader = Downloader::new(DownloadOptions { at_once: 2, ..options() }).unwrap();
    let never = CancellationToken::new();
    let all = (0..8).map(|n| {
        let job = Job { name: format!("image-{n}"), ..job(&[&uri], &file) };
        let (downloader, folder, never) = (&downloader, folder.path(), &never);
        async move { downloader.fetch(&job, folder, &(), never).await.unwrap() }
    });
    futures_util::future::join_all(all).await;
    assert_eq!(left(folder.path()).len(), 8);
    assert!(server.most.load(Ordering::SeqCst) <= 4, "two downloads, and two just closing");
}

#[tokio::test]
async fn a_file_is_unpacked_while_it_arrives_also_when_it_is_resumed() {
    let (server, folder) = (Server::new().await, tempfile::tempdir().unwrap());
    let inner = bytes(1 << 20);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&inner).unwrap();
    let gz = gz.finish().unwrap();
    let zst = zstd::encode_all(&inner[..], 1).unwrap();
    for (packed, format) in [(gz, Format::Gzip), (zst, Format::Zstd)] {
        let uri = server.put("/i", &packed, &[Trick::Cut(3), Trick::Cut(500_000)]);
        let out = folder.path().join("out");
        let unpack = Some(Unpack { path: out.clone(), max_bytes: 1 << 20 });
        let verified =
            fetch(&Job { unpack, ..job(&[&uri], &packed) }, folder.path()).await.unwrap();
        assert_eq!(verified.disk.format, format);
        let (path, size, disk) = verified.unpacked.unwrap();
        assert_eq!((path, size, disk.format), (out.clone(), 1 << 20, Format::Raw));
        assert_eq!(fs::read(&out).unwrap(), inner);
    }
}

#[tokio::test]
async fn w05_w06_bombs_and_images_that_refer_to_files_are_refused() {
    let (server, folder) = (Server::new().await, tempfile::tempdir().unwrap());
    let bomb = zstd::encode_all(&vec![0; 8 << 20][..], 3).unwrap();
    let uri = server.put("/bomb", &bomb, &[]);
    let unpack = Some(Unpack { path: folder.path().join("out"), max_bytes: 1 << 20 });
    let error = fetch(&Job { unpack, ..job(&[&uri], &bomb) }, folder.path()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Bomb { .. }), "{error}");
    assert!(left(folder.path()).is_empty(), "{:?}", left(folder.path()));
    let mut backing = bytes(100_000);
    backing[..32].copy_from_slice(
        b"QFI\xfb\0\0\0\x03\0\0\0\0\0\0\x02\0\0\0\0\x0b\0\0\0\x10\0\0\0\0\0\x10\0\0",
    );
    let uri = server.put("/backing", &backing, &[]);
    let error = fetch(&job(&[&uri], &backing), folder.path()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Disk(_)), "{error}");
    assert!(left(folder.path()).is_empty());
}

#[tokio::test]
async fn files_links_and_space() {
    let (folder, file) = (tempfile::tempdir().unwrap(), bytes(400_000));
    let source = folder.path().join("source");
    fs::write(&source, &file).unwrap();
    let uri = format!("file://{}", source.display());
    let into = tempfile::tempdir().unwrap();
    // A link where the part goes is removed, not followed.
    let trap = folder.path().join("trap");
    fs::write(&trap, "x").unwrap();
    std::os::unix::fs::symlink(&trap, into.path().join("image.part")).unwrap();
    fetch(&job(&[&uri], &file), into.path()).await.unwrap();
    assert_eq!(fs::read(&trap).unwrap(), b"x");
    assert_eq!(fs::read(into.path().join("image")).unwrap(), file);
    // What came whole is not fetched again: another run may have been cut off just then.
    let again = fetch(&job(&["file:///nowhere"], &file), into.path()).await.unwrap();
    assert_eq!(again.resumed, 400_000);
    forget(into.path());
    assert!(fetch(&job(&["file:///dev/zero"], &file), into.path()).await.is_err());
    let full = Downloader::new(DownloadOptions { keep_free: u64::MAX / 4, ..options() }).unwrap();
    let never = CancellationToken::new();
    let error = full.fetch(&job(&[&uri], &file), into.path(), &(), &never).await.unwrap_err();
    assert!(matches!(error, DownloadError::Space { .. }), "{error}");
}

#[tokio::test]
async fn w07_passwords_go_to_their_own_host_only() {
    let (server, folder, file) = (Server::new().await, tempfile::tempdir().unwrap(), bytes(1000));
    let secret = folder.path().join("secret");
    fs::write(&secret, "me:hunter2\n").unwrap();
    let own = server.put("/own", &file, &[Trick::Status(404)]);
    let mirror = server.put("/mirror", &file, &[]).replace("127.0.0.1", "127.0.0.2");
    let job = Job {
        credential: Some((own.clone(), Credential::File(secret))),
        ..job(&[&own, &mirror], &file)
    };
    // The mirror's address has no server; that it was asked without the password is seen by what came to the own one.
    let error = fetch(&job, folder.path()).await.unwrap_err();
    assert!(!error.to_string().contains("hunter2"));
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].2.as_deref().is_some_and(|a| a.starts_with("Basic ")), "{seen:?}");
}

#[tokio::test]
async fn messages_come_by_http_and_are_not_sent_twice() {
    let server = Server::new().await;
    let uri = server.put("/list", b"signed", &[]);
    let fetch = HttpFetch::new(&Default::default()).unwrap();
    let mut request =
        Request { uri, credential: None, key: None, validators: Validators::default() };
    let Fetched::Message { bytes, validators } = fetch.fetch(&request).await.unwrap() else {
        panic!("not a message")
    };
    assert_eq!(bytes, b"signed");
    request.validators = validators;
    assert_eq!(fetch.fetch(&request).await.unwrap(), Fetched::Unchanged);
    request.uri = format!("{}/none", server.base);
    let error = fetch.fetch(&request).await.unwrap_err();
    assert!(matches!(error, FetchError::Status { status: 404, .. }), "{error}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("l"), "local").unwrap();
    request.uri = format!("file://{}/l", folder.path().display());
    assert!(
        matches!(fetch.fetch(&request).await.unwrap(), Fetched::Message { bytes, .. } if bytes == b"local")
    );
}
