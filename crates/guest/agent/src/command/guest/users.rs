//! guest-get-users: who is logged in, by the login records.

use serde_json::{Value, json};

use super::{Args, CommandError, Guest};
use crate::context::Context;

/// The records, where they are today and where they were.
const RECORDS: [&str; 2] = ["run/utmp", "var/run/utmp"];
/// Largest file of records read.
const MOST: u64 = 4 << 20;

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::now("guest-get-users", users)]
}

fn users(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let bytes = RECORDS.iter().find_map(|path| context.root().read_to_limit(path, MOST).ok());
    // No records, nobody: small systems keep none.
    let mut found: Vec<(String, f64)> = Vec::new();
    for (user, time) in sessions(&bytes.unwrap_or_default()) {
        match found.iter_mut().find(|(name, _)| *name == user) {
            // A user who is logged in twice is told once, with the first time.
            Some((_, first)) => *first = first.min(time),
            None => found.push((user, time)),
        }
    }
    Ok(found.into_iter().map(|(user, time)| json!({ "user": user, "login-time": time })).collect())
}

/// The user sessions of a file of `struct utmp` (utmp(5); the same 384 bytes on all 64-bit Linux but Alpha and IA-64).
fn sessions(bytes: &[u8]) -> impl Iterator<Item = (String, f64)> {
    const SIZE: usize = 384;
    const USER_PROCESS: i16 = 7;
    bytes.chunks_exact(SIZE).filter_map(|record| {
        let kind = i16::from_ne_bytes(record[0..2].try_into().ok()?);
        let name = record[44..76].split(|byte| *byte == 0).next()?;
        let seconds = i32::from_ne_bytes(record[340..344].try_into().ok()?);
        let micros = i32::from_ne_bytes(record[344..348].try_into().ok()?);
        (kind == USER_PROCESS && !name.is_empty()).then(|| {
            let time = f64::from(seconds) + f64::from(micros) / 1e6;
            (String::from_utf8_lossy(name).into_owned(), time)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_read() {
        let mut record = vec![0; 384];
        record[0] = 7;
        record[44..49].copy_from_slice(b"alice");
        record[340..344].copy_from_slice(&1_700_000_000i32.to_ne_bytes());
        record[344..348].copy_from_slice(&500_000i32.to_ne_bytes());
        let dead = vec![0; 384];
        let all: Vec<_> = sessions(&[dead, record].concat()).collect();
        assert_eq!(all, [("alice".to_owned(), 1_700_000_000.5)]);
    }
}
