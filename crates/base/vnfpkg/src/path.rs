//! Paths as a package may name them.

use unicode_normalization::UnicodeNormalization;

use crate::{
    limits::Limits,
    problem::{Code, Problem},
};

/// The path as it will be written: without `./` and doubled slashes. Empty for the root itself.
///
/// # Errors
/// Everything that is absolute, climbs, or could mean another thing to another reader.
pub(crate) fn normalise(raw: &[u8], limits: &Limits) -> Result<String, Problem> {
    let shown = String::from_utf8_lossy(raw).into_owned();
    let wrong = |code, what: &str| Problem::new(code, what).entry(shown.clone());
    let path = str::from_utf8(raw).map_err(|_| {
        wrong(Code::NameEncoding, "the name is not UTF-8; pack it again with UTF-8 names")
    })?;
    if path.starts_with('/') {
        return Err(wrong(Code::Path, "the path is absolute; it must be relative to the package"));
    }
    if path.chars().any(char::is_control) {
        return Err(wrong(Code::Path, "the path holds a control character"));
    }
    if path.contains('\\') {
        return Err(wrong(Code::Path, "the path holds a backslash"));
    }
    if path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic() {
        return Err(wrong(Code::Path, "the path begins with a drive letter"));
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => continue,
            ".." => return Err(wrong(Code::Path, "the path holds `..`")),
            _ => {}
        }
        if part.ends_with(['.', ' ']) {
            return Err(wrong(Code::Path, "a name ends in a dot or a blank"));
        }
        if part.len() > limits.component_bytes {
            let what = format!("a name is longer than {} bytes", limits.component_bytes);
            return Err(wrong(Code::Path, &what));
        }
        parts.push(part);
    }
    if parts.len() > limits.depth {
        return Err(wrong(Code::TooDeep, &format!("more than {} levels of folders", limits.depth)));
    }
    let path = parts.join("/");
    if path.len() > limits.path_bytes {
        return Err(wrong(
            Code::Path,
            &format!("the path is longer than {} bytes", limits.path_bytes),
        ));
    }
    Ok(path)
}

/// What two paths that are the same on some file system have in common.
pub(crate) fn folded(path: &str) -> String {
    path.nfc().flat_map(char::to_lowercase).nfc().collect()
}

/// Where a relative link in `folder` leads, by its text alone; `None` when it leaves the package.
pub(crate) fn resolve(link: &str, target: &str) -> Option<String> {
    if target.starts_with('/') || target.is_empty() {
        return None;
    }
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
