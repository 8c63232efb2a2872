//! Fault points in this process. One test: the points are global.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod world;

use std::{collections::BTreeSet, fs, sync::Arc};

use vnode_operation::{Outcome, fault};
use world::{World, engine, house};

#[tokio::test]
async fn points_are_traced_fail_when_armed_and_cost_nothing_else() {
    for wrong in ["kill", "kill:", "wait:x", "error:x#", "error:x#0", "error:#1", "kill:a#b"] {
        assert!(fault::arm(wrong).is_err(), "{wrong}");
    }
    assert!(fault::arm("trace:/no/such/folder/file").is_err());
    assert!(!fault::is_armed());

    fault::arm("error:twice#2").unwrap();
    assert!(fault::point("twice").is_ok());
    assert_eq!(fault::point("twice").unwrap_err().point, "twice");
    assert!(fault::point("twice").is_ok());
    assert!(fault::point("other").is_ok());

    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    for (point, undone) in [
        ("plan.written", true),
        ("build.part.before", true),
        ("build.part.before#7", true),
        ("build.part.after#4", true),
        ("finish.before#1", true),
        ("finish.after", false),
    ] {
        fault::arm(&format!("error:{point}, trace:{}", trace.display())).unwrap();
        let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
        let engine = engine(&store, &world).await;
        let (_, outcome) = engine.perform(house()).await.unwrap();
        if undone {
            let Outcome::RolledBack { cause, .. } = outcome else { panic!("{point}: {outcome:?}") };
            assert!(cause.error.text.contains("fault injected"), "{}", cause.error.text);
            assert_eq!(world.things(), BTreeSet::new(), "{point}");
            assert_eq!(store.get("house").await.unwrap(), None);
        } else {
            assert_eq!(outcome, Outcome::Completed);
        }
        assert_eq!(store.list("operation/plan/").await.unwrap(), []);
    }
    let traced = fs::read_to_string(&trace).unwrap();
    for point in ["plan.written", "build.part.before", "build.part.inverse.after", "finish.after"] {
        assert!(traced.lines().any(|line| line == point), "{point}");
    }

    // An end that can never be written: the plan stays, and the next daemon recovers it.
    fault::arm("error:finish.before").unwrap();
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let first = engine(&store, &world).await;
    let (id, outcome) = first.perform(house()).await.unwrap();
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    first.stop().await;
    fault::arm("").unwrap();
    let second = engine(&store, &world).await;
    assert_eq!(second.recover().await.unwrap().operations, [id]);
    assert!(matches!(second.wait(id).await.unwrap(), Outcome::RolledBack { .. }));
    assert_eq!(world.things(), BTreeSet::new());
    assert_eq!(store.get("house").await.unwrap(), None);
}
