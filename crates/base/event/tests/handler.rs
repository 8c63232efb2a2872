//! Real programs run for events.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{fs, sync::Arc, time::Duration};

use serde_json::json;
use vnode_action::CancellationToken;
use vnode_event::{Event, Log, Options, handler::Handler};

struct Stage {
    folder: tempfile::TempDir,
    log: Arc<Log>,
    stop: CancellationToken,
}

impl Stage {
    async fn new() -> Self {
        let log = Log::open(vnode_store::memory(), Options::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { folder, log, stop: CancellationToken::new() }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    fn start(&self, handler: Handler) -> tokio::task::JoinHandle<()> {
        tokio::spawn(handler.serve(&self.log, self.stop.clone()))
    }

    async fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        for _ in 0..4000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not within 20 s: {what}");
    }
}

fn sh(script: String) -> Handler {
    let retry_pause = Duration::from_millis(1);
    Handler { retry_pause, ..Handler::new("test", ["/bin/sh".to_owned(), "-c".to_owned(), script]) }
}

#[tokio::test]
async fn the_program_gets_the_event_on_input_and_in_its_environment() {
    let stage = Stage::new().await;
    let (out, done) = (stage.file("out"), stage.file("done"));
    let script = format!("{{ env | grep ^VNODE_ | sort; cat; }} > {out}; : > {done}");
    let serving = stage.start(Handler { kind_prefix: "node.".to_owned(), ..sh(script) });
    stage.log.append("link.down", "l1", None, json!(null));
    let event = stage.log.append("node.booted", "lab/first/node/r1", Some("op-1"), json!({"a": 1}));
    stage.eventually("it ran", || fs::exists(stage.file("done")).unwrap()).await;
    let text = stage.text("out");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "VNODE_EVENT_KIND=node.booted",
            "VNODE_EVENT_OPERATION=op-1",
            format!("VNODE_EVENT_SEQ={}", event.seq).as_str(),
            "VNODE_EVENT_SUBJECT=lab/first/node/r1",
            format!("VNODE_EVENT_TIME={}", event.time).as_str(),
        ]
    );
    assert_eq!(serde_json::from_str::<Event>(lines[5]).unwrap(), *event);
    stage.stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn events_wait_their_turn_and_a_failed_run_is_tried_again() {
    let stage = Stage::new().await;
    let (out, seen) = (stage.file("out"), stage.file("seen"));
    // Fails the first time for each event.
    let script = format!(
        "echo $VNODE_EVENT_SEQ >> {out}; test -e {seen}$VNODE_EVENT_SEQ || {{ : > {seen}$VNODE_EVENT_SEQ; exit 1; }}"
    );
    let serving = stage.start(sh(script));
    let seqs: Vec<u64> =
        (0..5).map(|number| stage.log.append("a.b", "x", None, json!(number)).seq).collect();
    let expected: String = seqs.iter().map(|seq| format!("{seq}\n{seq}\n")).collect();
    stage.eventually("all ran twice", || stage.text("out") == expected).await;
    stage.stop.cancel();
    serving.await.unwrap();
    assert_eq!(stage.log.last_seq(), *seqs.last().unwrap(), "no failure was told");
}

#[tokio::test]
async fn a_program_that_fails_or_takes_too_long_is_an_event() {
    let stage = Stage::new().await;
    let mut events = stage.log.subscribe(None);
    let handler = Handler {
        retries: 0,
        time_limit: Duration::from_secs(2),
        ..sh("case $VNODE_EVENT_KIND in slow.*) exec sleep 100;; *) echo broken >&2; exit 3;; esac"
            .to_owned())
    };
    let serving = stage.start(handler);
    for (kind, error) in [("wrong.x", "exit code 3: broken"), ("slow.x", "longer than 2s")] {
        let cause = stage.log.append(kind, "x", Some("op"), json!(null));
        assert_eq!(events.next().await.unwrap().seq, cause.seq);
        let told = events.next().await.unwrap();
        assert_eq!(told.kind, "handler.failed");
        assert_eq!(told.subject, "handler/test");
        assert_eq!(told.data["event"], cause.seq);
        assert_eq!(told.operation.as_deref(), Some("op"));
        let text = told.data["error"].as_str().unwrap();
        assert!(text.contains(error), "{text}");
    }
    stage.stop.cancel();
    serving.await.unwrap();
}
