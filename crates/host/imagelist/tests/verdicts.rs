//! The verdicts of `expected.tsv`, one for each list and trust folder, and those on lists made by others.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use vnode_imagelist::{Expected, Principal, Refusal, Rules, TrustFolder, judge};

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

fn list(name: &str) -> Vec<u8> {
    fs::read(data("lists").join(name)).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Within the validity of all certificates and CRLs of the test data.
fn now() -> Timestamp {
    time("2026-12-01T00:00:00Z")
}

const LIST: &str = "6f2b1f0e-0d5b-4c53-9a7c-5a1f3c9d1e01";

fn alice() -> Principal {
    Principal::new(
        "/DC=org/DC=example/OU=People/CN=Alice Endorser",
        "/DC=org/DC=example/CN=Example Test Issuing CA 1",
    )
}

fn judged(name: &str, folder: &str, rules: Rules, now: Timestamp) -> Result<(), Refusal> {
    let anchors = TrustFolder::new(data(folder)).anchors().unwrap();
    let endorsers = [alice()];
    let expected =
        Expected { identifier: Some(LIST), endorsers: Some(&endorsers), stored: None, rules };
    judge(&list(name), &anchors, &expected, now).map(|_| ())
}

#[test]
fn w08_w09_every_verdict_of_expected_tsv() {
    let table = fs::read_to_string(data("expected.tsv")).unwrap();
    let mut rows = 0;
    let mut wrong = Vec::new();
    for row in table.lines().filter(|row| !row.starts_with('#')) {
        let [name, folder, _, verdict, exit] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not five columns: {row}")
        };
        rows += 1;
        let judged = judged(name, folder, Rules::default(), now());
        let accepted = judged.as_ref().err().is_none_or(Refusal::signature_was_good);
        let code = judged.as_ref().err().map_or(0, Refusal::exit_code);
        if (accepted, code.to_string().as_str()) != (verdict == "accept", exit) {
            wrong.push(format!("{row}: {judged:?}"));
        }
    }
    assert_eq!(rows, 245);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What must be refused is refused for its own reason, not by accident.
#[test]
fn w08_refusals_name_their_reason() {
    for (name, folder, words) in [
        ("v1.list", "ca-nocrl", "unable to get certificate CRL"),
        ("v1.list", "ca-oldcrl", "CRL has expired"),
        ("v1.list", "ca-nopolicy", "no namespaces or signing policy"),
        ("v1.list", "ca-forgedcrl", "CRL"),
        ("v1.list", "ca-norootcrl", "unable to get certificate CRL"),
        ("v1.list", "ca-revokedissuing", "certificate revoked"),
        ("by-revoked.list", "ca", "certificate revoked"),
        ("by-expired.list", "ca", "certificate has expired"),
        ("by-outside.list", "ca", "do not permit `/C=XX/O=Elsewhere/CN=Mallory Outside`"),
        ("by-host.list", "ca", "purpose"),
        ("by-fake.list", "ca", "openssl says"),
        ("v1-sha1.list", "ca", "SHA-1"),
        ("v1-nocerts.list", "ca", "not in the message"),
        ("v1-twosigners.list", "ca", "2 signers"),
        ("v1-tampered.list", "ca", "changed after it was signed"),
        ("v1-trailing-space.list", "ca", "changed after it was signed"),
        ("v1-truncated.list", "ca", "cut off"),
        ("v1-json-only.list", "ca", "does not begin with a header"),
    ] {
        let refusal = judged(name, folder, Rules::default(), now()).unwrap_err().to_string();
        let words = words.strip_prefix("openssl says").map_or(words, |_| "unable to get");
        assert!(refusal.contains(words), "{name} with {folder}: {refusal}");
    }
}

#[test]
fn w26_settings_accept_what_the_default_refuses() {
    let sha1 = Rules { allow_sha1: true, ..Rules::default() };
    assert_eq!(judged("v1-sha1.list", "ca", sha1, now()), Ok(()));
    let any = Rules { allow_any_eku: true, ..Rules::default() };
    let refusal = judged("by-host.list", "ca", any, now()).unwrap_err();
    assert_eq!(refusal.exit_code(), 13, "the signature is good, the host no endorser: {refusal}");
    for rules in [sha1, any] {
        assert_eq!(judged("v1-tampered.list", "ca", rules, now()).unwrap_err().exit_code(), 11);
        assert_eq!(judged("by-revoked.list", "ca", rules, now()).unwrap_err().exit_code(), 11);
        assert_eq!(judged("v1.list", "ca-nocrl", rules, now()).unwrap_err().exit_code(), 11);
    }
}

#[test]
fn times_are_those_of_the_caller() {
    // Before the CRLs were made, and after they have expired.
    for now in ["2026-01-01T00:00:00Z", "2090-01-01T00:00:00Z"] {
        assert_eq!(
            judged("v1.list", "ca", Rules::default(), time(now)).unwrap_err().exit_code(),
            11
        );
    }
}

/// Whom a list made by others is trusted under, when a site adds its certificate and a policy for it.
#[test]
fn real_world_lists_are_signed_well_but_name_another_endorser() {
    const SUBJECT: &str = "/C=AU/ST=Some-State/O=Internet Widgits Pty Ltd";
    let folder = tempfile::tempdir().unwrap();
    fs::copy(data("real-world/9da13359.0"), folder.path().join("9da13359.0")).unwrap();
    let trust = TrustFolder::new(folder.path());
    let judged = |name: &str| {
        let message = fs::read(data("real-world").join(name)).unwrap();
        judge(&message, &trust.anchors().unwrap(), &Expected::default(), now()).unwrap_err()
    };
    assert_eq!(judged("imagelist01.signed").exit_code(), 11, "no policy names the CA");
    let policy = format!("TO Issuer \"{SUBJECT}\" PERMIT Subject \"{SUBJECT}\"\n");
    fs::write(folder.path().join("9da13359.namespaces"), policy).unwrap();
    for name in ["imagelist01.signed", "imagelist04.signed"] {
        let Refusal::EndorserDiffers { signer, subject, .. } = judged(name) else {
            panic!("{name}: {}", judged(name))
        };
        assert_eq!(signer, SUBJECT);
        assert!(subject.starts_with("/DC=XXX/"), "{subject}");
    }
    assert_eq!(judged("imagelist_invalid.signed").exit_code(), 11);
}

#[test]
fn a_trust_folder_is_read_again_when_a_file_changed() {
    let folder = tempfile::tempdir().unwrap();
    let trust = TrustFolder::new(folder.path());
    assert!(trust.anchors().unwrap().is_empty());
    for entry in fs::read_dir(data("ca")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let judged = || {
        judge(&list("v1.list"), &trust.anchors().unwrap(), &Expected::default(), now()).map(|_| ())
    };
    assert_eq!(judged(), Ok(()));
    let first = trust.anchors().unwrap();
    assert!(
        std::sync::Arc::ptr_eq(&first, &trust.anchors().unwrap()),
        "unchanged is not read again"
    );
    for entry in fs::read_dir(data("ca-revokedissuing")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    assert_eq!(judged().unwrap_err().exit_code(), 11);
    fs::write(folder.path().join("0000ffff.0"), "no certificate").unwrap();
    assert_eq!(trust.anchors().unwrap().problems().len(), 1);
}
