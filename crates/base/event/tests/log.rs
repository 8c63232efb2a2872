//! The stream through its public API: order, replay, lag, crash, pruning.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use vnode_event::{Draft, Ended, Event, Filter, Log, Options};
use vnode_store::{Change, Store};

async fn open(store: &Arc<dyn Store>) -> Arc<Log> {
    Log::open(Arc::clone(store), Options::default()).await.unwrap()
}

fn append(log: &Log, number: u64) -> Arc<Event> {
    let kind = if number.is_multiple_of(2) { "node.booted" } else { "link.down" };
    log.append(kind, format!("lab/first/{}", number % 3), None, json!(number))
}

fn all() -> Filter {
    Filter::default()
}

#[tokio::test]
async fn events_are_read_at_once_and_again_after_they_are_stored() {
    let store = vnode_store::memory();
    let log = open(&store).await;
    let event = log.append("node.booted", "lab/first/node/r1", Some("op1"), json!({"pid": 7}));
    let read = log.read(0, 10, &all()).await.unwrap();
    assert_eq!(read, [Arc::clone(&event)]);
    log.flush().await.unwrap();
    let read = log.read(0, 10, &all()).await.unwrap();
    assert_eq!(read, [Arc::clone(&event)]);
    assert_eq!(log.read(event.seq, 10, &all()).await.unwrap(), []);
    let text = serde_json::to_value(&*event).unwrap();
    assert_eq!(text["operation"], "op1");
    assert_eq!(serde_json::from_value::<Event>(text).unwrap(), *event);
}

