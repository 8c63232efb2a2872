//! Very many clients at a time.

use std::{path::PathBuf, time::Duration};

use serde_json::json;
use tokio::net::UnixStream;

use vnode_protocol::frame::{Exit, Frame};

use super::support::{Agent, Client};

const CLIENTS: usize = 1000;
/// Lines that each program prints on each of its streams, one by one, beside all the others.
const LINES: usize = 10;

/// Waits in line: the kernel's queue for those who connect is short.
async fn connect(path: PathBuf) -> UnixStream {
    loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => return stream,
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn rq_14_a_thousand_clients_get_their_own_bytes_and_no_others() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit");
    let agent = Agent::with(|folder| {
        format!(
            "defaults = false\n[[channel]]\nname = \"native\"\nexchange = \"unix\"\nparser = \"native\"\n\
             path = \"{}/agent.sock\"\nconnections = 64\n",
            folder.display()
        )
    });
    drop(agent.stream().await);
    // One shell, no other program: it writes with its own `echo`.
    let script = format!(
        "i=0; while [ $i -lt {LINES} ]; do echo out.$1.$i; echo err.$1.$i >&2; i=$((i+1)); done; exit $2"
    );
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (path, script) = (agent.path("agent.sock"), script.clone());
        clients.spawn(async move {
            let mut client = Client::new(connect(path).await);
            let (name, exit) = (number.to_string(), (number % 256).to_string());
            let argv = json!({"argv": ["/bin/sh", "-c", script, "sh", name, exit]});
            let request = client.begin("exec", argv).await;
            let (mut out, mut err) = (Vec::new(), Vec::new());
            // The last of them waits as long as all the others take: there is no limit of time here.
            let exit: Exit = loop {
                let tagged =
                    client.reader.next().await.unwrap().expect("the agent does not hang up");
                assert_eq!(tagged.request, request);
                match tagged.frame {
                    Frame::Stdout(bytes) => out.extend(bytes),
                    Frame::Stderr(bytes) => err.extend(bytes),
                    Frame::Exit(exit) => break exit,
                    Frame::Credit(_) => {}
                    other => panic!("{number}: {other:?}"),
                }
            };
            let expected = |stream: &str| -> String {
                (0..LINES).map(|line| format!("{stream}.{number}.{line}\n")).collect()
            };
            assert_eq!(String::from_utf8_lossy(&out), expected("out"));
            assert_eq!(String::from_utf8_lossy(&err), expected("err"));
            assert_eq!(exit.code, Some(number as i32 % 256));
        });
    }
    let mut done = 0;
    while let Some(client) = clients.join_next().await {
        client.unwrap();
        done += 1;
    }
    assert_eq!(done, CLIENTS);
}
