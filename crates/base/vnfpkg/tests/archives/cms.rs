//! Packages signed by CMS, as `openssl cms` signs them: ours by their MANIFEST, ETSI's by the manifest of the CSAR.
#![allow(clippy::disallowed_methods, reason = "openssl is started to sign")]

use std::{fs, path::PathBuf, process::Command};

use crate::common::{LIFECYCLE, SCRIPT, Tar, Zipped, file_of, zip};
use sha2::{Digest, Sha256};
use vnode_vnfpkg::{Code, Limits, Package, Policy, Signature, Trust, TrustedKey};

/// An authority, and one who signs by its leave; of this kind of key.
pub(crate) struct Signers {
    folder: tempfile::TempDir,
}

impl Signers {
    pub(crate) fn new(kind: &[&str]) -> Self {
        let made = Self { folder: tempfile::tempdir().expect("a folder") };
        let key = |name: &str| {
            let words = [&["genpkey", "-out", name][..], kind].concat();
            made.openssl(&words);
        };
        key("ca.key");
        key("who.key");
        made.openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "ca.key",
            "-subj",
            "/CN=authority",
            "-days",
            "30",
            "-out",
            "ca.pem",
        ]);
        made.openssl(&[
            "req",
            "-new",
            "-key",
            "who.key",
            "-subj",
            "/CN=who signs",
            "-out",
            "who.csr",
        ]);
        made.openssl(&[
            "x509",
            "-req",
            "-in",
            "who.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-out",
            "who.pem",
        ]);
        made
    }

    pub(crate) fn openssl(&self, words: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(words).current_dir(&self.folder).output();
        let output = output.expect("openssl runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).expect("there")
    }

    pub(crate) fn sign(&self, content: &[u8], more: &[&str]) -> Vec<u8> {
        fs::write(self.folder.path().join("content"), content).expect("written");
        let words = [
            "cms", "-sign", "-signer", "who.pem", "-inkey", "who.key", "-in", "content",
            "-outform", "PEM",
        ];
        self.openssl(&[&words[..], more].concat())
    }

    pub(crate) fn trust(&self, file: &str, names: &str) -> Trust {
        let text = fs::read_to_string(self.folder.path().join(file)).expect("there");
        let key = TrustedKey::parse(file, &format!("{names}{text}")).expect("a certificate");
        Trust { policy: Policy::Require, keys: vec![key] }
    }
}

pub(crate) fn no_openssl() -> bool {
    let missing = Command::new("openssl").arg("version").output().is_err();
    if missing {
        println!("skipped: no openssl");
    }
    missing
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

const META: &str = "TOSCA-Meta-File-Version: 1.0\nCSAR-Version: 1.1\nCreated-By: x\nEntry-Definitions: vnfd.yaml\nETSI-Entry-Manifest: fw.mf\n";
const YAML: &[u8] = b"tosca_definitions_version: x\n";

/// A package of our own form: what is signed, and the package with a signature of it.
fn ours(signature: &[u8]) -> (String, Vec<u8>) {
    let line = |name: &str, bytes: &[u8]| format!("sha256 {} {name}\n", digest(bytes));
    let manifest = line("lifecycle.json", LIFECYCLE.as_bytes()) + &line("start.sh", SCRIPT);
    let tar = Tar::package().file("MANIFEST", manifest.as_bytes()).file("MANIFEST.sig", signature);
    (manifest, tar.end())
}

/// ETSI's manifest of everything, without a signature.
fn manifest(files: &[(&str, &[u8])]) -> String {
    let one = |(name, bytes): &(&str, &[u8])| {
        format!("\nSource: {name}\nAlgorithm: SHA-256\nHash: {}\n", digest(bytes))
    };
    let all: String = files.iter().map(one).collect();
    format!("metadata:\nvnf_product_name: fw\n{all}")
}

fn csar(manifest: &[u8]) -> Vec<u8> {
    zip(&[
        Zipped::new("TOSCA-Metadata/TOSCA.meta", META.as_bytes()),
        Zipped::new("vnfd.yaml", YAML),
        Zipped::new("fw.mf", manifest),
        Zipped::new("lifecycle.json", LIFECYCLE.as_bytes()),
        Zipped::new("start.sh", SCRIPT),
    ])
}

#[track_caller]
pub(crate) fn checked(bytes: &[u8], trust: &Trust) -> Result<Signature, Code> {
    let opened = Package::open(&file_of(bytes), &Limits::default(), trust);
    opened.map(|package| package.signature).map_err(|refused| refused.code())
}

#[test]
fn pk_24_bx_66_packages_signed_by_cms() {
    if no_openssl() {
        return;
    }
    let (text, _) = ours(b"");
    for kind in [
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    ] {
        let signers = Signers::new(kind);
        let (authority, who) = (signers.trust("ca.pem", ""), signers.trust("who.pem", ""));
        let (_, signed) = ours(&signers.sign(text.as_bytes(), &["-binary"]));
        assert_eq!(
            checked(&signed, &authority),
            Ok(Signature::Verified("ca.pem".to_owned())),
            "{kind:?}"
        );
        assert_eq!(
            checked(&signed, &who),
            Ok(Signature::Verified("who.pem".to_owned())),
            "{kind:?}"
        );
    }
    let signers = Signers::new(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let others = Signers::new(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let authority = signers.trust("ca.pem", "");
    // Signed as mail is, without attributes, with other digests.
    for more in [&[][..], &["-binary", "-noattr"], &["-binary", "-md", "sha384"]] {
        let (_, signed) = ours(&signers.sign(text.as_bytes(), more));
        assert!(checked(&signed, &authority).is_ok(), "{more:?}");
    }
    let (_, signed) = ours(&signers.sign(b"other bytes", &["-binary"]));
    assert_eq!(checked(&signed, &authority), Err(Code::Signature));
    let (_, signed) = ours(&others.sign(text.as_bytes(), &["-binary"]));
    assert_eq!(checked(&signed, &authority), Err(Code::Untrusted));
    let (_, signed) = ours(&signers.sign(text.as_bytes(), &["-binary"]));
    assert_eq!(checked(&signed, &signers.trust("ca.pem", "names: dns*\n")), Err(Code::Untrusted));
    assert!(checked(&signed, &signers.trust("ca.pem", "names: dns* fw\n")).is_ok());
    let (_, signed) = ours(b"-----BEGIN CMS-----\nAAAA\n-----END CMS-----\n");
    assert_eq!(checked(&signed, &authority), Err(Code::Signature));
    // ETSI's, its manifest with the signature behind it.
    let all: &[(&str, &[u8])] =
        &[("vnfd.yaml", YAML), ("lifecycle.json", LIFECYCLE.as_bytes()), ("start.sh", SCRIPT)];
    let with = |text: &str, signers: &Signers| {
        [text.as_bytes(), &signers.sign(text.as_bytes(), &["-binary"])].concat()
    };
    let whole = manifest(all);
    assert_eq!(
        checked(&csar(&with(&whole, &signers)), &authority),
        Ok(Signature::Verified("ca.pem".to_owned()))
    );
    assert_eq!(checked(&csar(&with(&whole, &others)), &authority), Err(Code::Untrusted));
    assert_eq!(checked(&csar(whole.as_bytes()), &authority), Err(Code::Signature));
    // A signature speaks for what is listed only.
    let less = manifest(&all[..2]);
    assert_eq!(checked(&csar(&with(&less, &signers)), &authority), Err(Code::Manifest));
}
