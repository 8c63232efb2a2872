//! Packages in an outer archive with their signature, ETSI's second option: signed by `openssl cms` and taken here, signed
//! here and verified by `openssl cms`.

use std::fs;

use vnode_beneath::{Dir, Scope};
use vnode_vnfpkg::{
    Code, Limits, Package, Policy, SecretKey, Signature, Trust,
    author::{self, AuthorError, Signer},
};

use super::cms::{Signers, checked, no_openssl};
use crate::common::{LIFECYCLE, SCRIPT, Zipped, file_of, zip};

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const ED25519: &[&str] = &["-algorithm", "ED25519"];

type Files<'a> = &'a [(&'a str, &'a [u8])];

fn inner() -> Vec<u8> {
    zip(&[Zipped::new("lifecycle.json", LIFECYCLE.as_bytes()), Zipped::new("start.sh", SCRIPT)])
}

fn outer(files: Files<'_>) -> Vec<u8> {
    let entries: Vec<Zipped<'_>> =
        files.iter().map(|(name, data)| Zipped::new(name, data)).collect();
    zip(&entries)
}

#[test]
fn pk_24_an_outer_archive_that_openssl_signed_is_taken() {
    if no_openssl() {
        return;
    }
    let package = inner();
    for kind in [P256, P384, RSA] {
        let signers = Signers::new(kind);
        let trust = signers.trust("ca.pem", "");
        let verified = Ok(Signature::Verified("ca.pem".to_owned()));
        let signed =
            outer(&[("fw.zip", &package), ("fw.cms", &signers.sign(&package, &["-binary"]))]);
        assert_eq!(checked(&signed, &trust), verified, "{kind:?}");
        // The certificate apart, the signature DER, the package named as ETSI names it.
        let apart = signers.sign(&package, &["-binary", "-nocerts", "-outform", "DER"]);
        let text = signers.read("who.pem");
        let signed = outer(&[("fw.csar", &package), ("fw.cms", &apart), ("fw.cert", &text)]);
        assert_eq!(checked(&signed, &trust), verified, "{kind:?}");
        let signed = outer(&[("fw.csar", &package), ("fw.cms", &apart)]);
        assert_eq!(checked(&signed, &trust), Err(Code::Untrusted), "nobody knows who signed");
    }
    // What is unpacked is the package, whether it was packed once more or not.
    let signers = Signers::new(P256);
    let signature = signers.sign(&package, &["-binary"]);
    let mut packed = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, data) in [("fw.zip", &package), ("fw.sig", &signature)] {
        let options = ::zip::write::SimpleFileOptions::default();
        packed.start_file(name, options).expect("begun");
        std::io::Write::write_all(&mut packed, data).expect("written");
    }
    let packed = packed.finish().expect("an archive").into_inner();
    let file = file_of(&packed);
    let opened = Package::open(&file, &Limits::default(), &signers.trust("who.pem", "names: fw\n"))
        .expect("it is taken");
    assert_eq!(opened.signature, Signature::Verified("who.pem".to_owned()));
    assert_eq!((opened.size, opened.files().count()), (packed.len() as u64, 2));
    let folder = tempfile::tempdir().expect("a folder");
    let dir = Dir::open_ambient(folder.path(), Scope::Beneath).expect("it is there");
    opened.unpack(&file, &dir).expect("it unpacks");
    assert_eq!(fs::read(folder.path().join("start.sh")).expect("there"), SCRIPT);
    // Without keys nobody's signature is looked at, as of any other package.
    let small = Limits { archive_bytes: packed.len() as u64 - 1, ..Limits::default() };
    let refused = Package::open(&file, &small, &Trust::default()).expect_err("too large");
    assert_eq!(refused.code(), Code::Size);
    assert_eq!(checked(&packed, &Trust::default()), Ok(Signature::Unchecked));
    let off = Trust { policy: Policy::Off, ..signers.trust("ca.pem", "") };
    assert_eq!(checked(&packed, &off), Ok(Signature::Unchecked));
}

