//! Both engines keep the same promises; the file also survives what may happen to files.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use vnode_store::{Change, Entry, Error, Expect, Notice, Store, memory, open};

/// A store of each kind, and the folder of the file.
fn both() -> (tempfile::TempDir, Vec<Arc<dyn Store>>) {
    let folder = tempfile::tempdir().unwrap();
    let file = open(&folder.path().join("state/store.redb")).unwrap();
    (folder, vec![memory(), file])
}

fn put(key: &str, value: &str) -> Change {
    Change::put(key, value.as_bytes().to_vec())
}

async fn keys(store: &Arc<dyn Store>, prefix: &str) -> Vec<String> {
    store.list(prefix).await.unwrap().into_iter().map(|(key, _)| key).collect()
}

#[tokio::test]
async fn what_is_put_is_found_with_its_revision() {
    let (_folder, stores) = both();
    for store in stores {
        assert_eq!(store.get("a").await.unwrap(), None);
        let first = store.commit(vec![put("a", "1"), put("b", "2")]).await.unwrap();
        let second = store.commit(vec![put("a", "3")]).await.unwrap();
        assert!(second > first);
        let entry = |value: &str, revision| Entry { value: value.as_bytes().to_vec(), revision };
        assert_eq!(store.get("a").await.unwrap(), Some(entry("3", second)));
        assert_eq!(store.get("b").await.unwrap(), Some(entry("2", first)));
        store.commit(vec![Change::delete("a"), Change::delete("never")]).await.unwrap();
        assert_eq!(store.get("a").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_conflict_names_the_key_and_changes_nothing() {
    let (_folder, stores) = both();
    for store in stores {
        let first = store.commit(vec![put("a", "1")]).await.unwrap();
        store.commit(vec![put("a", "2")]).await.unwrap();
        for wrong in [
            Change::create("a", vec![]),
            Change::replace("a", vec![], first),
            Change::replace("missing", vec![], first),
            Change::Delete { key: "a".to_owned(), expect: Expect::Revision(first) },
        ] {
            let key = wrong.key().to_owned();
            let error = store.commit(vec![put("new", "x"), wrong]).await.unwrap_err();
            assert!(matches!(&error, Error::Conflict { key: named } if *named == key), "{error}");
            assert_eq!(keys(&store, "").await, ["a"]);
        }
        let entry = store.get("a").await.unwrap().unwrap();
        assert_eq!(entry.value, b"2");
        store.commit(vec![Change::replace("a", b"3".to_vec(), entry.revision)]).await.unwrap();
    }
}

#[tokio::test]
async fn lists_scans_and_lasts_are_in_order_of_keys_and_within_the_prefix() {
    let (_folder, stores) = both();
    for store in stores {
        let all = ["a", "b/1", "b/2", "b/3", "b0", "c", "ü/1", "ü/2"];
        store.commit(all.iter().rev().map(|key| put(key, "")).collect()).await.unwrap();
        assert_eq!(keys(&store, "").await, all);
        assert_eq!(keys(&store, "b/").await, ["b/1", "b/2", "b/3"]);
        assert_eq!(keys(&store, "none").await, Vec::<String>::new());
        let scan = store.scan("b/", "b/2", 1).await.unwrap();
        assert_eq!(scan[0].0, "b/2");
        assert_eq!(scan.len(), 1);
        assert_eq!(store.last("b/").await.unwrap().unwrap().0, "b/3");
        assert_eq!(store.last("ü/").await.unwrap().unwrap().0, "ü/2");
        assert_eq!(store.last("").await.unwrap().unwrap().0, "ü/2");
        assert_eq!(store.last("none").await.unwrap(), None);
    }
}

#[tokio::test]
async fn commits_that_no_engine_can_make_are_refused() {
    let (_folder, stores) = both();
    for store in stores {
        for wrong in [
            vec![put("a", "1"), Change::delete("a")],
            vec![put("", "1")],
            vec![put(&"k".repeat(2000), "1")],
        ] {
            let error = store.commit(wrong).await.unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
        }
        assert_eq!(keys(&store, "").await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn watchers_hear_their_prefix_and_are_told_when_they_lag() {
    let (_folder, stores) = both();
    for store in stores {
        let mut watch = store.watch("node/");
        let mut slow = store.watch("node/");
        store.commit(vec![put("lab/1", "")]).await.unwrap();
        let revision = store
            .commit(vec![put("node/1", ""), put("lab/2", ""), put("node/2", "")])
            .await
            .unwrap();
        let keys = vec!["node/1".to_owned(), "node/2".to_owned()];
        assert_eq!(watch.next().await, Some(Notice::Changed { revision, keys }));
        for _ in 0..2000 {
            store.commit_lazily(vec![put("node/1", "")]).await.unwrap();
        }
        let mut lagged = false;
        while let Ok(Some(notice)) =
            tokio::time::timeout(Duration::from_millis(50), slow.next()).await
        {
            lagged |= notice == Notice::Lagged;
        }
        assert!(lagged);
        drop(store);
        while let Some(notice) = watch.next().await {
            drop(notice);
        }
    }
}

#[tokio::test]
async fn changes_are_counted_by_prefix_before_a_commit_is_answered() {
    let (_folder, stores) = both();
    for store in stores {
        store.commit(vec![put("node/0", "")]).await.unwrap();
        let (nodes, again) = (store.changes("node/"), store.changes("node/"));
        let labs = store.changes("lab/");
        let before = (nodes.count(), labs.count());
        store.commit(vec![put("node/1", ""), put("node/2", "")]).await.unwrap();
        assert_ne!(nodes.count(), before.0);
        assert_eq!((again.count(), labs.count()), (nodes.count(), before.1));
        store.commit_lazily(vec![Change::delete("lab/1"), put("x", "")]).await.unwrap();
        assert_ne!(labs.count(), before.1);
        let before = nodes.count();
        // What is refused changes nothing.
        store.commit(vec![Change::create("node/1", Vec::new())]).await.unwrap_err();
        assert_eq!(nodes.count(), before);
        store.commit(vec![Change::delete("node/1")]).await.unwrap();
        assert_ne!(nodes.count(), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_counters_lose_no_step() {
    let (_folder, stores) = both();
    for store in stores {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let mut done = 0;
                while done < 10 {
                    let (value, expect) = match store.get("count").await.unwrap() {
                        None => (0, Expect::Absent),
                        Some(entry) => {
                            let text = String::from_utf8(entry.value).unwrap();
                            (text.parse::<u64>().unwrap(), Expect::Revision(entry.revision))
                        }
                    };
                    let value = (value + 1).to_string().into_bytes();
                    let change = Change::Put { key: "count".to_owned(), value, expect };
                    match store.commit(vec![change]).await {
                        Ok(_) => done += 1,
                        Err(error) => assert!(error.is_conflict(), "{error}"),
                    }
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        assert_eq!(store.get("count").await.unwrap().unwrap().value, b"80");
    }
}

#[tokio::test]
async fn the_file_keeps_what_was_committed_lazily_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path).unwrap();
    let first = store.commit(vec![put("a", "1")]).await.unwrap();
    store.commit_lazily(vec![put("b", "2")]).await.unwrap();
    drop(store);
    let store = open(&path).unwrap();
    assert_eq!(keys(&store, "").await, ["a", "b"]);
    assert!(store.commit(vec![put("c", "3")]).await.unwrap() > first + 1, "revisions only grow");
}

#[tokio::test]
async fn t89_the_file_is_for_its_owner_alone_and_for_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/store.redb");
    let store = open(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&folder.path().join("state/store.redb.lock")), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let error = open(&path).unwrap_err();
    assert!(matches!(error, Error::Held { .. }));
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    drop(store);
    open(&path).unwrap();
}

#[test]
fn files_that_are_not_ours_are_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    fs::write(&text, "not a store ".repeat(1000)).unwrap();
    let error = open(&text).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert_eq!(fs::read_to_string(&text).unwrap(), "not a store ".repeat(1000));

    let other = folder.path().join("other");
    let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("theirs");
    let write = |path: &Path, table, version| {
        let database = redb::Database::create(path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(table).unwrap().insert("format", version).unwrap();
        transaction.commit().unwrap();
    };
    write(&other, table, 1);
    let error = open(&other).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");

    let newer = folder.path().join("newer");
    drop(open(&newer).unwrap());
    let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    write(&newer, meta, 7);
    let error = open(&newer).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 7, known: 1, .. }), "{error}");
}

#[test]
fn t31_a_damaged_file_never_gives_a_wrong_value() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let value = |i: u32| vnode_store::record::encode(1, &format!("value {i}")).unwrap();
    runtime.block_on(async {
        let store = open(&path).unwrap();
        for i in 0..64 {
            store.commit(vec![Change::put(format!("key/{i:03}"), value(i))]).await.unwrap();
        }
    });
    let whole = fs::read(&path).unwrap();
    let length = fs::metadata(&path).unwrap().size();
    let (mut refused, mut read) = (0, 0);
    // The panics that the engine may have on the way are caught; their reports are not wanted here.
    std::panic::set_hook(Box::new(|_| {}));
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1;
    for round in 0..100 {
        let at = used * round / 100;
        fs::write(&path, &whole).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        if round % 10 == 9 {
            file.set_len(at).unwrap();
        } else {
            file.write_all_at(&[!whole[at as usize]], at).unwrap();
        }
        drop(file);
        let Ok(store) = open(&path) else {
            refused += 1;
            continue;
        };
        runtime.block_on(async {
            match store.list("key/").await {
                Err(_) => refused += 1,
                Ok(entries) => {
                    for (key, entry) in entries {
                        let Ok(text) = vnode_store::record::decode::<String>(&entry.value, &[])
                        else {
                            continue;
                        };
                        let number: u32 = key["key/".len()..].parse().unwrap();
                        assert_eq!(text, format!("value {number}"), "byte {at} of {length}");
                    }
                    read += 1;
                }
            }
        });
    }
    drop(std::panic::take_hook());
    println!("{refused} damaged files refused, {read} read with right or no values");
    assert!(refused > 0);
}
