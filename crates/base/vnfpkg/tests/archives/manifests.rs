//! Manifests: ETSI's, and ours with a signature of minisign's form.

use std::fs;

use vnode_vnfpkg::{Code, Form, Limits, Policy, SecretKey, Signature, Trust, TrustedKey, author};

use crate::common::{LIFECYCLE, SCRIPT, Zipped, open, refused, zip};

const SCRIPT_SHA256: &str = "306c6ca7407560340797866e077e053627ad409277d1b9da58106fce4cf717cb";

/// The SHA-256 of the script, by whoever knows it: our own listing of a signed folder.
fn script_digest() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("start.sh"), SCRIPT).expect("written");
    author::sign(folder.path(), &SecretKey::generate().expect("a key")).expect("signed");
    let manifest = fs::read_to_string(folder.path().join("MANIFEST")).expect("there");
    manifest.split(' ').nth(1).expect("a digest").to_owned()
}

fn csar(manifest: &str, meta: &str) -> Vec<u8> {
    zip(&[
        Zipped::new("TOSCA-Metadata/TOSCA.meta", meta.as_bytes()),
        Zipped::new("vnfd.yaml", b"tosca_definitions_version: x\n"),
        Zipped::new("fw.mf", manifest.as_bytes()),
        Zipped::new("lifecycle.json", LIFECYCLE.as_bytes()),
        Zipped::new("start.sh", SCRIPT),
    ])
}

const META: &str = "TOSCA-Meta-File-Version: 1.0\nCSAR-Version: 1.1\nCreated-By: x\nEntry-Definitions: vnfd.yaml\nETSI-Entry-Manifest: fw.mf\n";

#[test]
fn pk_23_bx_62_to_bx_65_bx_80_csar_and_its_manifest() {
    let digest = script_digest();
    assert_ne!(digest, SCRIPT_SHA256, "a digest of another file");
    let manifest = |source: &str, algorithm: &str, hash: &str| {
        format!(
            "metadata:\nvnf_product_name: fw\n\nSource: {source}\nAlgorithm: {algorithm}\nHash: {hash}\n"
        )
    };
    let fine = csar(&manifest("start.sh", "SHA-256", &digest.to_uppercase()), META);
    assert_eq!(open(&fine).expect("it is taken").form, Form::Csar);
    let case = |manifest: String| refused(&csar(&manifest, META));
    assert_eq!(case(manifest("start.sh", "SHA-256", SCRIPT_SHA256)), Code::Digest);
    assert_eq!(case(manifest("start.sh", "SHA-512", SCRIPT_SHA256)), Code::Digest);
    assert_eq!(case(manifest("gone.sh", "SHA-256", &digest)), Code::Manifest);
    for algorithm in ["MD5", "SHA-1", "whirlpool"] {
        assert_eq!(case(manifest("start.sh", algorithm, &digest)), Code::Algorithm);
    }
    for source in ["http://127.0.0.1:9/x", "file:///etc/shadow", "ftp://127.0.0.1/x"] {
        assert_eq!(case(manifest(source, "SHA-256", &digest)), Code::ManifestRemote);
    }
    let fine = manifest("start.sh", "SHA-256", &digest);
    assert_eq!(refused(&csar(&fine, &META.replace("vnfd.yaml", "gone.yaml"))), Code::Manifest);
    assert_eq!(refused(&csar(&fine, "no key and value\n")), Code::Manifest);
}

#[test]
fn pk_24_bx_63_bx_66_signed_packages() {
    let folder = tempfile::tempdir().expect("a folder");
    let package = folder.path().join("fw");
    fs::create_dir(&package).expect("made");
    fs::write(package.join("lifecycle.json"), LIFECYCLE).expect("written");
    fs::write(package.join("start.sh"), SCRIPT).expect("written");
    let archive = folder.path().join("fw.tar.zst");
    let pack = || author::pack(&package, &archive, &Limits::default()).expect("it packs");
    let (key, other) =
        (SecretKey::generate().expect("a key"), SecretKey::generate().expect("a key"));
    let trust = |keys: &[(&SecretKey, &str)]| Trust {
        policy: Policy::Require,
        keys: keys
            .iter()
            .map(|(key, names)| {
                TrustedKey::parse("key", &format!("{}{names}", key.public())).expect("a key")
            })
            .collect(),
    };
    let check = |trust: &Trust| author::lint(&archive, &Limits::default(), trust);
    let code = |trust: &Trust| match check(trust) {
        Err(author::AuthorError::Refused(refused)) => refused.code(),
        other => panic!("{other:?}"),
    };
    pack();
    assert_eq!(code(&trust(&[(&key, "")])), Code::Signature, "not signed");
    author::sign(&package, &key).expect("signed");
    pack();
    let signed = check(&trust(&[(&other, ""), (&key, "names: f*\n")])).expect("it is taken");
    assert_eq!(signed.signature, Signature::Verified("key".to_owned()));
    assert_eq!(code(&trust(&[(&other, "")])), Code::Untrusted);
    assert_eq!(code(&trust(&[(&key, "names: other dns*\n")])), Code::Untrusted);
    // A signature of other bytes, by the right key.
    fs::write(package.join("MANIFEST.sig"), key.sign(b"other", "x")).expect("written");
    pack();
    assert_eq!(code(&trust(&[(&key, "")])), Code::Signature);
    // What is not listed, and what is listed and changed.
    author::sign(&package, &key).expect("signed");
    fs::write(package.join("more"), "x").expect("written");
    let pack = || {
        author::pack(&package, &archive, &Limits::default()).expect_err("it is refused").to_string()
    };
    assert!(pack().contains("E-MANIFEST"));
    fs::remove_file(package.join("more")).expect("gone");
    fs::write(package.join("start.sh"), "#!/bin/sh\nfalse\n").expect("written");
    assert!(pack().contains("E-DIGEST"));
    assert!(!archive.exists(), "a package that is refused leaves no archive");
}