#[tokio::test]
async fn reading_filters_by_prefix_and_pages_over_memory_and_store() {
    let store = vnode_store::memory();
    let log = open(&store).await;
    for number in 0..3000 {
        append(&log, number);
        if number == 1700 {
            log.flush().await.unwrap();
        }
    }
    let read = log.read(0, usize::MAX, &all()).await.unwrap();
    let numbers: Vec<u64> = read.iter().map(|event| event.data.as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
    let filter =
        Filter { subject_prefix: "lab/first/1".to_owned(), kind_prefix: "node.".to_owned() };
    let read = log.read(0, 100, &filter).await.unwrap();
    assert_eq!(read.len(), 100);
    assert!(read.iter().all(|event| event.data.as_u64().unwrap() % 6 == 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_gets_each_event_once_in_order_from_where_it_says() {
    let store = vnode_store::memory();
    let log = open(&store).await;
    for number in 0..2000 {
        append(&log, number);
    }
    let first = log.read(0, 1, &all()).await.unwrap()[0].seq;
    let mut replay = log.subscribe(Some(first + 99));
    let mut live = log.subscribe(None);
    let writer = tokio::spawn({
        let log = Arc::clone(&log);
        async move {
            for number in 2000..4000 {
                append(&log, number);
                if number % 100 == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
    });
    for expected in 100..4000_u64 {
        let event = match replay.next().await {
            Ok(event) => event,
            Err(Ended::Lagged { after }) => {
                replay = log.subscribe(Some(after));
                replay.next().await.unwrap()
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(event.data, json!(expected));
        assert_eq!(replay.position(), event.seq);
    }
    assert_eq!(live.next().await.unwrap().data, json!(2000));
    writer.await.unwrap();
}

#[tokio::test]
async fn a_slow_subscriber_is_told_and_comes_back_without_loss() {
    let store = vnode_store::memory();
    let log = open(&store).await;
    let mut slow = log.subscribe(None);
    append(&log, 0);
    assert_eq!(slow.next().await.unwrap().data, json!(0));
    // Into the live part, which is bounded.
    assert!(tokio::time::timeout(Duration::from_millis(5), slow.next()).await.is_err());
    for number in 1..6000 {
        append(&log, number);
    }
    let Err(Ended::Lagged { after }) = slow.next().await else { panic!("it was told nothing") };
    let mut again = log.subscribe(Some(after));
    for expected in 1..6000 {
        assert_eq!(again.next().await.unwrap().data, json!(expected));
    }
}

#[tokio::test]
async fn events_go_in_the_commit_of_a_change_and_hold_later_ones_back() {
    let store = vnode_store::memory();
    let log = open(&store).await;
    let mut seen = log.subscribe(None);
    let drafts = [Draft::new("node.booted", "r1"), Draft::new("link.up", "l1").operation("op")];
    let mut reserved = log.changes_for(&drafts).unwrap();
    let given_up = log.changes_for(&[Draft::new("never", "x")]).unwrap();
    append(&log, 7);
    assert!(tokio::time::timeout(Duration::from_millis(5), seen.next()).await.is_err());
    assert_eq!(log.read(0, 10, &all()).await.unwrap(), [], "readers wait too");
    let mut changes = reserved.take_changes();
    changes.push(Change::put("node/r1", b"up".to_vec()));
    store.commit(changes).await.unwrap();
    let published = reserved.publish();
    assert_eq!(seen.next().await.unwrap(), published[0]);
    assert_eq!(seen.next().await.unwrap().kind, "link.up");
    assert!(tokio::time::timeout(Duration::from_millis(5), seen.next()).await.is_err());
    drop(given_up);
    assert_eq!(seen.next().await.unwrap().data, json!(7));
    log.flush().await.unwrap();
    let read = log.read(0, 10, &all()).await.unwrap();
    assert_eq!(
        read.iter().map(|event| &event.data).collect::<Vec<_>>(),
        [&Value::Null, &Value::Null, &json!(7)]
    );
}

#[tokio::test]
async fn a_stored_event_among_many_unstored_ones_hides_none() {
    let store = vnode_store::memory();
    let log = open(&store).await;
    for number in 0..1500 {
        if number % 700 == 650 {
            let mut reserved = log.changes_for(&[Draft::new("a", "b")]).unwrap();
            store.commit(reserved.take_changes()).await.unwrap();
            reserved.publish();
        }
        append(&log, number);
    }
    let read = log.read(0, usize::MAX, &all()).await.unwrap();
    assert_eq!(read.len(), 1502);
    assert!(read.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
}

#[tokio::test]
async fn numbers_grow_over_an_end_in_order_and_over_a_crash() {
    let store = vnode_store::memory();
    let log = open(&store).await;
    append(&log, 0);
    let last = append(&log, 1).seq;
    log.close().await.unwrap();
    drop(log);
    let log = open(&store).await;
    assert_eq!(append(&log, 2).seq, last + 1, "no gap after an end in order");
    // The crash: the last event was seen, and never stored.
    let seen = append(&log, 3).seq;
    drop(log);
    let log = open(&store).await;
    let next = append(&log, 4).seq;
    assert!(next > seen, "{next} was given out before");
    let read = log.read(0, 10, &all()).await.unwrap();
    assert!(read.windows(2).all(|pair| pair[0].seq < pair[1].seq));
}

#[tokio::test(start_paused = true)]
async fn events_are_pruned_by_count() {
    let store = vnode_store::memory();
    let options = Options { keep_count: 1000, ..Options::default() };
    let log = Log::open(Arc::clone(&store), options).await.unwrap();
    for number in 0..10_000 {
        append(&log, number);
        if number % 500 == 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    let kept = store.list("event/").await.unwrap().len();
    assert_eq!(kept, 1000);
    let read = log.read(0, 1, &all()).await.unwrap();
    assert_eq!(read[0].data, json!(9000));
    let mut old = log.subscribe(Some(1));
    assert_eq!(old.next().await.unwrap().data, json!(9000));
}

#[tokio::test(start_paused = true)]
async fn events_are_pruned_by_age() {
    let store = vnode_store::memory();
    let log = open(&store).await;
    for number in 0..700 {
        append(&log, number);
    }
    log.close().await.unwrap();
    drop(log);
    std::thread::sleep(Duration::from_millis(30));
    let options = Options { keep_age: Duration::from_millis(20), ..Options::default() };
    let log = Log::open(Arc::clone(&store), options).await.unwrap();
    append(&log, 700);
    // Time stands still for the age of events: only those from before are old.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kept = store.list("event/").await.unwrap().len();
    assert!(kept <= 1, "{kept} are kept");
}

#[tokio::test]
async fn subscribers_end_with_the_log() {
    let store = vnode_store::memory();
    let log = open(&store).await;
    let mut events = log.subscribe(None);
    append(&log, 0);
    events.next().await.unwrap();
    drop(log);
    assert!(matches!(events.next().await, Err(Ended::Closed)));
}
