//! Guests that lie, flood, stall and fall silent: each costs its own connection, and bounded memory and time.
#![allow(clippy::unwrap_used, reason = "in a test the right report")]

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
};
use vnode_guest::{Error, ExecSpec, FileSpec, Guest, Options, native, probe_with, qga};
use vnode_protocol::frame::{Frame, Tagged, TaggedReader, WINDOW};

/// Time stands still but where it is waited for.
fn short() -> Options {
    Options::default()
}

fn spec() -> ExecSpec {
    ExecSpec { argv: vec!["true".into()], ..ExecSpec::default() }
}

/// A guest that speaks our form as `behave` wants, and the client at the other end.
fn native_guest<F, T>(behave: F) -> (Guest, JoinHandle<()>)
where
    F: FnOnce(
        TaggedReader<tokio::io::ReadHalf<DuplexStream>>,
        tokio::io::WriteHalf<DuplexStream>,
    ) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let (ours, theirs) = duplex(1 << 20);
    let (from, to) = tokio::io::split(theirs);
    let task = tokio::spawn(behave(TaggedReader::new(from), to));
    let (from, to) = tokio::io::split(ours);
    (Guest::Native(native::Client::new(from, to, 1, short())), task)
}

async fn request(from: &mut TaggedReader<impl tokio::io::AsyncRead + Unpin>) -> u32 {
    from.next().await.unwrap().unwrap().request
}

async fn say(to: &mut (impl tokio::io::AsyncWrite + Unpin), request: u32, frame: Frame) {
    // A client that has had enough is gone.
    let _ = to.write_all(&Tagged { request, frame }.encode()).await;
}

