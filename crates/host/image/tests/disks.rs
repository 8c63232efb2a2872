//! Disks of virtual machines in the catalogue.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use vnode_image::disk::Format;
use vnode_image::{
    Catalogue, Error, GcPolicy, Image, Known, NoProgress, Options, PullPolicy, Reference,
};

fn open(folder: &Path) -> Catalogue {
    Catalogue::open(&folder.join("catalogue"), Options::default()).unwrap()
}

/// The header of a qcow2 of version 2 and 1 MiB, with room behind it.
fn qcow2(backing: bool) -> Vec<u8> {
    let mut head = vec![0; 64 << 10];
    head[..4].copy_from_slice(b"QFI\xfb");
    head[7] = 2;
    if backing {
        head[8..16].copy_from_slice(&512_u64.to_be_bytes());
        head[16..20].copy_from_slice(&11_u32.to_be_bytes());
        head[512..523].copy_from_slice(b"/etc/shadow");
    }
    head[20..24].copy_from_slice(&16_u32.to_be_bytes());
    head[24..32].copy_from_slice(&(1_u64 << 20).to_be_bytes());
    head
}

fn file(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::File::create(&path).unwrap().write_all(content).unwrap();
    path
}

async fn ensure(catalogue: &Catalogue, text: &str) -> Result<Image, Error> {
    let reference = Reference::parse(text).unwrap();
    catalogue.ensure(&reference, PullPolicy::IfNotPresent, &NoProgress, Default::default()).await
}

fn sha512(content: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha512::digest(content).iter().map(|b| format!("{b:02x}")).collect()
}

#[tokio::test]
async fn a_disk_is_copied_once_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "small.qcow2", &qcow2(false));
    let catalogue = open(folder.path());
    let image = ensure(&catalogue, path.to_str().unwrap()).await.unwrap();
    let disk = image.disk.clone().unwrap();
    assert_eq!((disk.format, disk.virtual_size), (Format::Qcow2, 1 << 20));
    assert_eq!(disk.sha512, sha512(&qcow2(false)));
    assert!(image.layers.is_empty());
    assert_eq!(std::fs::read(&disk.path).unwrap(), qcow2(false));
    // The same under its long name, and after a new start.
    let again = ensure(&catalogue, &format!("disk:{}", path.display())).await.unwrap();
    assert_eq!(again.id, image.id);
    drop((image, again));
    drop(catalogue);
    let catalogue = open(folder.path());
    std::fs::remove_file(&path).unwrap();
    let image = ensure(&catalogue, path.to_str().unwrap()).await.unwrap();
    assert_eq!(image.disk.as_ref().unwrap().path, disk.path);
    assert_eq!(catalogue.list()[0].size_bytes, 64 << 10);
    // Held by the value, collected without it.
    assert!(catalogue.gc(&HashSet::new, GcPolicy::default()).unwrap().images.is_empty());
    let id = image.id.clone();
    drop(image);
    let report = catalogue.gc(&HashSet::new, GcPolicy::default()).unwrap();
    assert_eq!((report.images, report.freed_bytes), (vec![id], 64 << 10));
    assert!(!disk.path.exists());
}

