//! Answers too large to hold: their bytes go from a file to the client as base64, piece by piece.

use std::{fs::File, io::ErrorKind, os::unix::fs::FileExt, sync::Arc};

use serde_json::Value;

use super::{Args, CommandError, exec, file};
use crate::context::Context;

/// A member of an answer.
pub(crate) enum Member {
    Plain(Value),
    /// Bytes of a file.
    Bytes(Source),
}

/// Where bytes come from.
pub(crate) enum Source {
    /// From where the file stands, at most so many; `count` and `eof` are told after them.
    Read { file: Arc<File>, left: u64, count: u64, at_end: bool, first: Vec<u8> },
    /// All of a file of known length.
    Whole { file: File, at: u64, length: u64 },
}

/// An answer in members, in the order they are written.
pub(crate) struct Answer {
    pub(crate) members: Vec<(&'static str, Member)>,
}

/// Bytes of a piece: a multiple of three, so that pieces of base64 join.
const PIECE: usize = 48 << 10;

/// Whether a command may have such an answer.
pub(crate) fn may_be(name: &str) -> bool {
    matches!(name, "guest-file-read" | "guest-exec-status")
}

/// Starts the answer if it is large; `Err` gives the arguments back, for the command itself.
pub(crate) fn start(
    context: &Context,
    name: &str,
    arguments: Value,
) -> Result<Result<Answer, CommandError>, Value> {
    match name {
        "guest-file-read" if arguments["count"].as_u64().is_some_and(|c| c > file::AT_ONCE) => {
            Ok(Args::new(arguments).and_then(|args| read(context, args)))
        }
        "guest-exec-status" => match arguments["pid"].as_i64() {
            Some(pid) if arguments.as_object().is_some_and(|a| a.len() == 1) => {
                exec::large_result(context, pid).map(Ok).ok_or(arguments)
            }
            _ => Err(arguments),
        },
        _ => Err(arguments),
    }
}

fn read(context: &Context, args: Args) -> Result<Answer, CommandError> {
    let wanted = file::wanted(context, args)?;
    // The first piece now: an error of the file must be the answer's.
    let piece = wanted.count.min(PIECE as u64);
    let (first, at_end) =
        file::read_some(&wanted.file, piece).map_err(|error| file::read_failed(&error))?;
    let source = Source::Read { file: wanted.file, left: wanted.count, count: 0, at_end, first };
    Ok(Answer { members: vec![("buf-b64", Member::Bytes(source))] })
}

impl Source {
    /// The next piece; empty at the end.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        match self {
            Self::Read { file, left, count, at_end, first } => {
                let mut piece = std::mem::take(first);
                if piece.is_empty() && !*at_end && *left > 0 {
                    // An error after the first piece ends this answer; the next read meets it again.
                    (piece, *at_end) =
                        file::read_some(file, (*left).min(PIECE as u64)).unwrap_or_default();
                }
                if piece.len() % 3 != 0 {
                    // Padding ends the text, so nothing may follow.
                    *left = piece.len() as u64;
                }
                *left -= piece.len() as u64;
                *count += piece.len() as u64;
                piece
            }
            Self::Whole { file, at, length } => {
                let mut piece = vec![0; (*length - *at).min(PIECE as u64) as usize];
                let mut filled = 0;
                while filled < piece.len() {
                    match file.read_at(&mut piece[filled..], *at + filled as u64) {
                        Ok(0) => break,
                        Ok(more) => filled += more,
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        // It is memory of ours; if the kernel cannot give it, less is told than was printed.
                        Err(_) => break,
                    }
                }
                piece.truncate(filled);
                *at = if filled < PIECE { *length } else { *at + filled as u64 };
                piece
            }
        }
    }

    /// Members that only the bytes tell.
    pub(crate) fn rest(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Read { count, at_end, .. } => {
                vec![("count", (*count).into()), ("eof", (*at_end).into())]
            }
            Self::Whole { .. } => Vec::new(),
        }
    }
}
