//! NB-01: the unmodified `openstack` client with python-tackerclient, without Keystone, in both versions.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests; the client is a program of somebody else's

mod common;

use common::North;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nb_01_the_openstack_client_works_unmodified() {
    let packages = match vnode_testkit::tools::python() {
        Ok(packages) => packages,
        Err(why) => return vnode_testkit::skip(&why),
    };
    let north = North::new().await;
    let dir = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/orchestrator.py");
    let (url, folder) = (north.url.clone(), dir.path().to_owned());
    let client = tokio::task::spawn_blocking(move || {
        std::process::Command::new("python3")
            .arg(script)
            .arg(folder)
            .arg("12")
            .args(["--os-auth-type", "none", "--os-endpoint", &url])
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", dir.path())
            .output()
    });
    let out = client.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.ends_with("done\n"), "{text}");
}
