//! A process that commits is killed at any instant: what it was told is there, and the store opens.
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_methods,
    reason = "the child is this test itself; base/store knows no action"
)]

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use vnode_store::{Change, open, record};

const FOLDER: &str = "VNODE_STORE_TEST_FOLDER";
const ROUNDS: u64 = 40;

/// Not a test by itself: commits numbers for ever, and prints each that it was told is durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = open(&PathBuf::from(folder).join("store.redb")).unwrap();
    let next = match store.last("number/").await.unwrap() {
        None => 0,
        Some((_, entry)) => record::decode::<u64>(&entry.value, &[]).unwrap() + 1,
    };
    println!("open");
    for number in next.. {
        let value = record::encode(1, &number).unwrap();
        // Two keys in one commit: never one without the other.
        let changes = vec![
            Change::create(format!("number/{number:012}"), value.clone()),
            Change::put("latest", value),
            Change::put(format!("filler/{}", number % 7), vec![0; 3000 * (number % 5) as usize]),
        ];
        let lazily = store.commit_lazily(vec![Change::put("lazy", vec![1; 500])]);
        let (committed, lazy) = tokio::join!(store.commit(changes), lazily);
        committed.unwrap();
        lazy.unwrap();
        println!("{number}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn t87_acknowledged_commits_survive_sigkill_at_any_instant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut acknowledged: Option<u64> = None;
    let mut most = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (first, begun) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let numbers = output.lines().map_while(Result::ok);
            let numbers = numbers.filter_map(|line| line.parse::<u64>().ok());
            // The other side may not care for it.
            numbers.inspect(|_| first.send(()).unwrap_or_default()).last()
        });
        // From before it has opened, every other round, to the middle of its work.
        if round % 2 == 1 {
            begun.recv_timeout(Duration::from_secs(60)).expect("it begins to commit");
        }
        std::thread::sleep(Duration::from_millis(round * 13 % 97));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = reader.join().unwrap().or(acknowledged);

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = open(&path).unwrap();
            let numbers = store.list("number/").await.unwrap();
            for (expected, (_, entry)) in numbers.iter().enumerate() {
                assert_eq!(record::decode::<u64>(&entry.value, &[]).unwrap(), expected as u64);
            }
            let last = numbers.len().checked_sub(1).map(|last| last as u64);
            assert!(last >= acknowledged, "{acknowledged:?} was acknowledged, {last:?} is there");
            let latest = store.get("latest").await.unwrap();
            let latest = latest.map(|entry| record::decode::<u64>(&entry.value, &[]).unwrap());
            assert_eq!(latest, last, "half of a commit");
            most = most.max(numbers.len());
        });
    }
    println!("{ROUNDS} kills, {most} commits");
    assert!(most > 10, "the child was never alive long enough to commit");
}
