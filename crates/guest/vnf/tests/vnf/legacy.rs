//! The old byte protocol, as its clients speak it.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use serde_json::json;

use crate::common::{Pkg, Service, eventually, lives, unique};

/// A service with both ports, and what they are.
fn service(process: &str) -> (Service, u16, u16) {
    let process = format!("--legacy-process={process}");
    let service = Service::with(&["--legacy", "--legacy-ports=0,0", process.as_str()], "");
    // Any that are free: it says which.
    let port = |name: &str| {
        let log = service.log();
        let (_, rest) = log.split_once(&format!("{name}=127.0.0.1:"))?;
        let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    let told = |name: &str| port(name).unwrap_or_else(|| panic!("{name}: {}", service.log()));
    let (requests, packages) = (told("requests"), told("packages"));
    (service, requests, packages)
}

struct Client(TcpStream);

impl Client {
    fn connect(port: u16) -> Self {
        let mut client = Self::raw(port);
        client.answers("Connected !");
        client
    }

    fn raw(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("it takes one");
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("it is read");
    }

    #[track_caller]
    fn answers(&mut self, text: &str) {
        let mut got = vec![0; text.len()];
        self.0.read_exact(&mut got).expect("it answers");
        assert_eq!(String::from_utf8_lossy(&got), text);
    }

    /// All that comes to the end.
    fn rest(mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).expect("it ends");
        text
    }
}

fn request(instruction: u8, text: &str) -> Vec<u8> {
    let mut bytes = vec![1, instruction];
    bytes.extend(text.as_bytes());
    bytes
}

#[test]
fn lg_01_the_words_of_the_old_protocol() {
    let process = unique("l");
    let (service, port, _) = service(&process);
    let mut client = Client::connect(port);
    client.send(&request(1, ""));
    client.answers("DOWN");
    let running = service.run_as(&process);
    eventually("it is seen", || {
        client.send(&request(1, ""));
        let mut first = [0; 4];
        client.0.read_exact(&mut first).expect("it answers");
        (first == *b"RUNN").then(|| client.answers("ING"))
    });
    drop(running);
    for (push, delete, execute) in [(0x10, 0x11, 0x12), (0x16, 0x17, 0x18)] {
        for (window, content) in [(1, "YWI="), (2, "Yw==")] {
            let part =
                json!([{"file": "/x", "content": content, "window": window, "totalparts": 2}]);
            client.send(&request(push, &part.to_string()));
            client.answers("OK");
        }
        // Not doubled by the second round.
        assert_eq!(
            fs::read_to_string(service.state().join("files/x")).expect("it is there"),
            "abc"
        );
        if delete == 0x17 {
            client.send(&request(delete, "[{\"file\": \"/x\"}]"));
            client.answers("DELETED");
            assert!(!service.state().join("files/x").exists());
        }
        let run = |line: &str| {
            let mut client = Client::connect(port);
            client.send(&request(execute, &json!([{ "cmd": line }]).to_string()));
            client.rest()
        };
        assert_eq!(run("echo a | tr a b"), "b\n");
        assert_eq!(run("echo out; echo err >&2"), "ERROR. err\n\nout\n");
        assert_eq!(run("exit 3"), "");
    }
    // Files stay in their folder, whatever is sent.
    std::os::unix::fs::symlink("/etc", service.state().join("files/etc")).expect("it can be made");
    for path in ["/etc/no-such-file", "../../escaped", "/none/such"] {
        let part = json!([{"file": path, "content": "", "window": 1, "totalparts": 1}]);
        let mut client = Client::connect(port);
        client.send(&request(0x10, &part.to_string()));
        client.0.shutdown(Shutdown::Write).expect("it is open");
        let answer = client.rest();
        assert!(answer == "OK" || answer.starts_with("ERROR. "), "{path}: {answer}");
    }
    assert!(!service.path("escaped").exists() && !service.state().join("escaped").exists());
    assert!(!std::path::Path::new("/etc/no-such-file").exists());
    let asked = service.items(json!({ "verb": "events" }));
    let asked = asked.iter().filter(|event| event["data"]["verb"] == "legacy-execute");
    assert_eq!(asked.count(), 6);
}

