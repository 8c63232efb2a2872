use std::{sync::atomic::AtomicBool, time::Duration};

use super::*;

fn unused(locks: &Locks) -> bool {
    locks.0.tables.iter().all(|table| table.lock().unwrap().is_empty())
}

#[tokio::test]
async fn t86_taking_an_inner_lock_keeps_the_outer() {
    let locks = Locks::new();
    let mut begin = locks.begin();
    let mut outer = begin.node("r1").await;
    drop(outer.allocator().await);
    drop(outer.firewall().await);
    let entered = Arc::new(AtomicBool::new(false));
    let other = tokio::spawn({
        let (locks, entered) = (locks.clone(), Arc::clone(&entered));
        async move {
            let mut begin = locks.begin();
            let _node = begin.node("r1").await;
            entered.store(true, Relaxed);
        }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(
        !entered.load(Relaxed),
        "the second holder came in while the first held the outer lock"
    );
    drop(outer);
    other.await.unwrap();
    assert!(entered.load(Relaxed));
    assert!(unused(&locks));
}

#[tokio::test]
async fn t88_waiting_is_cancelled_with_nothing_left() {
    let locks = Locks::new();
    let mut begin = locks.begin();
    let held = begin.nodes(["b".to_owned(), "a".to_owned(), "b".to_owned()]).await;
    let mut second = locks.begin();
    {
        // Takes c, then waits for b, then is dropped.
        let waiting = second.nodes(["b".to_owned(), "0".to_owned()]);
        let waited = tokio::time::timeout(Duration::from_millis(5), waiting).await;
        assert!(waited.is_err());
    }
    let free = tokio::time::timeout(Duration::from_secs(5), second.node("0")).await;
    drop(free.expect("the lock taken before the cancelled wait is free again"));
    drop(held);
    drop(tokio::time::timeout(Duration::from_secs(5), second.node("b")).await.expect("free"));
    assert!(unused(&locks));
}

#[tokio::test]
async fn locks_of_other_ids_are_free_and_counted() {
    let locks = Locks::new();
    let mut one = locks.begin();
    let mut two = locks.begin();
    let a = one.node("a").await;
    let b = two.node("b").await;
    drop((a, b));
    let stats = locks.stats();
    assert_eq!(stats[2].level, "node");
    assert_eq!((stats[2].taken, stats[2].waited), (2, 0));
    assert!(stats[2].longest <= stats[2].held);
    assert!(unused(&locks));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_exclude_each_other_and_leave_no_locks() {
    let locks = Locks::new();
    let inside = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64 {
        let (locks, inside) = (locks.clone(), Arc::clone(&inside));
        tasks.spawn(async move {
            for round in 0..50 {
                let mut begin = locks.begin();
                let pair = [format!("n{}", task % 3), format!("n{}", (task + round) % 3)];
                let mut nodes = begin.nodes(pair).await;
                let _allocator = nodes.allocator().await;
                assert_eq!(inside.fetch_add(1, Relaxed), 0);
                tokio::task::yield_now().await;
                assert_eq!(inside.fetch_sub(1, Relaxed), 1);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert!(unused(&locks));
}