#[tokio::test]
async fn w06_a_disk_that_refers_to_another_file_is_refused_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let bad = file(folder.path(), "bad.qcow2", &qcow2(true));
    let tar = file(folder.path(), "tar.img", &{
        let mut tar = vec![0; 1024];
        tar[257..262].copy_from_slice(b"ustar");
        tar
    });
    let empty = file(folder.path(), "empty.raw", b"");
    let catalogue = open(folder.path());
    for (path, why) in [(bad, "backing file"), (tar, "packed (tar)"), (empty, "it is empty")] {
        let error = ensure(&catalogue, path.to_str().unwrap()).await.unwrap_err();
        let text = vnode_protocol::chain(&error);
        assert!(text.contains(why), "{text}");
    }
    assert!(catalogue.list().is_empty());
    let root = folder.path().join("catalogue");
    assert_eq!(std::fs::read_dir(root.join("disks")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_list_brings_is_linked_switched_and_withdrawn() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = open(folder.path());
    let error = ensure(&catalogue, "list:demo").await.unwrap_err();
    assert!(matches!(error, Error::NotOfAList { .. }), "{error}");
    let one = file(folder.path(), "one", b"first disk");
    let image =
        catalogue.take_in_disk(&one, Known::Sha512(sha512(b"first disk")), "demo").await.unwrap();
    let disk = image.disk.clone().unwrap();
    assert_eq!((disk.format, disk.virtual_size), (Format::Raw, 10));
    // Written once: both names lead to one file.
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(
        std::fs::metadata(&disk.path).unwrap().ino(),
        std::fs::metadata(&one).unwrap().ino()
    );
    assert_eq!(ensure(&catalogue, "list:demo").await.unwrap().id, image.id);
    // An update takes the name; a node of the old one keeps it.
    let two = file(folder.path(), "two", b"second disk");
    let new =
        catalogue.take_in_disk(&two, Known::Sha512(sha512(b"second disk")), "demo").await.unwrap();
    assert_eq!(ensure(&catalogue, "list:demo").await.unwrap().id, new.id);
    assert!(disk.path.exists());
    assert_eq!(catalogue.inspect(&image.id).unwrap().references, Vec::<String>::new());
    drop(image);
    // What machines could not read is copied; what was made of something signed keeps the name of that.
    use std::os::unix::fs::PermissionsExt as _;
    let three = file(folder.path(), "three", b"third disk");
    std::fs::set_permissions(&three, std::fs::Permissions::from_mode(0o600)).unwrap();
    let wrong = Known::Sha512(sha512(b"another"));
    let error = catalogue.take_in_disk(&three, wrong, "other").await.unwrap_err();
    assert!(vnode_protocol::chain(&error).contains("verified"), "{error}");
    let made = Known::Made(sha512(b"made from it"));
    let copy = catalogue.take_in_disk(&three, made, "other").await.unwrap().disk.clone().unwrap();
    let found = std::fs::metadata(&copy.path).unwrap();
    assert_eq!((found.nlink(), found.permissions().mode() & 0o777), (1, 0o644));
    assert!(catalogue.withdraw("other", &HashSet::new).unwrap());
    // Gone from the list.
    assert!(catalogue.withdraw("demo", &|| HashSet::from([new.id.clone()])).unwrap());
    assert!(!catalogue.withdraw("demo", &HashSet::new).unwrap());
    assert!(ensure(&catalogue, "list:demo").await.is_err());
    assert!(new.disk.as_ref().unwrap().path.exists(), "a node is made from it");
    drop(new);
    catalogue.gc(&HashSet::new, GcPolicy::default()).unwrap();
    assert!(catalogue.list().is_empty());
}

/// A registry with an artefact whose one layer is a disk, in EGI's form.
async fn artefact(content: &[u8], more: &str) -> (common::liar::Liar, String) {
    let liar = common::liar::Liar::start().await;
    let empty = b"{}";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "artifactType":"application/vnd.egi.image","config":{{"mediaType":"application/vnd.oci.empty.v1+json",
        "digest":"{}","size":2}},"layers":[{{"mediaType":"application/octet-stream","digest":"{}","size":{}}}{more}],
        "annotations":{{"org.openstack.glance.disk_format":"qcow2"}}}}"#,
        common::digest(empty),
        common::digest(content),
        content.len()
    );
    let kind = "application/vnd.oci.image.manifest.v1+json";
    liar.put("/v2/egi/debian/manifests/12", manifest.as_bytes(), kind);
    liar.put(&common::liar::Liar::blob("egi/debian", content), content, "application/octet-stream");
    let name = format!("{}/egi/debian:12", liar.address);
    (liar, name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_a_registry_is_verified_and_known_wherever_it_came_from() {
    let (_liar, name) = artefact(&qcow2(false), "").await;
    let place = common::Place::new(common::quick());
    let image = place.ensure(&name).await.unwrap();
    let disk = image.disk.clone().unwrap();
    assert_eq!((disk.format, disk.virtual_size), (Format::Qcow2, 1 << 20));
    assert_eq!(disk.sha512, sha512(&qcow2(false)));
    // The same file of this machine is the same image.
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "same.qcow2", &qcow2(false));
    assert_eq!(place.ensure(path.to_str().unwrap()).await.unwrap().id, image.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w06_hostile_disks_of_a_registry_leave_nothing() {
    use common::liar::Liar;
    let place = common::Place::new(common::quick());
    let (_one, name) = artefact(&qcow2(true), "").await;
    let error = common::text(&place.ensure(&name).await.unwrap_err());
    assert!(error.contains("backing file"), "{error}");
    // Other bytes of the same length.
    let (liar, name) = artefact(&qcow2(false), "").await;
    let mut other = qcow2(false);
    other[60_000] = 1;
    liar.put(&Liar::blob("egi/debian", &qcow2(false)), &other, "application/octet-stream");
    let error = common::text(&place.ensure(&name).await.unwrap_err());
    assert!(error.contains("damaged or changed"), "{error}");
    // Two layers are no disk.
    let digest = common::digest(b"x");
    let more = format!(r#",{{"mediaType":"text/plain","digest":"{digest}","size":1}}"#);
    let (_two, name) = artefact(&qcow2(false), &more).await;
    assert!(place.ensure(&name).await.is_err());
    place.assert_empty();
}
