//! Whether a withdrawn image is being replaced, or has ended: vmcatcher's database knows, or its program `vmcatcher_image`.

use std::{path::PathBuf, time::Duration};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use vnode_action::{Spec, run};

use crate::event::Event;

/// Longest output of the program, bytes.
const OUTPUT_BYTES: usize = 16 << 20;
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Why it is not known. Nothing is withdrawn then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    #[error("cannot ask the database {path} whether the image is subscribed")]
    Database {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("`vmcatcher_image -l` cannot tell whether the image is subscribed: {reason}")]
    Program { reason: String },
}

/// The state of an image: subscribed (1) and available (2); 0 when nobody knows it.
///
/// # Errors
/// When neither database nor program can be asked.
pub async fn state(
    event: &Event,
    identifier: &str,
    environment: &[(String, String)],
    cancellation: &CancellationToken,
) -> Result<u8, SubscriptionError> {
    // `vnode` has no database of vmcatcher's, and names the default one all the same.
    match event.variable("VMCATCHER_RDBMS").and_then(sqlite).filter(|path| path.exists()) {
        Some(path) => {
            let identifier = identifier.to_owned();
            let asked = tokio::task::spawn_blocking(move || from_database(path, &identifier));
            asked.await.map_err(|_| SubscriptionError::Program { reason: "stopped".to_owned() })?
        }
        None => from_program(identifier, environment, cancellation).await,
    }
}

/// The file in an address as SQLAlchemy writes it: `sqlite:///relative`, `sqlite:////absolute`.
fn sqlite(address: &str) -> Option<PathBuf> {
    let path = address.strip_prefix("sqlite:///")?;
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    (!path.is_empty() && path != ":memory:").then(|| PathBuf::from(path))
}

fn from_database(path: PathBuf, identifier: &str) -> Result<u8, SubscriptionError> {
    let ask = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(&path, flags)?;
        // vmcatcher writes to it while events run.
        database.busy_timeout(Duration::from_secs(30))?;
        database
            .query_row(
                "SELECT COALESCE(d.cache, 0), EXISTS( \
                   SELECT 1 FROM ImageInstance i \
                   JOIN imageListInstance l ON l.id = i.fkimagelistinstance \
                   JOIN subscription s ON s.imagelist_latest = l.id \
                   WHERE i.id = d.latest AND s.id = d.subscription AND s.authorised AND l.expired IS NULL) \
                 FROM ImageDefinition d WHERE d.identifier = ?1",
                [identifier],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?)),
            )
            .optional()
    };
    let found =
        ask().map_err(|source| SubscriptionError::Database { path: path.clone(), source })?;
    Ok(found.map_or(0, |(cache, available)| u8::from(cache != 0) + 2 * u8::from(available)))
}

async fn from_program(
    identifier: &str,
    environment: &[(String, String)],
    cancellation: &CancellationToken,
) -> Result<u8, SubscriptionError> {
    let wrong = |reason: String| SubscriptionError::Program { reason };
    let spec = Spec::new(["vmcatcher_image", "-l"])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .capture(OUTPUT_BYTES)
        .time_limit(TIME_LIMIT);
    let output = run(spec, cancellation).await.map_err(|e| wrong(vnode_protocol::chain(&e)))?;
    if !output.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(wrong(format!("{}: {last}", output.status)));
    }
    if output.stdout_truncated {
        return Err(wrong(format!("it prints more than {OUTPUT_BYTES} bytes")));
    }
    listed(&String::from_utf8_lossy(&output.stdout), identifier)
}

/// Reads `identifier<TAB>state<TAB>subscription`.
fn listed(text: &str, identifier: &str) -> Result<u8, SubscriptionError> {
    for line in text.lines() {
        let mut columns = line.split_whitespace();
        if columns.next() != Some(identifier) {
            continue;
        }
        return columns
            .next()
            .and_then(|state| state.parse().ok())
            .filter(|state| *state < 4)
            .ok_or_else(|| SubscriptionError::Program {
                reason: format!("no state stands behind `{identifier}`"),
            });
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h51_a_list_of_images_is_read_by_whole_words() {
        let text = "abc\t3\tlist-3\nab\t1\tlist\nbad\tx\t\n";
        assert_eq!(listed(text, "abc").unwrap(), 3);
        assert_eq!(listed(text, "ab").unwrap(), 1);
        assert_eq!(listed(text, "a").unwrap(), 0);
        assert!(listed(text, "bad").is_err());
    }

    #[test]
    fn addresses_of_sqlite_are_files() {
        assert_eq!(sqlite("sqlite:////var/a.db"), Some("/var/a.db".into()));
        assert_eq!(sqlite("sqlite:///a.db"), Some("a.db".into()));
        for other in ["sqlite://", "sqlite:///:memory:", "mysql://h/a", "/var/a.db"] {
            assert_eq!(sqlite(other), None, "{other}");
        }
    }
}
