//! The agent on XenStore, beside the limits of the specification (XS-3, XS-10, FN-1): Xen's own daemon, and this program
//! as the host.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vnode_testkit::{Host, Xenstored, eventually};

use crate::program::busy;
use crate::table::Table;

const HOME: &str = "/local/domain/5";
const REQUESTS: usize = 1000;
/// How long the agent's processor time is taken while what cannot be answered lies there.
const BAD: Duration = Duration::from_secs(3);

pub(super) fn measure(table: &mut Table, host: &Host, program: &Path) {
    if let Some(why) = Xenstored::missing() {
        table.missing("the agent on XenStore", &why);
        return;
    }
    let daemon = Xenstored::start();
    let config = host.dir().join("xenstore.toml");
    let text = format!(
        "defaults = false\n[log]\nlevel = \"error\"\n[[channel]]\nname = \"xen\"\nexchange = \"xenstore\"\n\
         parser = \"openstack\"\npath = {:?}\nbase = \"{HOME}\"\n",
        daemon.socket()
    );
    std::fs::write(&config, text).expect("the host's directory is writable");
    let mut child = Command::new(program)
        .args(["run", "--quiet", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut store = Store::connect(&daemon);
    store.call("warm", r#"{"name":"version"}"#);
    let mut times: Vec<f64> = (0..REQUESTS)
        .map(|n| {
            let start = Instant::now();
            store.call(&n.to_string(), r#"{"name":"version"}"#);
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let what = format!("XenStore: `version` asked {REQUESTS} times in sequence");
    table.figure(&format!("{what}, median"), at(0.5), "ms", 5.0, "-");
    table.figure(&format!("{what}, 99 of 100"), at(0.99), "ms", 50.0, "-");
    // What the OpenStack agent asked for again and again, a core busy.
    let before = busy(child.id());
    for (n, body) in ["[1]", "null", "5", "\"str\""].iter().enumerate() {
        store.call(&format!("bad{n}"), body);
    }
    std::thread::sleep(BAD);
    let share = (busy(child.id()) - before) / BAD.as_secs_f64() * 100.0;
    table.figure("XenStore: processor time with bodies that are no requests", share, "%", 1.0, "-");
    let _ = child.kill(); // it may have ended
    let _ = child.wait();
}

/// The host's side of the wire protocol, one message at a time.
struct Store(UnixStream);

const READ: u32 = 2;
const WRITE: u32 = 11;
const RM: u32 = 13;

impl Store {
    fn connect(daemon: &Xenstored) -> Self {
        let socket = daemon.socket();
        let stream = eventually("the daemon answers", Duration::from_secs(30), || {
            UnixStream::connect(&socket).ok()
        });
        Self(stream)
    }

    fn ask(&mut self, kind: u32, payload: &[u8]) -> (u32, Vec<u8>) {
        let mut message = Vec::new();
        for word in [kind, 0, 0, payload.len() as u32] {
            message.extend_from_slice(&word.to_le_bytes());
        }
        message.extend_from_slice(payload);
        self.0.write_all(&message).expect("the daemon takes it");
        let mut head = [0; 16];
        self.0.read_exact(&mut head).expect("the daemon answers");
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let mut body = vec![0; word(12) as usize];
        self.0.read_exact(&mut body).expect("the daemon answers whole");
        (word(0), body)
    }

    /// Writes a request, and reads until there is an answer.
    fn call(&mut self, id: &str, body: &str) {
        let (kind, _) = self.ask(WRITE, format!("{HOME}/data/host/{id}\0{body}").as_bytes());
        assert_eq!(kind, WRITE, "the daemon refused a request");
        let answer = format!("{HOME}/data/guest/{id}\0");
        let end = Instant::now() + Duration::from_secs(30);
        while self.ask(READ, answer.as_bytes()).0 != READ {
            assert!(Instant::now() < end, "no answer to `{id}`");
            std::thread::sleep(Duration::from_micros(100));
        }
        self.ask(RM, answer.as_bytes());
    }
}