#[test]
fn bx_66_outer_archives_that_do_not_count() {
    if no_openssl() {
        return;
    }
    let (signers, others) = (Signers::new(P256), Signers::new(P256));
    let trust = signers.trust("ca.pem", "");
    let package = inner();
    let right = signers.sign(&package, &["-binary"]);
    let with = |signature: &[u8]| outer(&[("fw.zip", &package), ("fw.cms", signature)]);
    assert!(checked(&with(&right), &trust).is_ok());
    let key = SecretKey::generate().expect("a key");
    for (what, signature, code) in [
        ("of other bytes", signers.sign(b"other bytes", &["-binary"]), Code::Signature),
        ("by others", others.sign(&package, &["-binary"]), Code::Untrusted),
        ("without attributes", signers.sign(&package, &["-binary", "-noattr"]), Code::Signature),
        (
            "with an old digest",
            signers.sign(&package, &["-binary", "-md", "sha1"]),
            Code::Algorithm,
        ),
        ("of minisign's form", key.sign(&package, "x").into_bytes(), Code::Signature),
        ("empty", Vec::new(), Code::Signature),
        ("half", right[..right.len() / 2].to_vec(), Code::Signature),
    ] {
        assert_eq!(checked(&with(&signature), &trust), Err(code), "{what}");
    }
    let names = signers.trust("ca.pem", "names: dns*\n");
    assert_eq!(checked(&with(&right), &names), Err(Code::Untrusted), "for other names only");
    let mut changed = package.clone();
    let at = changed.windows(SCRIPT.len()).position(|w| w == SCRIPT).expect("stored");
    changed[at + 2] ^= 1;
    let changed = outer(&[("fw.zip", &changed), ("fw.cms", &right)]);
    assert_eq!(checked(&changed, &trust), Err(Code::Checksum));
    let other = zip(&[
        Zipped::new("lifecycle.json", LIFECYCLE.as_bytes()),
        Zipped::new("start.sh", b"#!/bin/sh\n"),
    ]);
    let other = outer(&[("fw.zip", &other), ("fw.cms", &right)]);
    assert_eq!(checked(&other, &trust), Err(Code::Signature));
    let certificate = signers.read("who.pem");
    let more: &[(&str, Files<'_>, Code)] = &[
        ("a stranger", &[("readme.txt", b"x")], Code::Manifest),
        ("a second package", &[("b.zip", &package)], Code::Manifest),
        ("a second signature", &[("fw.sig", &right)], Code::Manifest),
        ("another's certificate", &[("b.cert", &certificate)], Code::Manifest),
        ("no certificate", &[("fw.cert", b"x")], Code::Signature),
    ];
    for (what, files, code) in more {
        let all = [&[("fw.zip", &package[..]), ("fw.cms", &right[..])], *files].concat();
        assert_eq!(checked(&outer(&all), &trust), Err(*code), "{what}");
    }
    let named = outer(&[("fw.zip", &package), ("b.cms", &right)]);
    assert_eq!(checked(&named, &trust), Err(Code::Manifest));
    let alone = outer(&[("fw.zip", &package)]);
    assert_eq!(checked(&alone, &trust), Err(Code::NoDescriptor));
    let twice = with(&right);
    let twice = outer(&[("fw.zip", &twice), ("fw.cms", &signers.sign(&twice, &["-binary"]))]);
    assert_eq!(checked(&twice, &trust), Err(Code::NoDescriptor));
    // A signature in the package is of no weight against one that is missing around it, nor the other way round.
    assert_eq!(checked(&package, &trust), Err(Code::Signature));
}

#[test]
fn an_archive_signed_here_is_verified_by_openssl() {
    if no_openssl() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (source, archive) = (folder.path().join("fw"), folder.path().join("fw.zip"));
    author::create(&source, "fw", "fwd").expect("begun");
    author::pack(&source, &archive, &Limits::default()).expect("packed");
    let output = folder.path().join("out.zip");
    for kind in [P256, P384, RSA, ED25519] {
        let signers = Signers::new(kind);
        let text = |file: &str| String::from_utf8(signers.read(file)).expect("PEM");
        let signer = Signer::parse(&text("who.pem"), &text("who.key")).expect("its key");
        author::envelop(&archive, &signer, &output, &Limits::default()).expect("signed");
        let bytes = fs::read(&output).expect("written");
        let verified = Ok(Signature::Verified("ca.pem".to_owned()));
        assert_eq!(checked(&bytes, &signers.trust("ca.pem", "")), verified, "{kind:?}");
        // OpenSSL 3.0 knows no Ed25519 in CMS.
        if kind != ED25519 {
            let mut zip = ::zip::ZipArchive::new(std::io::Cursor::new(bytes)).expect("a zip");
            for name in ["fw.zip", "fw.cms", "fw.cert"] {
                let mut to = fs::File::create(signers.path(name)).expect("made");
                let mut from = zip.by_name(name).expect("there");
                std::io::copy(&mut from, &mut to).expect("copied");
            }
            signers.openssl(&[
                "cms",
                "-verify",
                "-binary",
                "-inform",
                "DER",
                "-in",
                "fw.cms",
                "-content",
                "fw.zip",
                "-CAfile",
                "ca.pem",
                "-certfile",
                "fw.cert",
                "-out",
                "verified",
            ]);
            assert_eq!(signers.read("verified"), fs::read(&archive).expect("there"));
        }
        let other = Signers::new(kind);
        let key = String::from_utf8(other.read("who.key")).expect("PEM");
        let wrong = Signer::parse(&text("who.pem"), &key).expect_err("another's key");
        assert_eq!(wrong.code, Code::Signature);
    }
    let signers = Signers::new(P256);
    let text = |file: &str| String::from_utf8(signers.read(file)).expect("PEM");
    let (certificate, key) = (text("who.pem"), text("who.key"));
    for (certificate, key) in [(&key, &key), (&certificate, &certificate)] {
        assert_eq!(Signer::parse(certificate, key).expect_err("of no use").code, Code::Signature);
    }
    // Only what a reader would take for a package.
    let signer = Signer::parse(&certificate, &key).expect("its key");
    let tar = folder.path().join("fw.tar.gz");
    author::pack(&source, &tar, &Limits::default()).expect("packed");
    let target = folder.path().join("none.zip");
    for archive in [&tar, &output] {
        let error = author::envelop(archive, &signer, &target, &Limits::default());
        assert!(matches!(error, Err(AuthorError::Refused(_))), "{}", archive.display());
        assert!(!target.exists());
    }
}
