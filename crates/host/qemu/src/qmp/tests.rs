use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;

use super::*;

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}"#;

/// A machine that says `lines` to whoever comes, each after one request; then it is silent.
async fn machine(lines: Vec<String>) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(format!("{GREETING}\r\n").as_bytes()).await.unwrap();
        let (read, mut write) = stream.split();
        let mut requests = BufReader::new(read);
        for line in lines {
            let mut request = String::new();
            requests.read_line(&mut request).await.unwrap();
            write.write_all(line.as_bytes()).await.unwrap();
        }
        let mut rest = Vec::new();
        // Until the client goes.
        let _ = requests.read_to_end(&mut rest).await;
    });
    (dir, path)
}

fn ready() -> String {
    "{\"return\": {}, \"id\": 1}\r\n".to_owned()
}

#[tokio::test]
async fn answers_find_their_questions_and_unknown_events_do_no_harm() {
    let second = "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"NEVER_HEARD_OF\", \"data\": {\"a\": 1}}\r\n\
                  {\"return\": {\"status\": \"running\"}, \"id\": 2}\r\n";
    let (_dir, path) = machine(vec![ready(), second.to_owned()]).await;
    let qmp = Qmp::connect(&path).await.unwrap();
    assert_eq!(qmp.version, "7.2.22");
    let mut events = qmp.events();
    let status = qmp.run("query-status", json!({})).await.unwrap();
    assert_eq!(status["status"], "running");
    let event = events.recv().await.unwrap();
    assert_eq!((event.name.as_str(), &event.data["a"]), ("NEVER_HEARD_OF", &json!(1)));
    assert_eq!(event.at_unix_us, 1_000_002);
}

#[tokio::test]
async fn a_refusal_gives_qemus_reason() {
    let no = "{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": \"no such thing\"}}\n";
    let (_dir, path) = machine(vec![ready(), no.to_owned()]).await;
    let qmp = Qmp::connect(&path).await.unwrap();
    let error = qmp.run("device_del", json!({ "id": "x" })).await.unwrap_err();
    assert_eq!(error.to_string(), "QEMU refuses `device_del`: no such thing");
}

#[tokio::test]
async fn a_machine_that_hangs_costs_the_limit_and_no_memory() {
    let (_dir, path) = machine(vec![ready()]).await;
    let qmp = Qmp::connect(&path).await.unwrap();
    for _ in 0..3 * WAITING {
        let error = qmp.run_within("stop", json!({}), Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(error, QmpError::Timeout { .. }), "{error}");
    }
    assert!(lock(&qmp.shared).waiting.len() <= WAITING);
}

#[tokio::test]
async fn a_line_without_end_closes_the_connection() {
    let (_dir, path) = machine(vec![ready(), "x".repeat(LINE_BYTES + 10)]).await;
    let qmp = Qmp::connect(&path).await.unwrap();
    assert!(matches!(qmp.run("stop", json!({})).await, Err(QmpError::Closed)));
    assert!(qmp.is_closed());
}

#[tokio::test]
async fn what_does_not_greet_as_qemu_is_none() {
    for greeting in ["{}", "hello", "{\"QMP\": {}}", "[1]"] {
        assert!(matches!(version(greeting), Err(QmpError::Protocol { .. })), "{greeting}");
    }
}

proptest::proptest! {
    #[test]
    fn no_line_makes_the_reader_panic(line in ".{0,200}") {
        parse(&line);
        let _ = version(&line);
    }
}
