//! Events as handlers see them: every variable, in upstream's order; nothing lost when a handler fails.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod common;

use std::fs;

use common::{LIST, ONE, URI, site};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use vnode_imagelist::{
    event::{CacheFolders, Event, Handler, Kind, Queue, Session},
    lists::{Subscribe, Wanted},
};

async fn wanted() -> Wanted {
    let site = site();
    let ask = Subscribe { uri: URI.to_owned(), auto_endorse: true, ..Subscribe::default() };
    site.lists.subscribe(&ask).await.unwrap();
    site.lists.select(LIST, ONE, true).await.unwrap();
    site.wanted().await.remove(0)
}

fn cache_session() -> Session {
    Session {
        cache: Some(CacheFolders {
            database: "sqlite:///vmcatcher.db".to_owned(),
            cache: "cache".to_owned(),
            download: "cache/partial".to_owned(),
            expire: "cache/expired".to_owned(),
        }),
        ..Session::default()
    }
}

/// Section 3.3: what a handler gets for `AvailablePostfix` of list `v1`, written down by a handler.
#[tokio::test]
async fn the_example_of_section_3_3_comes_out_of_a_handler() {
    let wanted = wanted().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("seen");
    let queue = Queue::new(vnode_store::memory());
    let event = Event::of_image(
        Kind::AvailablePostfix,
        &wanted.image,
        &wanted.list,
        wanted.vo.as_deref(),
        ONE,
    );
    let session = cache_session();
    queue.push(&session, [event], Timestamp::now()).await.unwrap();
    let order: Vec<String> =
        queue.undelivered().await.unwrap()[0].environment.iter().map(|(n, _)| n.clone()).collect();
    let handler = Handler::new(format!("env | grep ^VMCATCHER > '{}'", out.display()));
    let delivered =
        queue.deliver(&handler, Timestamp::now, &CancellationToken::new()).await.unwrap();
    assert_eq!((delivered.done, delivered.failed, delivered.left), (1, 0, 0));
    let mut seen: Vec<String> =
        fs::read_to_string(&out).unwrap().lines().map(str::to_owned).collect();
    let id = session.id;
    let sha512 = wanted.image.sha512;
    let expected = [
        "VMCATCHER_EVENT_TYPE=AvailablePostfix".to_owned(),
        format!("VMCATCHER_EVENT_UUID_SESSION={id}"),
        "VMCATCHER_RDBMS=sqlite:///vmcatcher.db".to_owned(),
        "VMCATCHER_CACHE_DIR_CACHE=cache".to_owned(),
        "VMCATCHER_CACHE_DIR_DOWNLOAD=cache/partial".to_owned(),
        "VMCATCHER_CACHE_DIR_EXPIRE=cache/expired".to_owned(),
        format!("VMCATCHER_EVENT_DC_IDENTIFIER={ONE}"),
        "VMCATCHER_EVENT_DC_TITLE=Demo".to_owned(),
        "VMCATCHER_EVENT_DC_DESCRIPTION=Demonstration image".to_owned(),
        "VMCATCHER_EVENT_HV_FORMAT=RAW".to_owned(),
        "VMCATCHER_EVENT_HV_HYPERVISOR=KVM".to_owned(),
        "VMCATCHER_EVENT_HV_SIZE=118784".to_owned(),
        "VMCATCHER_EVENT_HV_URI=http://127.0.0.1:8000/images/demo-1.raw".to_owned(),
        "VMCATCHER_EVENT_HV_VERSION=1.0".to_owned(),
        "VMCATCHER_EVENT_SL_ARCH=x86_64".to_owned(),
        "VMCATCHER_EVENT_SL_OS=Linux".to_owned(),
        "VMCATCHER_EVENT_SL_OSVERSION=1.0".to_owned(),
        format!("VMCATCHER_EVENT_SL_CHECKSUM_SHA512={sha512}"),
        format!("VMCATCHER_EVENT_IL_DC_IDENTIFIER={LIST}"),
        format!("VMCATCHER_EVENT_AD_MPURI=https://market.example.org/image/{ONE}:1/"),
        "VMCATCHER_EVENT_VO=demo.example.org".to_owned(),
        format!("VMCATCHER_EVENT_FILENAME={ONE}"),
    ];
    let names: Vec<&str> = expected.iter().filter_map(|l| Some(l.split_once('=')?.0)).collect();
    assert_eq!(order, names, "in upstream's order, and no SL_COMMENTS, which is empty");
    // `env` prints in the order of the process, which a shell may change.
    let mut expected = expected.to_vec();
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn e14_w16_a_failing_handler_loses_nothing_and_holds_up_no_other_event() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("seen");
    let queue = Queue::new(vnode_store::memory());
    let mut now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    let kinds = [Kind::ProcessPrefix, Kind::ProcessPostfix];
    queue.push(&Session::default(), kinds.map(Event::of_run), now).await.unwrap();
    let mut handler = Handler::new(format!(
        "echo $VMCATCHER_EVENT_TYPE $VMCATCHER_EVENT_ATTEMPT >> '{}'; \
         test $VMCATCHER_EVENT_TYPE = ProcessPostfix || {{ echo no such cloud >&2; exit 7; }}",
        out.display()
    ));
    handler.retries = 2;
    let never = CancellationToken::new();
    let first = queue.deliver(&handler, || now, &never).await.unwrap();
    assert_eq!((first.done, first.failed, first.left), (1, 1, 1));
    let waits = queue.undelivered().await.unwrap();
    let error = waits[0].tries.error.as_deref().unwrap();
    assert!(error.contains('7') && error.contains("no such cloud"), "{error}");
    // Not before its pause is over.
    assert_eq!(queue.deliver(&handler, || now, &never).await.unwrap().left, 1);
    for _ in 0..3 {
        now += SignedDuration::from_hours(2);
        queue.deliver(&handler, || now, &never).await.unwrap();
    }
    let seen = fs::read_to_string(&out).unwrap();
    assert_eq!(seen, "ProcessPrefix\nProcessPostfix\nProcessPrefix 2\nProcessPrefix 3\n");
    let waits = queue.undelivered().await.unwrap();
    assert!(waits.len() == 1 && waits[0].tries.given_up, "kept and listed");
    // An operator mends the handler and offers it again.
    assert_eq!(queue.retry_given_up(now).await.unwrap(), 1);
    let mended = queue.deliver(&Handler::new("exit 0"), || now, &never).await.unwrap();
    assert_eq!((mended.done, mended.left), (1, 0));
}

