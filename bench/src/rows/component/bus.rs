//! A private bus, and a client of it that costs next to nothing: one message made ready, sent again and again.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Debian's dbus-daemon, on a socket in a folder.
pub(super) struct Bus {
    child: Child,
    pub(super) socket: PathBuf,
}

impl Bus {
    pub(super) fn start(folder: &Path) -> Bus {
        let socket = folder.join("bus");
        let config = folder.join("bus.conf");
        let text = format!(
            "<busconfig><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
             <allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/><allow user=\"*\"/></policy>\
             </busconfig>",
            socket.display()
        );
        std::fs::write(&config, text).expect("the host's directory is writable");
        let mut child = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("dbus-daemon tells its address");
        Bus { child, socket }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn address(&self) -> String {
        format!("unix:path={}", self.socket.display())
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// A connection on which one call is made at a time.
pub(super) struct Caller {
    stream: UnixStream,
    serial: u32,
}

/// A call without its number.
#[derive(Clone)]
pub(super) struct Call(Vec<u8>);

impl Call {
    pub(super) fn new(to: &str, path: &str, interface: &str, member: &str, body: &[&str]) -> Call {
        let mut fields = Vec::new();
        for (code, kind, value) in
            [(1, b'o', path), (2, b's', interface), (3, b's', member), (6, b's', to)]
        {
            pad(&mut fields, 8);
            fields.extend([code, 1, kind, 0]);
            string(&mut fields, value);
        }
        if !body.is_empty() {
            pad(&mut fields, 8);
            fields.extend([8, 1, b'g', 0, body.len() as u8]);
            fields.extend(vec![b's'; body.len()]);
            fields.push(0);
        }
        let mut content = Vec::new();
        for text in body {
            pad(&mut content, 4);
            string(&mut content, text);
        }
        let mut message = vec![b'l', 1, 0, 1];
        message.extend((content.len() as u32).to_le_bytes());
        message.extend([0; 4]);
        message.extend((fields.len() as u32).to_le_bytes());
        message.extend(fields);
        pad(&mut message, 8);
        message.extend(content);
        Call(message)
    }
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

impl Caller {
    pub(super) fn connect(socket: &Path) -> Caller {
        let mut stream = UnixStream::connect(socket).expect("the bus listens");
        // Who we are the bus sees itself; the protocol wants it said all the same, in hexadecimal digits of the number.
        let uid = std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m));
        let digits: String =
            uid.expect("/proc is there").to_string().bytes().map(|d| format!("{d:02x}")).collect();
        write!(stream, "\0AUTH EXTERNAL {digits}\r\n").expect("the bus reads");
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the bus answers");
            line.push(byte[0]);
        }
        assert!(line.starts_with(b"OK"), "the bus lets us in");
        stream.write_all(b"BEGIN\r\n").expect("the bus reads");
        let mut caller = Caller { stream, serial: 0 };
        let bus = "org.freedesktop.DBus";
        caller.call(&mut Call::new(bus, "/org/freedesktop/DBus", bus, "Hello", &[]));
        caller
    }

    /// Sends it and waits for its answer, which must be no error.
    pub(super) fn call(&mut self, call: &mut Call) {
        self.serial += 1;
        call.0[8..12].copy_from_slice(&self.serial.to_le_bytes());
        self.stream.write_all(&call.0).expect("the bus reads");
        let mut rest = Vec::new();
        loop {
            let mut head = [0; 16];
            self.stream.read_exact(&mut head).expect("the bus answers");
            let number = |at: usize| {
                u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize
            };
            rest.resize(number(12).next_multiple_of(8) + number(4), 0);
            self.stream.read_exact(&mut rest).expect("the bus answers");
            match head[1] {
                2 => return,
                3 => panic!("the call failed: {}", String::from_utf8_lossy(&rest)),
                _ => {}
            }
        }
    }
}
