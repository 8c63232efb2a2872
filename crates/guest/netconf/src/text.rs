//! Edits of configuration files that others wrote, line by line, as bytes: nobody promised UTF-8.

/// The lines of a file without their ends, trimmed of white space on both sides.
pub(crate) fn lines(content: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = content.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).collect();
    // What follows the last line feed is no line.
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines
}

/// The lines with a line feed after each.
pub(crate) fn join<L: AsRef<[u8]>>(lines: &[L]) -> Vec<u8> {
    let mut content = Vec::new();
    for line in lines {
        content.extend_from_slice(line.as_ref());
        content.push(b'\n');
    }
    content
}

/// The two sides of the first `=`, trimmed; `None` for comments and what has no `=`.
pub(crate) fn assignment(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if line.trim_ascii_start().starts_with(b"#") {
        return None;
    }
    let at = line.iter().position(|b| *b == b'=')?;
    Some((line[..at].trim_ascii(), line[at + 1..].trim_ascii()))
}

/// The value of the last `key=value` line, without the quotes around it.
pub(crate) fn value(content: &[u8], key: &str) -> Option<String> {
    let found = lines(content)
        .into_iter()
        .rev()
        .find_map(|line| assignment(line).filter(|(k, _)| *k == key.as_bytes()))?
        .1;
    Some(unquoted(found))
}

/// A shell word without the quotes around it. A comment after it is dropped.
pub(crate) fn unquoted(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value).trim().to_owned();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.split(quote).next().unwrap_or_default().to_owned();
        }
    }
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// The file with `line` in place of every line that sets `key`, or at the end when none does. Lines are trimmed.
pub(crate) fn set(content: &[u8], key: &str, line: &str) -> Vec<u8> {
    let mut found = false;
    let mut kept: Vec<&[u8]> = Vec::new();
    for old in lines(content) {
        if assignment(old).is_some_and(|(k, _)| k == key.as_bytes()) {
            found = true;
            kept.push(line.as_bytes());
        } else {
            kept.push(old);
        }
    }
    if !found {
        kept.push(line.as_bytes());
    }
    join(&kept)
}

/// An interface's name as part of a shell variable's name.
pub(crate) fn variable(interface: &str) -> String {
    interface.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_replaces_in_place_or_appends() {
        assert_eq!(set(b"", "A", "A=1"), b"A=1\n");
        assert_eq!(set(b"  B=2\n#A=0\n A = 3 \n\n", "A", "A=1"), b"B=2\n#A=0\nA=1\n\n");
        assert_eq!(set(b"B=\xff", "A", "A=1"), b"B=\xff\nA=1\n", "bytes that are no text stay");
    }

    #[test]
    fn values_lose_their_quotes() {
        assert_eq!(value(b"A=\"x y\" # c\n", "A").as_deref(), Some("x y"));
        assert_eq!(value(b"A='x'\nA=y # c", "A").as_deref(), Some("y"));
        assert_eq!(value(b"#A=x", "A"), None);
    }
}