#[tokio::test]
async fn w02_values_are_never_part_of_the_command() {
    let mut wanted = wanted().await;
    let folder = tempfile::tempdir().unwrap();
    let trap = folder.path().join("trap");
    let evil = format!("$(touch '{0}')`touch '{0}'`\"; touch '{0}'; \"\nx", trap.display());
    wanted.image.title = evil.clone();
    wanted.image.description = "a\0b".to_owned();
    let out = folder.path().join("seen");
    let queue = Queue::new(vnode_store::memory());
    let event = Event::of_image(Kind::AvailablePostfix, &wanted.image, LIST, None, ONE);
    queue.push(&Session::default(), [event], Timestamp::now()).await.unwrap();
    let handler = Handler::new(format!(
        "printf '%s' \"$VMCATCHER_EVENT_DC_TITLE\" > '{}'; test $VMCATCHER_EVENT_DC_DESCRIPTION = ab",
        out.display()
    ));
    let never = CancellationToken::new();
    assert_eq!(queue.deliver(&handler, Timestamp::now, &never).await.unwrap().done, 1);
    assert_eq!(fs::read_to_string(&out).unwrap(), evil);
    assert!(!trap.exists());
}

#[tokio::test]
async fn w15_a_handler_that_hangs_is_ended_and_the_event_kept() {
    let queue = Queue::new(vnode_store::memory());
    let now = Timestamp::now();
    queue.push(&Session::default(), [Event::of_run(Kind::ProcessPrefix)], now).await.unwrap();
    let mut handler = Handler::new("sleep 1000");
    handler.time_limit = Some(std::time::Duration::from_millis(50));
    let never = CancellationToken::new();
    let delivered = queue.deliver(&handler, || now, &never).await.unwrap();
    assert_eq!((delivered.failed, delivered.left), (1, 1));
}
