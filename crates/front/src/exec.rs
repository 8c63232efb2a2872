//! `vnode exec NODE -- PROGRAM ...` without options and without a terminal: the same request and the same frames as the
//! whole program sends, by one thread and one poll.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::{sys, variable};

/// Where state lies when nobody says.
const STATE_DIR: &str = "/var/lib/vnode";
/// Largest payload of a frame, and so the most that a daemon may send at once.
const MAX_PAYLOAD: usize = 256 * 1024;
/// Largest head of an answer.
const MAX_HEAD: usize = 16 * 1024;
/// Bytes of input in one frame.
const PIECE: usize = 32 * 1024;
/// Interrupts after which a program that heeds none is left.
const PATIENCE: u32 = 3;

/// Kinds of frames, as `vnode_protocol::frame` has them.
const STDIN: u8 = 1;
const STDIN_END: u8 = 2;
const SIGNAL: u8 = 3;
const STDOUT: u8 = 17;
const STDERR: u8 = 18;
const EXIT: u8 = 19;

/// Signals that are handed on to the program.
const FORWARDED: [i32; 6] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    node: &'a str,
    argv: &'a [&'a str],
}

impl<'a> Asked<'a> {
    /// Reads a command line; `None` for all that the whole program has to look at.
    pub(crate) fn read(words: &'a [&'a str]) -> Option<Self> {
        let [program, "exec", node, rest @ ..] = words else { return None };
        // Under another name the whole program is another.
        if program.rsplit('/').next() != Some("vnode") {
            return None;
        }
        let argv = match rest {
            ["--", argv @ ..] => argv,
            // An option, of ours or of what stands there by mistake.
            [first, ..] if first.starts_with('-') => return None,
            // Who writes `--` later means something that is not known here.
            argv if argv.contains(&"--") => return None,
            argv => argv,
        };
        let plain = !node.is_empty()
            && !node.starts_with('-')
            && argv.first().is_some_and(|p| !p.is_empty());
        plain.then_some(Self { node, argv })
    }

    /// The request that switches to frames.
    fn request(&self) -> String {
        let mut body = String::from("{\"argv\":[");
        for (at, word) in self.argv.iter().enumerate() {
            if at > 0 {
                body.push(',');
            }
            quote(&mut body, word);
        }
        body.push_str("]}");
        format!(
            "POST /v1/nodes/{}/exec HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: vnode-frames\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            segment(self.node),
            body.len()
        )
    }
}

/// Appends a text as JSON has it.
fn quote(to: &mut String, text: &str) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            c if c < ' ' => to.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => to.push(c),
        }
    }
    to.push('"');
}

/// One segment of a path, so that `lab/node` stays one.
fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(byte.into());
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Runs it; `None` when it is for the whole program, and nothing has been done yet.
pub(crate) fn run(asked: &Asked<'_>) -> Option<i32> {
    if variable(c"VNODE_HOST").is_some() || (sys::is_terminal(0) && sys::is_terminal(1)) {
        return None;
    }
    let folder =
        variable(c"VNODE_STATE_DIR").map_or_else(|| PathBuf::from(STATE_DIR), PathBuf::from);
    // No daemon, not allowed, a path too long: the whole program knows what to do and to say.
    let socket = UnixStream::connect(folder.join("vnode.sock")).ok()?;
    sys::ignore_broken_pipes();
    let stdin_ends = sys::is_null(0);
    let mut request = asked.request().into_bytes();
    if stdin_ends {
        // The first frame goes with the request: one message, one wake-up of the daemon.
        frame(&mut request, STDIN_END, &[]);
    }
    sys::write_all(socket.as_raw_fd(), &request).ok()?;
    let frames = switched(&socket)?;
    Some(joined(&socket, frames, stdin_ends))
}

/// Reads the head of the answer; what has come of the frames after it. `None`: the daemon did not start the program.
fn switched(socket: &UnixStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let mut piece = [0; 1024];
        let got = sys::read(socket.as_raw_fd(), &mut piece).ok().filter(|got| *got > 0)?;
        bytes.extend_from_slice(&piece[..got]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            return bytes.starts_with(b"HTTP/1.1 101 ").then(|| bytes.split_off(end + 4));
        }
        if bytes.len() > MAX_HEAD {
            return None;
        }
    }
}

/// How one step of the conversation ended.
enum Step {
    Go,
    End(i32),
}

/// This program's ends joined with those of the program in the node, until that has ended.
fn joined(socket: &UnixStream, mut incoming: Vec<u8>, stdin_ends: bool) -> i32 {
    match conversation(socket, &mut incoming, stdin_ends) {
        Ok(code) => code,
        Err(error) => sys::fail(&format!("lost the program in the node: {error}")),
    }
}

