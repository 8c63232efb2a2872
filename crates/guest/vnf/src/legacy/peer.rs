//! Whether a client of the old protocol is still there, while its command runs.
//!
//! The end of its stream does not say so: one that has only said its last waits for its answer, one that has gone does
//! not, and both look the same from here. Of a client on this machine the kernel tells whether anybody holds its end. A
//! client elsewhere is probed: its kernel answers with a reset once it has forgotten the connection, which takes a minute
//! after an orderly end, and none at all after any other.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use rustix::net::sockopt;
use tokio::{io::Interest, net::TcpStream, time::sleep};

use crate::onboard::blocking;

/// Between looks at the other end of a stream that has ended.
const LOOK: Duration = Duration::from_millis(500);
/// From the last word of a client to the first probe, between probes, and how many of them may stay without an answer.
const IDLE: Duration = Duration::from_secs(10);
const EACH: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// Has the kernel ask whether the other end is still there.
pub(super) fn probe(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, IDLE)?;
    sockopt::set_tcp_keepintvl(stream, EACH)?;
    Ok(sockopt::set_tcp_keepcnt(stream, PROBES)?)
}

/// Returns when the client has gone for good. One that has only said its last may wait for its answer.
pub(super) async fn gone(stream: &TcpStream, peer: SocketAddr) {
    let given_up = async {
        loop {
            // An error is told by the other branch.
            let ended =
                stream.ready(Interest::READABLE).await.is_ok_and(|ready| ready.is_read_closed());
            if ended
                && let Ok(ours) = stream.local_addr()
                && blocking(move || is_orphan(peer, ours)).await.unwrap_or(false)
            {
                return;
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        // It has been reset, or answers no probe. What else `ready` may say means the same.
        _ = stream.ready(Interest::ERROR) => {}
        () = given_up => {}
    }
}

/// Whether the other end is a socket of this machine that no program holds any more.
fn is_orphan(peer: SocketAddr, ours: SocketAddr) -> bool {
    let table = if peer.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    // Without the table the probes have to tell.
    std::fs::read_to_string(table).is_ok_and(|text| holder(&text, peer, ours) == Some(0))
}

/// The inode of the socket at `end` of a connection with `other`, by a table of proc(5); 0: nobody holds it.
fn holder(table: &str, end: SocketAddr, other: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let is = |word: usize, wanted: SocketAddr| {
            words.get(word).and_then(|text| address(text)).is_some_and(|(ip, port)| {
                (ip.to_canonical(), port) == (wanted.ip().to_canonical(), wanted.port())
            })
        };
        (is(1, end) && is(2, other)).then(|| words.get(9)?.parse().ok())?
    })
}

/// An address as those tables have it: words of 32 bits as they lie in memory, and the port.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = [0; 16];
    if !ip.is_ascii() || !matches!(ip.len(), 8 | 32) {
        return None;
    }
    for (at, into) in bytes[..ip.len() / 2].chunks_mut(4).enumerate() {
        let word = u32::from_str_radix(&ip[at * 8..at * 8 + 8], 16).ok()?;
        into.copy_from_slice(&word.to_ne_bytes());
    }
    let ip = match bytes {
        [a, b, c, d, ..] if ip.len() == 8 => Ipv4Addr::new(a, b, c, d).into(),
        bytes => Ipv6Addr::from(bytes).into(),
    };
    Some((ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener as Listener;

    use super::*;

    #[test]
    fn who_holds_an_end_is_told_from_who_has_left_it() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = Listener::bind(at) else {
                println!("skipped in part: no {at} here");
                continue;
            };
            let ours = listener.local_addr().expect("it has one");
            let client = std::net::TcpStream::connect(ours).expect("it listens");
            let (accepted, peer) = listener.accept().expect("one has come");
            assert!(!is_orphan(peer, ours), "it is there");
            client.shutdown(std::net::Shutdown::Write).expect("it is open");
            assert!(!is_orphan(peer, ours), "it listens on");
            drop(client);
            assert!(is_orphan(peer, ours), "it has gone");
            drop(accepted);
        }
    }

    #[test]
    fn an_address_that_is_none_is_no_ones() {
        for text in
            ["", ":", "0100007F", "0100007F:", "X100007F:1F90", "0100007F0:1F90", "é00007F:1F90"]
        {
            assert_eq!(address(text), None, "{text}");
        }
        let own = address(&format!("{:08X}:1F90", u32::from_ne_bytes([127, 0, 0, 1])));
        assert_eq!(own, Some((Ipv4Addr::LOCALHOST.into(), 8080)));
    }
}
