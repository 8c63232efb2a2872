//! The four verbs in the order in which an author uses them.

use std::path::Path;

use serde_json::Value;
use vnode_vnfauthor::{Author, Error, run};

fn done(verb: Author) -> Value {
    let mut out = Vec::new();
    run(verb, &mut out, true).expect("it is done");
    serde_json::from_slice(&out).expect("one line of JSON")
}

fn lint(package: &Path, keys: Option<&Path>) -> Author {
    Author::Lint { package: package.to_owned(), keys: keys.map(Path::to_owned) }
}

fn sign(package: Option<&Path>, key: &Path, new_key: bool) -> Author {
    let (package, key) = (package.map(Path::to_owned), key.to_owned());
    Author::Sign { package, key, new_key, certificate: None, output: None }
}

#[test]
fn a_package_is_begun_signed_packed_and_found_signed() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, key) = (root.path().join("edge-fw"), root.path().join("author.key"));
    let begun =
        done(Author::New { folder: folder.clone(), name: None, process: "edgefwd".to_owned() });
    assert_eq!(begun["name"], "edgefw", "letters and digits of the folder's name");
    assert_eq!(done(lint(&folder, None))["name"], "edgefw");

    let sign = |new_key| sign(Some(&folder), &key, new_key);
    done(sign(true));
    assert!(matches!(run(sign(true), &mut Vec::new(), false), Err(Error::File { .. })));
    let same = self::sign(None, &root.path().join("x.pub"), true);
    assert!(matches!(run(same, &mut Vec::new(), false), Err(Error::Usage(_))));
    assert!(!root.path().join("x.pub").exists(), "no key that would be lost at once");
    done(sign(false));
    let packed = done(Author::Pack { folder: folder.clone(), output: None });
    let archive = root.path().join("edge-fw.tar.gz");
    assert_eq!(packed["archive"], archive.to_str().expect("UTF-8"));

    let keys = root.path().join("keys");
    std::fs::create_dir(&keys).expect("made");
    let refused = run(lint(&archive, Some(&keys)), &mut Vec::new(), false).expect_err("no key");
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
    std::fs::copy(key.with_extension("pub"), keys.join("author.pub")).expect("copied");
    assert!(!done(lint(&archive, Some(&keys)))["signature"].is_null());
}

#[test]
fn what_is_wrong_with_a_package_is_told_with_its_code_and_no_archive_is_left() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("bad");
    done(Author::New { folder: folder.clone(), name: None, process: "p".to_owned() });
    std::fs::remove_file(folder.join("start.sh")).expect("it was there");
    let output = root.path().join("bad.tar.zst");
    let pack = Author::Pack { folder, output: Some(output.clone()) };
    let error = run(pack, &mut Vec::new(), false).expect_err("a script is missing");
    assert!(error.to_string().contains("E-SCRIPT-MISSING"), "{error}");
    assert!(!output.exists());
    let nothing = sign(None, &root.path().join("none"), false);
    assert!(matches!(run(nothing, &mut Vec::new(), false), Err(Error::File { .. })));
}
