//! Small files, read under bounds.

use std::{fs::File, io::Read as _, path::Path};

/// The text of a regular file of at most `limit` bytes.
pub(crate) fn text(path: &Path, limit: u64) -> std::io::Result<String> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(std::io::Error::other(format!("it is longer than {limit} bytes")));
    }
    Ok(text)
}
