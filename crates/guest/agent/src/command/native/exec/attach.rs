//! Detached programs, once they have begun: attached to, listed, shown, signalled, ended, removed. Whoever may not `exec`
//! may none of it.

use std::{
    fs::File,
    io::{self, Read},
    pin::Pin,
    task::{self, Poll},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{UnixStream, unix::OwnedWriteHalf},
    time::sleep,
};
use vnode_protocol::frame::{self, Exit, Frame, FrameReader};

use super::{
    clients::{Ask, asking},
    failed,
    program::Size,
    read,
    record::{Place, Record, State, Store},
    tree::Kin,
};
use crate::{
    command::{
        CommandError,
        native::{Ended, StreamIo},
    },
    context::Context,
    parser::native::{Inbox, Input, Outbox},
};

/// Tries to reach a keeper that seems to live.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);
/// How often a client is told that it lost output: clients take so many frames of progress, and then no more.
const PROGRESSES: u32 = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: String,
}

/// The program of a name, for whoever may run programs.
fn find(context: &Context, id: &str) -> Result<(Record, Place), CommandError> {
    store(context)?.find(id)
}

fn store(context: &Context) -> Result<Store, CommandError> {
    context.commands().look_up(context, "exec")?;
    Store::of(context)
}

fn lost(record: &Record) -> CommandError {
    let still = if record.lives() { "; the program runs on, and `exec-end` ends it" } else { "" };
    CommandError::failed(format!(
        "the keeper of the program was killed: its output and how it ends are lost{still}"
    ))
}

/// A connection to a keeper, with what it was asked; `None`: it has just ended.
async fn ask(place: &Place, ask: &Ask) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(place.socket()).await.ok()?;
    frame::write(&mut stream, &asking(ask)).await.ok()?;
    Some(stream)
}