#[test]
fn lg_02_lg_03_pieces_joined_requests_long_ones_and_single_quotes() {
    let (service, port, _) = service("none");
    let mut client = Client::connect(port);
    client.0.set_nodelay(true).expect("it can be set");
    for byte in request(1, "") {
        client.send(&[byte]);
    }
    client.answers("DOWN");
    let two = [request(1, ""), request(1, "")].concat();
    client.send(&two);
    client.answers("DOWNDOWN");
    let content = "A".repeat(100 << 10);
    let part = json!([{"file": "/long", "content": content, "window": 1, "totalparts": 1}]);
    client.send(&request(0x16, &part.to_string()));
    client.answers("OK");
    let length = fs::metadata(service.state().join("files/long")).expect("it is there").len();
    assert_eq!(length, (100 << 10) / 4 * 3);
    client.send(&request(0x18, "[{\"cmd\": \"echo 'a  b'\"}]"));
    assert_eq!(client.rest(), "a  b\n");
    let mut client = Client::connect(port);
    client.send(&request(0x18, "[{'cmd': 'echo a]'}]"));
    assert_eq!(client.rest(), "a]\n");
    let mut client = Client::connect(port);
    client.send(&request(0x44, ""));
    assert_eq!(client.rest(), "");
}

#[test]
fn lg_04_a_package_is_a_stream_to_its_end() {
    let (service, _, port) = service("none");
    let send = |bytes: &[u8]| {
        let mut client = Client::raw(port);
        client.send(bytes);
        client.0.shutdown(Shutdown::Write).expect("it is open");
        client.rest()
    };
    let package = Pkg::new(&service, "old", "p").on("INSTANTIATE", "told $VNF_NAME");
    assert_eq!(send(&package.tar()), "");
    service.tells(&["old"]);
    assert_eq!(service.status("old")["state"], "INSTANTIATED");
    let answer = send(b"no package");
    assert!(answer.starts_with("ERROR. E-FORMAT "), "{answer}");
    let answer = send(&Pkg::new(&service, "bad", "p").on("INSTANTIATE", "exit 1").tar());
    assert!(answer.starts_with("ERROR. script-failed "), "{answer}");
}

#[test]
fn lg_01_it_is_off_and_stays_on_this_machine() {
    let mut service = Service::start();
    assert!(!service.log().contains("the old protocol is on"), "{}", service.log());
    let fds = fs::read_dir(format!("/proc/{}/fd", service.pid())).expect("it runs").flatten();
    let links = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
    let sockets: Vec<String> = links.map(|link| link.display().to_string()).collect();
    // The tenth word of a line, of which the fourth is the state of who listens.
    let tcp = ["tcp", "tcp6"].map(|file| {
        fs::read_to_string(format!("/proc/{}/net/{file}", service.pid())).unwrap_or_default()
    });
    for line in tcp.iter().flat_map(|text| text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let listens = words.get(3) == Some(&"0A");
        let socket = words.get(9).map(|inode| format!("socket:[{inode}]")).unwrap_or_default();
        assert!(!listens || !sockets.contains(&socket), "it listens: {line}");
    }
    service.kill();
    let told = service.refuses_another(&["--legacy", "--legacy-listen=0.0.0.0"]);
    assert!(told.contains("--legacy-anywhere"), "{told}");
}

#[test]
fn rq_18_a_command_ends_with_its_client_and_not_with_its_last_word() {
    let (service, port, _) = service("none");
    let gate = service.gate("gate");
    let execute = |line: &str| {
        let mut client = Client::connect(port);
        client.send(&request(0x12, &json!([{ "cmd": line }]).to_string()));
        client
    };
    let told = service.path("told").display().to_string();
    // It has said all it has to say, and waits for the answer.
    let half = execute(&format!("echo half >> {told}; {}; echo answered", gate.wait()));
    half.0.shutdown(Shutdown::Write).expect("it is open");
    service.tells(&["half"]);
    for abrupt in [false, true] {
        let life = service.lifeline();
        let gone = execute(&format!("echo $$ >> {told}; read line < {life}"));
        let pid = eventually("its command runs", || {
            service.told().last().filter(|line| *line != "half").cloned().filter(|pid| lives(pid))
        });
        if abrupt {
            // What is closed so is reset.
            let none = Some(Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(&gone.0, none).expect("it can be set");
        }
        drop(gone);
        eventually("the command is gone with its client", || (!lives(&pid)).then_some(()));
    }
    gate.release();
    assert_eq!(half.rest(), "answered\n");
}
