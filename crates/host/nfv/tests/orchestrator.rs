//! NB-01: the unmodified `openstack` client with python-tackerclient, without Keystone, in both versions.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests; the client is a program of somebody else's

mod common;

use common::{North, archive, file};

/// The same package as a tarball.
fn tarball() -> Vec<u8> {
    let zip = archive("edgefw", Some("1.4.0"));
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let mut tar =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).unwrap();
        let mut content = Vec::new();
        std::io::copy(&mut entry, &mut content).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, entry.name().unwrap().into_owned(), content.as_slice())
            .unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nb_01_the_openstack_client_works_unmodified() {
    let packages = match vnode_testkit::tools::python() {
        Ok(packages) => packages,
        Err(why) => return vnode_testkit::skip(&why),
    };
    let north = North::new().await;
    let dir = tempfile::tempdir().unwrap();
    file(dir.path(), "edgefw.zip", &archive("edgefw", Some("1.4.0")));
    file(dir.path(), "edgefw.tar.gz", &tarball());
    file(dir.path(), "next.zip", &archive("edgefw", Some("1.5.0")));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/orchestrator.py");
    let (url, folder) = (north.url.clone(), dir.path().to_owned());
    let client = tokio::task::spawn_blocking(move || {
        std::process::Command::new("python3")
            .arg(script)
            .arg(url)
            .arg(folder)
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", "/nonexistent")
            .output()
    });
    let out = client.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.ends_with("done\n"), "{text}");
}