native!(List, "exec-list", "Names the detached programs.", |context, value| {
    let _: Option<Empty> = read(value)?;
    Ok(json!({ "programs": store(context)?.all() }))
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

native!(Show, "exec-show", "What there is to know of a detached program.", |context, value| {
    let request: Named = read(value)?;
    Ok(find(context, &request.id)?.0.view(false))
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalRequest {
    id: String,
    signal: i32,
}

native!(Signal, "exec-signal", "Signals a detached program and its group.", |context, value| {
    let request: SignalRequest = read(value)?;
    if vnode_action::Signal::from_named_raw(request.signal).is_none() {
        return Err(CommandError::invalid(format!("there is no signal {}", request.signal)));
    }
    let (record, place) = find(context, &request.id)?;
    match record.state() {
        State::Running | State::Stopped => {}
        State::Ended => return Err(CommandError::not_found("the program has ended")),
        State::Lost => return Err(lost(&record)),
    }
    let asked = ask(&place, &Ask::Signal { number: request.signal }).await;
    let answer = match asked {
        Some(stream) => FrameReader::new(stream).next().await,
        None => Ok(None),
    };
    match answer {
        Ok(Some(Frame::Response(_))) => Ok(json!({})),
        _ => Err(CommandError::not_found("the program has ended")),
    }
});

native!(End, "exec-end", "Ends a detached program with all it started.", |context, value| {
    let request: Named = read(value)?;
    let (record, place) = find(context, &request.id)?;
    end(&record, &place).await?;
    Ok(find(context, &request.id)?.0.view(false))
});

native!(Remove, "exec-remove", "Ends a detached program and forgets it.", |context, value| {
    let request: Named = read(value)?;
    let (record, place) = find(context, &request.id)?;
    end(&record, &place).await?;
    place.remove()?;
    Ok(json!({}))
});

/// Ends a program: hang-up, TERM, KILL, by its keeper or in its stead.
async fn end(record: &Record, place: &Place) -> Result<(), CommandError> {
    match record.state() {
        State::Ended => Ok(()),
        State::Running | State::Stopped => {
            if let Some(stream) = ask(place, &Ask::End).await {
                let mut reader = FrameReader::new(stream);
                // Its exit, or the end of its keeper.
                while let Ok(Some(frame)) = reader.next().await {
                    if matches!(frame, Frame::Exit(_)) {
                        break;
                    }
                }
            }
            Ok(())
        }
        State::Lost => {
            let session = record.lives().then_some(record.program.pid);
            Kin::new(session, &record.id).end().await;
            Ok(())
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttachRequest {
    id: String,
    /// The place of the first byte that is wanted, counted from the program's first.
    #[serde(default)]
    from: u64,
    /// The size that its terminal gets.
    terminal: Option<Size>,
}

streamed!(
    Attach,
    "exec-attach",
    "Shows what a detached program printed and prints, and gives it input.",
    |context, value, io| {
        let request: AttachRequest = read(value)?;
        let mut at = At { place: request.from, told: 0 };
        let mut size = request.terminal;
        for _ in 0..TRIES {
            let (record, place) = find(context, &request.id)?;
            match record.state() {
                State::Ended => return from_record(&record, &place, &mut at, &io.outbox).await,
                State::Lost => return Err(lost(&record)),
                State::Running | State::Stopped => {}
            }
            if let Some(size) = size.take() {
                ask(&place, &Ask::Resize(size)).await;
            }
            if let Some(stream) = ask(&place, &Ask::Attach { from: at.place }).await
                && let Some(exit) = live(stream, &place, &mut at, &io).await?
            {
                return Ok(Ended::Exit(exit));
            }
            // Its keeper is at its end: the record tells, in a moment.
            sleep(PAUSE).await;
        }
        Err(CommandError::failed("the keeper of the program cannot be reached"))
    }
);

/// How far a client is.
struct At {
    place: u64,
    /// How often it was told what is lost.
    told: u32,
}

impl At {
    /// Sends what a keeper tells; gives the exit if it was that.
    async fn tell(&mut self, frame: Frame, outbox: &Outbox) -> Result<Option<Exit>, CommandError> {
        let gone = |error| failed("answer", error);
        let kind = match &frame {
            Frame::Stdout(_) => Frame::Stdout(Vec::new()),
            _ => Frame::Stderr(Vec::new()),
        };
        match frame {
            // An empty frame is none.
            Frame::Stdout(bytes) | Frame::Stderr(bytes) if bytes.is_empty() => {}
            Frame::Stdout(bytes) | Frame::Stderr(bytes) => {
                self.place += bytes.len() as u64;
                outbox.bytes(&kind, bytes).await.map_err(gone)?;
            }
            Frame::Progress(text) => {
                let value: Value = serde_json::from_slice(&text)
                    .map_err(|error| failed("understand the program's keeper", error))?;
                self.place = value["from"].as_u64().unwrap_or(self.place);
                // The first says where it begins.
                if self.told == 0 || value["lost"] != 0 && self.told < PROGRESSES {
                    self.told += 1;
                    outbox.progress(&value).await.map_err(gone)?;
                }
            }
            Frame::Exit(exit) => return Ok(Some(exit)),
            Frame::Error(text) => {
                return Err(CommandError::invalid(String::from_utf8_lossy(&text)));
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Attaches to a keeper that lives; `None`: it went without a last word.
async fn live(
    stream: UnixStream,
    place: &Place,
    at: &mut At,
    io: &StreamIo,
) -> Result<Option<Exit>, CommandError> {
    let (from, to) = stream.into_split();
    let told = async {
        let mut reader = FrameReader::new(from);
        while let Ok(Some(frame)) = reader.next().await {
            if let Some(exit) = at.tell(frame, &io.outbox).await? {
                return Ok(Some(exit));
            }
        }
        Ok(None)
    };
    tokio::select! {
        told = told => told,
        never = given(to, io) => match never {},
        never = controlled(place, &io.inbox) => match never {},
    }
}

/// Gives the program the client's input, and lets the client send as much again.
async fn given(mut to: OwnedWriteHalf, io: &StreamIo) -> std::convert::Infallible {
    loop {
        let (frame, length) = match io.inbox.next_bytes().await {
            Input::Bytes(bytes) => {
                let length = bytes.len();
                (Frame::Stdin(bytes), length)
            }
            _ => (Frame::StdinEnd, 0),
        };
        let ends = matches!(frame, Frame::StdinEnd);
        // A keeper or a client that has gone ends the request elsewhere.
        let _ = frame::write(&mut to, &frame).await;
        let _ = io.outbox.grant(&io.inbox, length).await;
        if ends {
            std::future::pending::<()>().await;
        }
    }
}

/// Passes signals and sizes on, past input that may be waiting.
async fn controlled(place: &Place, inbox: &Inbox) -> std::convert::Infallible {
    loop {
        let wanted = match inbox.next_control().await {
            Input::Signal(number) => Ask::Signal { number },
            Input::Resize { rows, columns } => Ask::Resize(Size { rows, columns }),
            _ => continue,
        };
        ask(place, &wanted).await;
    }
}

/// Tells of a program that has ended.
async fn from_record(
    record: &Record,
    place: &Place,
    at: &mut At,
    outbox: &Outbox,
) -> Result<Ended, CommandError> {
    let Some(over) = record.ended else { return Err(lost(record)) };
    if at.place > over.bytes {
        let text = format!("the program printed {} bytes, fewer than {}", over.bytes, at.place);
        return Err(CommandError::invalid(text));
    }
    let from = at.place.max(over.lost);
    let text = json!({ "from": from, "lost": from - at.place }).to_string();
    at.tell(Frame::Progress(text.into_bytes()), outbox).await?;
    let cannot = |error| failed("read what the program printed", error);
    let file = File::open(place.output()).map_err(|error| cannot(error.into()))?;
    let mut passed = over.lost;
    let mut reader = FrameReader::new(Blocking(file));
    while let Some(mut frame) = reader.next().await.map_err(cannot)? {
        if let Frame::Stdout(bytes) | Frame::Stderr(bytes) = &mut frame {
            let before = at.place.saturating_sub(passed).min(bytes.len() as u64);
            passed += bytes.len() as u64;
            bytes.drain(..usize::try_from(before).unwrap_or(bytes.len()));
        }
        at.tell(frame, outbox).await?;
    }
    Ok(Ended::Exit(Exit { code: over.code, signal: over.signal }))
}

/// A file of ours, in memory as a rule and read in small pieces: nothing is waited for.
struct Blocking(File);

impl AsyncRead for Blocking {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.get_mut().0.read(buffer.initialize_unfilled());
        Poll::Ready(read.map(|read| buffer.advance(read)))
    }
}