fn conversation(socket: &UnixStream, incoming: &mut Vec<u8>, stdin_ends: bool) -> io::Result<i32> {
    let signals = sys::signals(&FORWARDED)?;
    socket.set_nonblocking(true)?;
    let mut outgoing = Vec::new();
    let mut stdin = (!stdin_ends).then_some(0);
    let mut interrupts = 0;
    loop {
        if let Step::End(code) = take(incoming)? {
            return Ok(code);
        }
        send(socket, &mut outgoing)?;
        let wanted = libc::POLLIN | if outgoing.is_empty() { 0 } else { libc::POLLOUT };
        // Input is read only when the last of it has gone: a program that reads nothing is not read ahead of.
        let input = stdin.filter(|_| outgoing.is_empty()).unwrap_or(-1);
        let mut fds = [
            ready(socket.as_raw_fd(), wanted),
            ready(signals, libc::POLLIN),
            ready(input, libc::POLLIN),
        ];
        sys::poll(&mut fds)?;
        if fds[0].revents != 0 {
            receive(socket, incoming)?;
        }
        if fds[1].revents != 0 {
            let signal = sys::signal(signals)?;
            interrupts += u32::from(signal == libc::SIGINT);
            if interrupts >= PATIENCE {
                // As a shell says of an interrupted program; the daemon kills it when we are gone.
                return Ok(130);
            }
            frame(&mut outgoing, SIGNAL, &signal.to_be_bytes());
        }
        if fds[2].revents != 0 {
            let mut piece = [0; PIECE];
            match sys::read(input, &mut piece) {
                Ok(got @ 1..) => frame(&mut outgoing, STDIN, &piece[..got]),
                // An error is an end: whoever gave us this input has taken it away.
                Ok(0) | Err(_) => {
                    frame(&mut outgoing, STDIN_END, &[]);
                    stdin = None;
                }
            }
        }
    }
}

fn ready(fd: RawFd, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

fn frame(to: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    to.push(kind);
    // A piece is far below four gigabytes.
    to.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    to.extend_from_slice(payload);
}

fn send(socket: &UnixStream, outgoing: &mut Vec<u8>) -> io::Result<()> {
    use std::io::Write;
    while !outgoing.is_empty() {
        match (&*socket).write(outgoing) {
            Ok(done) => drop(outgoing.drain(..done)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // The program has ended and the last frames wait to be read: they tell how.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => outgoing.clear(),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn receive(socket: &UnixStream, incoming: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 64 * 1024];
    match sys::read(socket.as_raw_fd(), &mut piece) {
        Ok(0) => Err(io::Error::other("the daemon ended the stream")),
        Ok(got) => {
            incoming.extend_from_slice(&piece[..got]);
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(e) => Err(e),
    }
}

/// Takes what whole frames have come.
fn take(incoming: &mut Vec<u8>) -> io::Result<Step> {
    let mut at = 0;
    let step = loop {
        let [kind, a, b, c, d, ..] = incoming[at..] else { break Step::Go };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_PAYLOAD {
            return Err(io::Error::other("a frame is too long"));
        }
        let Some(payload) = incoming.get(at + 5..at + 5 + length) else { break Step::Go };
        match (kind, payload) {
            (STDOUT, bytes) => match sys::write_all(1, bytes) {
                // A reader that has gone (`| head`) is no failure of ours: the command ends there, quietly.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => break Step::End(0),
                other => other?,
            },
            (STDERR, bytes) => match sys::write_all(2, bytes) {
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => break Step::End(0),
                other => other?,
            },
            // An exit status has eight bits; a signal is told as shells do.
            (EXIT, [0, a, b, c, d]) => {
                break Step::End(i32::from_be_bytes([*a, *b, *c, *d]) & 0xff);
            }
            (EXIT, [_, a, b, c, d]) => {
                break Step::End((128 + i32::from_be_bytes([*a, *b, *c, *d])) & 0xff);
            }
            // Its text is the daemon's `Problem` in JSON.
            (_, json) => return Err(io::Error::other(String::from_utf8_lossy(json).into_owned())),
        }
        at += 5 + length;
    };
    incoming.drain(..at);
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_requests_are_for_this_program() {
        let asked =
            |words: &[&str]| Asked::read(words).map(|a| (a.node.to_owned(), a.argv.join(" ")));
        let plain = Some(("n1".to_owned(), "ls -l --json".to_owned()));
        assert_eq!(asked(&["vnode", "exec", "n1", "--", "ls", "-l", "--json"]), plain);
        assert_eq!(asked(&["vnode", "exec", "n1", "ls", "-l", "--json"]), plain);
        for other in [
            &["vnode"][..],
            &["vnode", "exec"],
            &["vnode", "exec", "n1"],
            &["vnode", "exec", "n1", "--"],
            &["vnode", "exec", "--", "n1", "ls"],
            &["vnode", "exec", "-t", "n1", "ls"],
            &["vnode", "exec", "n1", "--user", "u", "ls"],
            &["vnode", "exec", "n1", "ls", "--", "x"],
            &["vnode", "--json", "exec", "n1", "ls"],
            &["vnode", "up", "x"],
            &["/usr/bin/other", "exec", "n1", "ls"],
        ] {
            assert_eq!(asked(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_request_is_what_http_and_json_want() {
        let words = ["vnode", "exec", "lab/n1", "--", "a\"b\\c\n", "é"];
        let request = Asked::read(&words).unwrap().request();
        assert!(request.starts_with("POST /v1/nodes/lab%2Fn1/exec HTTP/1.1\r\n"), "{request}");
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, r#"{"argv":["a\"b\\c\u000a","é"]}"#);
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
    }

    #[test]
    fn frames_are_taken_whole_and_one_that_is_too_long_is_refused() {
        let mut bytes = Vec::new();
        frame(&mut bytes, EXIT, &[0, 0, 0, 1, 7]);
        let mut part = bytes[..6].to_vec();
        assert!(matches!(take(&mut part), Ok(Step::Go)));
        assert_eq!(part.len(), 6, "a part waits for its rest");
        assert!(matches!(take(&mut bytes), Ok(Step::End(7))));
        let mut signalled = Vec::new();
        frame(&mut signalled, EXIT, &[1, 0, 0, 0, 9]);
        assert!(matches!(take(&mut signalled), Ok(Step::End(137))));
        assert!(take(&mut vec![STDOUT, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