#[tokio::test(start_paused = true)]
async fn silence_garbage_and_an_end_are_no_agents() {
    let (ours, _theirs) = duplex(1 << 16);
    let silent = probe_with(ours, short()).await.unwrap_err();
    assert!(matches!(silent, Error::Silent { .. }), "{silent:?}");

    let (ours, theirs) = duplex(1 << 16);
    drop(theirs);
    assert!(probe_with(ours, short()).await.unwrap_err().is_connection_over());

    for garbage in
        [&b"login: "[..], &[0xff; 64], &[0; 4096], b"{\"return\": {}}\n", b"{\"", b"\n\n\n"]
    {
        let (ours, mut theirs) = duplex(1 << 16);
        let garbage = garbage.to_vec();
        let task = tokio::spawn(async move {
            theirs.write_all(&garbage).await.unwrap();
            let mut sink = Vec::new();
            // Reads and says nothing more.
            let _ = theirs.read_to_end(&mut sink).await;
        });
        let error = probe_with(ours, short()).await.unwrap_err();
        assert!(error.is_connection_over(), "{error:?}");
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_before_the_first_answer_ends_the_probe() {
    for piece in [vec![b'x'; 4096], vec![0xff; 4096], b"{\"event\": 1}\n".repeat(300)] {
        let (ours, mut theirs) = duplex(1 << 16);
        let task = tokio::spawn(async move { while theirs.write_all(&piece).await.is_ok() {} });
        let error = probe_with(ours, short()).await.unwrap_err();
        assert!(error.is_connection_over(), "{error:?}");
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_connection_left_before_our_answer_is_passed_over() {
    let (ours, theirs) = duplex(1 << 16);
    let task = tokio::spawn(async move {
        let (from, mut to) = tokio::io::split(theirs);
        let mut from = TaggedReader::new(from);
        // The end of a frame, and a whole one of a request long gone.
        to.write_all(&[0x91, 0, 0, 0, 9, 1]).await.unwrap();
        say(&mut to, 7, Frame::Response(b"{}".to_vec())).await;
        let number = request(&mut from).await;
        say(&mut to, number, Frame::Response(b"{}".to_vec())).await;
        let number = request(&mut from).await;
        say(&mut to, number, Frame::Response(b"{\"ns\": 5}".to_vec())).await;
    });
    let guest = probe_with(ours, short()).await.unwrap();
    assert_eq!(guest.time().await.unwrap(), 5);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_given_up_and_told_so() {
    let (guest, task) = native_guest(|mut from, to| async move {
        let number = request(&mut from).await;
        let next = from.next().await.unwrap().unwrap();
        assert_eq!((next.request, next.frame), (number, Frame::Cancel));
        drop(to);
    });
    let error = guest.ping().await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_breaks_the_protocol_loses_its_connection() {
    let many = WINDOW as usize + 1;
    let cases: Vec<(&str, Vec<Frame>)> = vec![
        (
            "more than was granted",
            vec![Frame::Stdout(vec![0; many / 2]), Frame::Stderr(vec![0; many])],
        ),
        ("nothing, as a piece", vec![Frame::Stdout(Vec::new())]),
        ("credit beyond all measure", vec![Frame::Credit(u32::MAX)]),
        ("no credit", vec![Frame::Credit(0)]),
        ("a request of its own", vec![Frame::Request(b"{}".to_vec())]),
        ("after the end", vec![Frame::DataEnd, Frame::Data(vec![1])]),
        ("a great deal of progress", vec![Frame::Progress(vec![b' '; 65 << 10])]),
        ("an answer that is no JSON", vec![Frame::Response(b"{".to_vec())]),
        ("a refusal that is none", vec![Frame::Error(b"\xff".to_vec())]),
    ];
    for (what, frames) in cases {
        let (guest, task) = native_guest(|mut from, mut to| async move {
            let number = request(&mut from).await;
            for frame in frames {
                say(&mut to, number, frame).await;
            }
            // Kept open: the client ends it, or has its answer.
            while let Ok(Some(_)) = from.next().await {}
        });
        let mut exec = guest.exec(spec()).await.unwrap();
        let error = exec.wait().await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{what}: {error:?}");
        drop((exec, guest));
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn frames_that_belong_to_nobody_are_borne_for_a_while_only() {
    let (guest, task) = native_guest(|mut from, mut to| async move {
        request(&mut from).await;
        let frame = Tagged { request: 99, frame: Frame::Stdout(vec![1; 64]) }.encode();
        while to.write_all(&frame).await.is_ok() {}
    });
    let error = guest.ping().await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    guest.closed().await;
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_length_alone_costs_no_memory_and_half_a_frame_is_an_end() {
    for bytes in
        [&[0x91, 0, 4, 0, 0, 0, 0, 0, 1][..], &[0x91, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1], &[0x11]]
    {
        let bytes = bytes.to_vec();
        let (guest, task) = native_guest(|mut from, mut to| async move {
            request(&mut from).await;
            to.write_all(&bytes).await.unwrap();
        });
        assert!(guest.ping().await.unwrap_err().is_connection_over());
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_reads_nothing_is_cut() {
    let (ours, theirs) = duplex(1024);
    let (from, to) = tokio::io::split(ours);
    let guest = Guest::Native(native::Client::new(from, to, 1, short()));
    let content = vec![7; 1 << 20];
    let error = guest.write_file(FileSpec::new("/x"), &content[..]).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. } | Error::Closed(_) | Error::Protocol { .. }));
    guest.closed().await;
    drop(theirs);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_never_ended_break_the_connection_before_they_fill_it_for_ever() {
    let (guest, task) = native_guest(|mut from, to| async move {
        while let Ok(Some(_)) = from.next().await {}
        drop(to);
    });
    for _ in 0..16 {
        assert!(guest.ping().await.is_err());
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(guest.ping().await.unwrap_err().is_connection_over());
    guest.closed().await;
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_files_bytes_that_break_off_are_an_error_and_no_end() {
    let (guest, task) = native_guest(|mut from, mut to| async move {
        let number = request(&mut from).await;
        say(&mut to, number, Frame::Progress(b"{\"size\": 10, \"mode\": 33261}".to_vec())).await;
        say(&mut to, number, Frame::Data(b"half".to_vec())).await;
        let refusal = br#"{"code": "failed", "text": "the \u001b[31m disk", "causes": [1, "x"]}"#;
        say(&mut to, number, Frame::Error(refusal.to_vec())).await;
        while let Ok(Some(_)) = from.next().await {}
    });
    let mut file = guest.read_file("/x").await.unwrap();
    assert_eq!(file.head.mode, Some(0o755));
    let mut read = Vec::new();
    let error = file.bytes.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(read, b"half");
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
    drop((file, guest));
    task.await.unwrap();
}

/// A guest in QEMU's form that answers `guest-sync-delimited` and then does as `behave` wants.
fn qga_guest<F, T>(behave: F) -> (Guest, JoinHandle<()>)
where
    F: FnOnce(
            tokio::io::BufReader<tokio::io::ReadHalf<DuplexStream>>,
            tokio::io::WriteHalf<DuplexStream>,
        ) -> T
        + Send
        + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let (ours, theirs) = duplex(1 << 20);
    let task = tokio::spawn(async move {
        let (from, mut to) = tokio::io::split(theirs);
        let mut from = tokio::io::BufReader::new(from);
        sync(&mut from, &mut to).await;
        behave(from, to).await;
    });
    let (from, to) = tokio::io::split(ours);
    (Guest::Qga(qga::Client::new(from, to, short())), task)
}

async fn line(from: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> serde_json::Value {
    use tokio::io::AsyncBufReadExt;
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).await.unwrap();
    serde_json::from_slice(line.strip_prefix(&[0xff]).unwrap_or(&line)).unwrap_or_default()
}

async fn sync(
    from: &mut (impl tokio::io::AsyncBufRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
) {
    let asked = line(from).await;
    assert_eq!(asked["execute"], "guest-sync-delimited");
    let id = &asked["arguments"]["id"];
    // Old answers and half of one stand before it.
    to.write_all("{\"return\": 5}\n{\"ret\u{00ff}".as_bytes()).await.unwrap();
    let text = format!("\n{{\"return\": {id}}}\n");
    to.write_all(&[0xff]).await.unwrap();
    to.write_all(b"{\"return\": 1}\n\xff").await.unwrap();
    to.write_all(text.trim_start().as_bytes()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn qg_30_events_and_strange_answers_are_passed_over_and_late_ones_too() {
    let (guest, task) = qga_guest(|mut from, mut to| async move {
        let first = line(&mut from).await;
        // Too late: after the client has given up.
        tokio::time::sleep(Duration::from_secs(12)).await;
        let late = format!("{{\"return\": 1, \"id\": {}}}\n", first["id"]);
        to.write_all(late.as_bytes()).await.unwrap();
        sync(&mut from, &mut to).await;
        let second = line(&mut from).await;
        let text = format!(
            "{{\"event\": \"X\"}}\nnonsense\n[]\n{{\"return\": 2, \"id\": 1}}\n{{\"return\": 3, \"id\": {}}}\n",
            second["id"]
        );
        to.write_all(text.as_bytes()).await.unwrap();
    });
    let error = guest.time().await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
    assert_eq!(guest.time().await.unwrap(), 3);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_line_without_end_and_a_flood_of_events_cut_the_guest() {
    for piece in [vec![b'a'; 1 << 16], b"{\"event\": \"X\"}\n".repeat(1000)] {
        let (guest, task) = qga_guest(|mut from, mut to| async move {
            line(&mut from).await;
            while to.write_all(&piece).await.is_ok() {}
        });
        let error = guest.ping().await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
        guest.closed().await;
        assert!(guest.ping().await.is_err());
        drop(guest);
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_never_ends_is_read_no_faster_than_it_is_taken() {
    let (guest, task) = qga_guest(|mut from, mut to| async move {
        loop {
            let asked = line(&mut from).await;
            let answer = match asked["execute"].as_str() {
                Some("guest-file-open") => "1".to_owned(),
                Some("guest-file-read") => {
                    "{\"count\": 3, \"buf-b64\": \"AAAA\", \"eof\": false}".to_owned()
                }
                Some(_) => "{}".to_owned(),
                None => return,
            };
            let text = format!("{{\"return\": {answer}, \"id\": {}}}\n", asked["id"]);
            if to.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut file = guest.read_file("/x").await.unwrap();
    let mut some = [1; 3000];
    file.bytes.read_exact(&mut some).await.unwrap();
    assert_eq!(some, [0; 3000]);
    drop((file, guest));
    task.await.unwrap();
}
