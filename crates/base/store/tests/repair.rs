//! A store whose file was altered is refused with the place, left as it is, and repaired (OP-12 of the network functions).
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use vnode_store::{Change, Error, Store, open, record, repair};

type Values = BTreeMap<String, Vec<u8>>;

fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn values(store: &Arc<dyn Store>) -> Values {
    let all = block(store.list("")).unwrap();
    all.into_iter().map(|(key, entry)| (key, entry.value)).collect()
}

/// A store with enough in it for branches, values of all sizes, and pages that were given back.
fn filled() -> (tempfile::TempDir, PathBuf, Values, Vec<u8>) {
    // What an engine says on the way to an error is not wanted here.
    std::panic::set_hook(Box::new(|_| {}));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path).unwrap();
    for round in 0..6_u32 {
        let put = (0..60_u32).map(|number| {
            let text = format!("{round} {number} {}", "x".repeat((number * 37 % 700) as usize));
            Change::put(format!("key/{number:03}"), record::encode(1, &text).unwrap())
        });
        block(store.commit(put.collect())).unwrap();
    }
    let large = record::encode(1, &"y".repeat(20_000)).unwrap();
    block(store.commit(vec![Change::put("large", large), Change::delete("key/007")])).unwrap();
    let values = values(&store);
    drop(store);
    let whole = fs::read(&path).unwrap();
    (folder, path, values, whole)
}

#[test]
fn op_12_a_wrong_byte_is_refused_with_its_offset_and_a_repair_loses_nothing() {
    let (_folder, path, expected, whole) = filled();
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    // The header, and places all over the pages.
    let places = (0..320).step_by(40).chain((1..24).map(|part| 320 + (used - 321) * part / 24));
    let (mut refused, mut taken) = (0, 0);
    for (round, at) in places.enumerate() {
        let mut bytes = whole.clone();
        bytes[at] ^= if round % 3 == 0 { 0xff } else { 1 << (round % 8) };
        fs::write(&path, &bytes).unwrap();
        match open(&path) {
            Ok(store) => {
                taken += 1;
                assert_eq!(values(&store), expected, "byte {at}");
            }
            Err(Error::Damaged { reason, .. }) => {
                refused += 1;
                let numbers = reason.split(|c: char| !c.is_ascii_digit());
                let place = numbers.filter_map(|number| number.parse::<usize>().ok()).next_back();
                let place = place.unwrap_or_else(|| panic!("{at}: {reason}"));
                assert_eq!(fs::read(&path).unwrap(), bytes, "a refusal changes nothing");
                let repaired = repair(&path).unwrap().expect("it was damaged");
                assert_eq!(fs::read(&repaired.kept).unwrap(), bytes);
                fs::remove_file(&repaired.kept).unwrap();
                let mut now = values(&open(&path).unwrap());
                if reason.starts_with("byte") {
                    assert_eq!(place, at, "{reason}");
                    assert!(repaired.is_all, "{repaired:?}");
                } else {
                    // The page of the large value has many bytes; nobody tries them all.
                    assert!((place..place + (32 << 10)).contains(&at), "{at}: {reason}");
                }
                assert!(repaired.is_all || repaired.lost == ["large"], "{repaired:?}");
                for lost in repaired.lost {
                    assert_eq!(now.insert(lost.clone(), expected[&lost].clone()), None);
                }
                assert_eq!(now, expected, "byte {at}: {reason}");
                assert!(repair(&path).unwrap().is_none(), "it is whole now");
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    drop(std::panic::take_hook());
    println!("{refused} refused and repaired, {taken} where nothing is");
    assert!(refused > 5);
}

#[test]
fn op_12_of_a_page_that_is_damaged_further_the_whole_records_stay() {
    let (_folder, path, expected, whole) = filled();
    let mut lost_any = 0;
    for key in expected.keys() {
        // Within this record of every commit that is still in the file.
        let record = &expected[key];
        let mut bytes = whole.clone();
        for at in 0..bytes.len() - record.len() {
            if bytes[at..].starts_with(record) {
                bytes[at + record.len() / 2..at + record.len() / 2 + 8].fill(0);
            }
        }
        fs::write(&path, &bytes).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(&error, Error::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("from byte") && text.contains("--repair"), "{text}");
        let repaired = repair(&path).unwrap().expect("it was damaged");
        assert!(!repaired.is_all && repaired.damage.iter().any(|damage| !damage.mended));
        let mut now = values(&open(&path).unwrap());
        assert_eq!(repaired.entries, now.len());
        if !repaired.went_back {
            assert_eq!(repaired.lost, std::slice::from_ref(key));
            lost_any += 1;
            now.insert(key.clone(), record.clone());
        }
        assert_eq!(now, expected, "{key}: {repaired:?}");
        fs::remove_file(&repaired.kept).unwrap();
        if lost_any == 3 {
            break;
        }
    }
    drop(std::panic::take_hook());
    assert!(lost_any > 0);
}

#[test]
fn op_12_what_nobody_can_read_is_refused_by_a_repair_too() {
    let (_folder, path, _, mut bytes) = filled();
    bytes[64..].fill(0x55);
    fs::write(&path, &bytes).unwrap();
    let error = repair(&path).unwrap_err();
    assert!(matches!(&error, Error::Damaged { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    fs::write(&path, "not a store ".repeat(1000)).unwrap();
    assert!(matches!(repair(&path).unwrap_err(), Error::Foreign { .. }));
    drop(std::panic::take_hook());
}

#[test]
fn op_12_a_wrong_byte_of_a_store_that_was_not_closed_is_no_commit_that_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path).unwrap();
    for number in 0..20_u32 {
        let value = record::encode(1, &format!("value {number}")).unwrap();
        block(store.commit(vec![Change::put(format!("key/{number}"), value)])).unwrap();
    }
    let expected = values(&store);
    // As it is on the disk while it is open: what is there when its process is killed.
    let copy = folder.path().join("copy.redb");
    let whole = fs::read(&path).unwrap();
    drop(store);
    fs::write(&copy, &whole).unwrap();
    assert_eq!(values(&open(&copy).unwrap()), expected);
    // The last value is in the last commit alone.
    let last = record::encode(1, &"value 19").unwrap();
    let mut bytes = whole.clone();
    let at = (0..bytes.len() - last.len()).find(|at| bytes[*at..].starts_with(&last)).unwrap();
    bytes[at + 20] ^= 4;
    fs::write(&copy, &bytes).unwrap();
    let error = open(&copy).unwrap_err().to_string();
    assert!(error.contains(&format!("byte {} is not", at + 20)), "{error}");
    let repaired = repair(&copy).unwrap().expect("it was damaged");
    assert!(repaired.is_all && !repaired.went_back, "{repaired:?}");
    assert_eq!(values(&open(&copy).unwrap()), expected);
    // Half of a page that was never written is a commit that was cut off.
    let mut bytes = whole;
    bytes[at..at + 512].fill(0);
    fs::write(&copy, &bytes).unwrap();
    let mut before = expected;
    before.remove("key/19");
    assert_eq!(values(&open(&copy).unwrap()), before);
}
