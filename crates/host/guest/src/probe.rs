//! Which agent answers.

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    error::{Error, Result},
    guest::Guest,
    native::{self, Pong},
    options::Options,
    qga,
};

/// A connection to a guest.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Bytes that an earlier connection may have left on the way, and that are passed over.
const STALE: usize = 1 << 20;

/// Finds out which agent answers on a connection, with the [`Options`] of old.
///
/// # Errors
/// As [`probe_with`].
pub async fn probe(stream: impl Stream) -> Result<Guest> {
    probe_with(stream, Options::default()).await
}

/// Finds out which agent answers on a connection.
///
/// Our own form is asked first: to a `qemu-ga` its request is garbage, which that one answers and forgets, while ours
/// closes a connection on which QEMU's form is spoken. What an earlier connection left on the way is passed over.
///
/// # Errors
/// [`Error::Silent`] when nothing that is an agent answers within [`Options::probe`]; the connection is closed then, and
/// may be made again: an agent may be about to start.
pub async fn probe_with(stream: impl Stream, options: Options) -> Result<Guest> {
    let until = Instant::now() + options.probe;
    let silent = || Error::Silent { after: options.probe };
    let (mut from, mut to) = tokio::io::split(stream);
    let number = by_chance();
    let written = timeout_at(until, async {
        to.write_all(&native::first_ping(number)).await?;
        to.flush().await
    });
    written.await.map_err(|_| silent())?.map_err(|error| Error::Closed(Some(error)))?;
    let mut heard: Vec<u8> = Vec::new();
    let mut passed = 0;
    // An agent of QEMU's that has nothing to say to garbage is asked in its own words after a while.
    let own = Instant::now() + options.probe / 2;
    loop {
        match native::first_pong(number, &heard) {
            Pong::Whole(used) => {
                let rest = std::io::Cursor::new(heard.split_off(used));
                let client =
                    native::Client::new(rest.chain(from), to, number.wrapping_add(1), options);
                return Ok(Guest::Native(client));
            }
            Pong::Begun => {}
            Pong::No if is_json(&heard) => break,
            Pong::No => {}
        }
        if heard.len() > STALE / 4 {
            // The answer's beginning may be among the last bytes.
            let useless = heard.len() - 128;
            passed += useless;
            heard.drain(..useless);
            if passed > STALE {
                return Err(Error::protocol("it sends what belongs to no agent"));
            }
        }
        heard.reserve(4096);
        match timeout_at(own.min(until), from.read_buf(&mut heard)).await {
            Ok(Ok(0)) => return Err(Error::Closed(None)),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Error::Closed(Some(error))),
            Err(_) => break,
        }
    }
    let left = until.saturating_duration_since(Instant::now());
    let rest = std::io::Cursor::new(heard);
    let client = qga::Client::new(rest.chain(from), to, options.clone());
    match timeout(left, client.call("guest-ping", Value::Null)).await {
        Ok(Ok(_)) => Ok(Guest::Qga(client)),
        // It speaks, and may not do even that: an agent all the same.
        Ok(Err(Error::Refused { .. })) => Ok(Guest::Qga(client)),
        Ok(Err(Error::Deadline { .. })) | Err(_) => Err(silent()),
        Ok(Err(error)) => Err(error),
    }
}

/// Whether a line of QEMU's form has begun: its answers are objects, a synchronised one stands after 0xFF.
fn is_json(heard: &[u8]) -> bool {
    let line = heard.rsplit(|byte| *byte == b'\n').find(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    let line = line.strip_prefix(&[0xff]).unwrap_or(line);
    line.starts_with(b"{\"")
}

/// A number that an earlier connection has hardly used.
pub(crate) fn by_chance() -> u32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Its keys are the system's random numbers.
    let number = RandomState::new().build_hasher().finish();
    // The top bit is left to who counts on from here.
    u32::try_from(number & 0x7fff_ffff).expect("31 bits fit")
}
