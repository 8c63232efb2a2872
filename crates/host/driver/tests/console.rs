//! Console, its log, and terminals.

// A test stops at the first thing that goes wrong.
#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use bed::{eventually, exit_of, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vnode_driver::*;

async fn read_until(output: &mut Reader, what: &str) -> String {
    let mut text = String::new();
    let mut piece = [0; 1024];
    let read = async {
        while !text.contains(what) {
            let got = output.read(&mut piece).await.unwrap();
            assert!(got > 0, "ended at {text:?}");
            text.push_str(&String::from_utf8_lossy(&piece[..got]));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .unwrap_or_else(|_| panic!("no {what:?}"));
    text
}

#[test]
fn output_without_a_terminal_is_logged_and_the_log_is_rotated_once() {
    run(|bed| async move {
        let mut spec = bed.sh("a", "seq 1 20000; echo err >&2; echo last");
        spec.log_limit_bytes = 16 * 1024;
        let node = bed.boot(&spec).await;
        exit_of(&node).await;
        let logs = node.logs();
        let now = std::fs::read_to_string(&logs.current).unwrap();
        let before = std::fs::read_to_string(&logs.previous).unwrap();
        assert!(now.ends_with("err\nlast\n"), "{now:?}");
        assert!(now.len() <= 16 * 1024 && before.len() <= 16 * 1024);
        // Nothing is lost at the seam.
        let both = before + &now;
        let numbers: Vec<u32> = both.lines().skip(1).filter_map(|l| l.parse().ok()).collect();
        assert_eq!(*numbers.last().unwrap(), 20000);
        assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1));
    });
}

#[test]
fn a_console_shows_what_was_and_is_printed_and_takes_what_is_typed() {
    run(|bed| async move {
        let mut spec = bed.sh("a", "tty; stty size; echo hello; exec sh");
        spec.process.tty = true;
        let node = bed.boot(&spec).await;
        let log = node.logs().current;
        eventually("hello", || std::fs::read_to_string(&log).is_ok_and(|t| t.contains("hello")))
            .await;
        let mut console = node.console().await.unwrap();
        let text = read_until(&mut console.output, "hello").await;
        assert!(text.contains("/dev/pts/0") && text.contains("24 80"), "{text:?}");
        node.resize_console(WindowSize { rows: 50, cols: 132 }).await.unwrap();
        console.input.write_all(b"stty size; ls -l /dev/console\n").await.unwrap();
        read_until(&mut console.output, "50 132").await;
        let mut second = node.console().await.unwrap();
        console.input.write_all(b"exit 9\n").await.unwrap();
        read_until(&mut second.output, "exit 9").await;
        assert_eq!(exit_of(&node).await.code, Some(9));
    });
}

#[test]
fn exec_with_a_terminal_has_its_size_and_answers_signals() {
    run(|bed| async move {
        let spec = bed.spec("a");
        let node = bed.boot(&spec).await;
        let mut exec = node
            .exec(&ExecSpec {
                argv: vec!["sh".into()],
                tty: Some(WindowSize { rows: 30, cols: 99 }),
                ..ExecSpec::default()
            })
            .await
            .unwrap();
        assert!(exec.stderr.is_none());
        let (mut input, mut output) = (exec.stdin.take().unwrap(), exec.stdout.take().unwrap());
        input.write_all(b"stty size; echo $TERM\n").await.unwrap();
        read_until(&mut output, "30 99").await;
        exec.control().resize(WindowSize { rows: 31, cols: 98 }).await.unwrap();
        input.write_all(b"stty size; sleep 1000\n").await.unwrap();
        read_until(&mut output, "31 98").await;
        exec.control().signal(9).await.unwrap();
        assert_eq!(exec.wait().await.unwrap().signal, Some(9));
    });
}

#[test]
fn a_viewer_that_does_not_read_holds_nothing_up() {
    run(|bed| async move {
        let mut spec = bed.sh("a", "sleep 0.2; seq 1 200000; exit 0");
        spec.process.tty = true;
        let node = bed.boot(&spec).await;
        let _console = node.console().await.unwrap();
        assert_eq!(exit_of(&node).await.code, Some(0));
    });
}
