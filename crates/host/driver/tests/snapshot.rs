//! Snapshots of a container node's disk (T-21).

// A test stops at the first thing that goes wrong.
#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use bed::{exec, run};
use tokio_util::sync::CancellationToken;
use vnode_driver::*;

/// Everything of a tree that a node can see, and what of it lies in its files.
const LOOK: &str = "cd /data && find . -exec stat -c '%n %F %a %u %g %s %Y %h %t:%T' {} + | sort && \
                    find . -type f -exec cksum {} + | sort && readlink link && cat /gone 2>&1";

fn never() -> CancellationToken {
    CancellationToken::new()
}

#[test]
fn t21_a_snapshot_restores_the_same_files() {
    run(|bed| async move {
        let spec = bed.spec("a");
        let dir = bed.path("a");
        let node = bed.boot(&spec).await;
        let fill = "mkdir -p /data/deep/er && cd /data && echo one >one && ln one deep/same && ln -s ../one link && \
                    mkfifo pipe && chmod 4750 one && touch -d @1000 deep && \
                    dd if=/dev/urandom of=bytes bs=1000 count=300 2>/dev/null && \
                    dd if=/dev/zero of=hole bs=1 count=1 seek=50000000 2>/dev/null && chown 7:8 bytes && echo x >/gone && rm /gone";
        let (code, _, err) = exec(&node, fill).await;
        assert_eq!(code, 0, "{err}");
        let before = exec(&node, LOOK).await.1;
        let running = bed.driver().snapshot(&spec, &dir, "first", "me", &never()).await;
        assert!(matches!(running, Err(Error::Running { .. })), "{running:?}");
        node.halt(Duration::ZERO).await.unwrap();

        let taken = bed.driver().snapshot(&spec, &dir, "first", "me", &never()).await.unwrap();
        assert_eq!(taken.name, "first");
        assert!(taken.bytes >= 50_300_000, "{taken:?}");
        let hole = dir.join("snapshots/first/upper/data/hole");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(hole).unwrap());
        assert!(blocks < 1000, "the hole takes {blocks} blocks");
        // The name is taken, by whatever disk.
        let again = bed.driver().snapshot(&spec, &dir, "first", "other", &never()).await;
        assert!(again.unwrap_err().to_string().contains("has a snapshot `first`"));
        bed.driver().remove_snapshot(&spec, &dir, "first", Some("other")).await.unwrap();
        // Asked again by the same one, as after a crash, it is there.
        let again = bed.driver().snapshot(&spec, &dir, "first", "me", &never()).await.unwrap();
        assert_eq!(again, taken);

        node.boot(&spec).await.unwrap();
        let (code, ..) =
            exec(&node, "rm -r /data; mkdir /data; echo other >/data/one; echo y >/gone").await;
        assert_eq!(code, 0);
        node.halt(Duration::ZERO).await.unwrap();
        for _ in 0..2 {
            bed.driver().restore(&spec, &dir, "first", &never()).await.unwrap();
            node.boot(&spec).await.unwrap();
            assert_eq!(exec(&node, LOOK).await.1, before);
            node.halt(Duration::ZERO).await.unwrap();
        }
        bed.driver().remove_snapshot(&spec, &dir, "first", None).await.unwrap();
        bed.driver().remove_snapshot(&spec, &dir, "first", None).await.unwrap();
        assert!(bed.driver().snapshots(&spec, &dir).await.unwrap().is_empty());
        let gone = bed.driver().restore(&spec, &dir, "first", &never()).await;
        assert!(gone.unwrap_err().to_string().contains("no snapshot `first`"));
        bed.destroy(&spec).await;
        assert!(!dir.exists());
    });
}

#[test]
fn t21_names_images_and_cancelling() {
    run(|bed| async move {
        let spec = bed.spec("a");
        let dir = bed.path("a");
        let node = bed.boot(&spec).await;
        assert_eq!(exec(&node, "echo 1 >/file").await.0, 0);
        node.halt(Duration::ZERO).await.unwrap();
        for name in ["", "..", "a/b", ".new", "two words"] {
            let refused = bed.driver().snapshot(&spec, &dir, name, "me", &never()).await;
            assert!(matches!(refused, Err(Error::Invalid { .. })), "{name}: {refused:?}");
        }
        let cancelled = never();
        cancelled.cancel();
        bed.driver().snapshot(&spec, &dir, "no", "me", &cancelled).await.unwrap_err();
        assert!(bed.driver().snapshots(&spec, &dir).await.unwrap().is_empty());
        assert!(!dir.join("snapshots/.new").exists());

        // What a crash left behind does not matter.
        std::fs::create_dir_all(dir.join("snapshots/.new/upper/half")).unwrap();
        std::fs::create_dir_all(dir.join("upper.new/half")).unwrap();
        for name in ["b", "a"] {
            bed.driver().snapshot(&spec, &dir, name, "me", &never()).await.unwrap();
        }
        let names: Vec<String> = bed
            .driver()
            .snapshots(&spec, &dir)
            .await
            .unwrap()
            .into_iter()
            .map(|s| s.name)
            .collect();
        assert!(names.len() == 2 && names.contains(&"a".into()), "{names:?}");
        // The same writable layer over another image is another disk.
        let mut other = spec.clone();
        other.layers.insert(0, dir.join("snapshots/a/upper"));
        let refused = bed.driver().restore(&other, &dir, "a", &never()).await.unwrap_err();
        assert!(refused.to_string().contains("another image"), "{refused}");
        bed.driver().restore(&spec, &dir, "a", &never()).await.unwrap();
        assert!(!dir.join("upper.new").exists());
        bed.destroy(&spec).await;
    });
}
