//! The INI dialect of the definition files: what go-ini reads in its default mode, with the places kept.
//!
//! Two differences never change what an accepted file means: what is probably a mistake is a [`Warning`], and a
//! file with a zero byte, or larger than [`MAX_FILE`], is refused.

use std::borrow::Cow;

use thiserror::Error;

/// Largest file read, in bytes. Real ones have less than two thousand.
pub const MAX_FILE: usize = 1 << 20;
/// Largest value after references are replaced: they could double with every step.
const MAX_VALUE: usize = 64 << 10;
/// Replacements in one value, as in go-ini.
const MAX_DEPTH: usize = 99;
/// Section of what stands before the first header, and of references found nowhere else.
const DEFAULT: &str = "DEFAULT";

/// Why a file cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct SyntaxError {
    /// Counted from 1.
    pub line: usize,
    pub reason: String,
}

/// What is accepted, and probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Counted from 1.
    pub line: usize,
    pub text: String,
}

/// A file as it stands, sections and keys in their order.
#[derive(Debug, Clone, Default)]
pub struct Document {
    sections: Vec<Section>,
    pub(crate) warnings: Vec<Warning>,
}

/// One section; repeated ones are one.
#[derive(Debug, Clone)]
pub struct Section {
    /// Not trimmed.
    pub name: String,
    /// Of its first header; 0 for the section before all headers.
    pub line: usize,
    keys: Vec<Key>,
}

/// One key with its last value, before references are replaced.
#[derive(Debug, Clone)]
pub struct Key {
    pub name: String,
    pub line: usize,
    raw: String,
    /// An inline comment cut the value here.
    pub(crate) cut: Option<String>,
    /// The key ended at a `:` although a `=` follows.
    pub(crate) colon: bool,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// As go-ini: a line without delimiter, an unclosed or empty header, an empty key, an open quote. And a zero byte.
    pub fn read(bytes: &[u8]) -> Result<Self, SyntaxError> {
        let fail = |line, reason: &str| Err(SyntaxError { line, reason: reason.to_owned() });
        if bytes.len() > MAX_FILE {
            return fail(1, "the file is larger than a mebibyte: it is no definition");
        }
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            return fail(line, "there is a zero byte: the file is damaged, or not UTF-8");
        }
        let bytes = [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"]
            .iter()
            .find_map(|mark| bytes.strip_prefix(*mark))
            .unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes);
        let mut document = Self::default();
        if let Cow::Owned(_) = text {
            let text = "the file is not UTF-8: bytes that are no text are replaced".to_owned();
            document.warnings.push(Warning { line: 1, text });
        }
        document.lines(&text)?;
        Ok(document)
    }

    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter()
    }

    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The value of a key in a section or those it inherits from, references replaced; and where it stands.
    pub fn get(&self, section: &Section, key: &str) -> Option<Value<'_>> {
        let (owner, found) = self.lookup(&section.name, key)?;
        Some(Value {
            text: self.expand(owner, found),
            key: found,
            inherited: owner.name != section.name,
        })
    }

    /// The value of a key of the section itself.
    pub(crate) fn own<'a>(&'a self, section: &'a Section, key: &'a Key) -> Value<'a> {
        Value { text: self.expand(section, key), key, inherited: false }
    }

    /// Reading what a section lacks falls back to the name without its last `.label`.
    fn lookup(&self, section: &str, key: &str) -> Option<(&Section, &Key)> {
        let mut name = section;
        loop {
            if let Some(section) = self.section(name)
                && let Some(found) = section.keys.iter().find(|k| k.name == key)
            {
                return Some((section, found));
            }
            name = &name[..name.rfind('.')?];
        }
    }

    fn expand(&self, section: &Section, key: &Key) -> String {
        let mut value = key.raw.clone();
        for _ in 0..MAX_DEPTH {
            let Some((begin, end)) = reference(&value) else { break };
            let whole = value[begin..end].to_owned();
            let name = &whole[2..whole.len() - 2];
            let other = |found: &(&Section, &Key)| !std::ptr::eq(found.1, key);
            let found = self.lookup(&section.name, name).filter(other);
            let found = found.or_else(|| self.lookup(DEFAULT, name).filter(other));
            // Unresolved references stay as written; go-ini stops at the first.
            let Some((_, found)) = found else { break };
            let grown = value.matches(&whole).count().saturating_mul(found.raw.len());
            if value.len().saturating_add(grown) > MAX_VALUE {
                break;
            }
            value = value.replace(&whole, &found.raw);
        }
        value
    }

    fn lines(&mut self, text: &str) -> Result<(), SyntaxError> {
        let mut lines = (1..).zip(text.split_inclusive('\n'));
        let mut current = self.open(DEFAULT, 0);
        while let Some((number, line)) = lines.next() {
            let fail = |reason: &str| Err(SyntaxError { line: number, reason: reason.to_owned() });
            let line = line.trim_start();
            match line.as_bytes().first() {
                None | Some(b'#' | b';') => continue,
                Some(b'[') => {
                    let Some(close) = line.rfind(']') else { return fail("the header has no `]`") };
                    let name = &line[1..close];
                    if name.is_empty() {
                        return fail("the header names no section");
                    }
                    if self.section(name).is_some_and(|s| s.line > 0) {
                        let text = format!("section `{name}` was there before: the two are one");
                        self.warnings.push(Warning { line: number, text });
                    }
                    current = self.open(name, number);
                    continue;
                }
                Some(_) => {}
            }
            let (name, rest, colon) = key(line)
                .map_err(|reason| SyntaxError { line: number, reason: reason.to_owned() })?;
            if name.is_empty() {
                return fail("there is no key before the delimiter");
            }
            let (raw, cut) = value(rest, &mut lines)
                .map_err(|reason| SyntaxError { line: number, reason: reason.to_owned() })?;
            let key = Key { name: name.to_owned(), line: number, raw, cut, colon };
            let keys = &mut self.sections[current].keys;
            if let Some(earlier) = keys.iter_mut().find(|other| other.name == key.name) {
                let text = format!(
                    "key `{name}` was there before, in line {}: this one counts",
                    earlier.line
                );
                self.warnings.push(Warning { line: number, text });
                *earlier = key;
            } else {
                keys.push(key);
            }
        }
        Ok(())
    }

    fn open(&mut self, name: &str, line: usize) -> usize {
        if let Some(at) = self.sections.iter().position(|section| section.name == name) {
            if self.sections[at].line == 0 {
                self.sections[at].line = line;
            }
            return at;
        }
        self.sections.push(Section { name: name.to_owned(), line, keys: Vec::new() });
        self.sections.len() - 1
    }
}

impl Section {
    /// Keys that stand in the section itself.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }
}

/// A value that was looked up.
#[derive(Debug, Clone)]
pub struct Value<'a> {
    pub text: String,
    pub key: &'a Key,
    /// It stands in another section, whose name is a part of this one's.
    pub inherited: bool,
}

/// The first `%(name)s`.
fn reference(value: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(at) = value[from..].find("%(").map(|at| at + from) {
        let close = value[at..].find(')').map(|close| close + at)?;
        if close > at + 2 && value[close + 1..].starts_with('s') {
            return Some((at, close + 2));
        }
        from = at + 2;
    }
    None
}

/// Key, what follows the delimiter, and whether a `:` ended the key although a `=` follows.
fn key(line: &str) -> Result<(&str, &str, bool), &'static str> {
    const MISSING: &str = "there is neither `=` nor `:`";
    let quote = match line.as_bytes() {
        [b'"', b'"', b'"', _, _, _, _, ..] => "\"\"\"",
        [b'"', ..] => "\"",
        [b'`', ..] => "`",
        _ => "",
    };
    if !quote.is_empty() {
        let inner = &line[quote.len()..];
        let end = inner.find(quote).ok_or("the quote of the key is not closed")?;
        let after = &inner[end + quote.len()..];
        let at = after.find(['=', ':']).ok_or(MISSING)?;
        return Ok((inner[..end].trim(), &after[at + 1..], false));
    }
    let at = line.find(['=', ':']).ok_or(MISSING)?;
    let rest = &line[at + 1..];
    let colon = line.as_bytes()[at] == b':' && rest.contains('=');
    Ok((line[..at].trim(), rest, colon))
}

/// The value, and the comment that was cut from it. Takes the lines it goes on over.
fn value<'a>(
    rest: &str,
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
) -> Result<(String, Option<String>), &'static str> {
    let line = rest.trim_start();
    let quote = if line.len() > 3 && line.starts_with("\"\"\"") {
        "\"\"\""
    } else if line.starts_with('`') {
        "`"
    } else {
        ""
    };
    if !quote.is_empty() {
        let inner = &line[quote.len()..];
        if let Some(end) = inner.rfind(quote) {
            return Ok((inner[..end].to_owned(), None));
        }
        let mut value = inner.to_owned();
        for (_, next) in lines {
            if let Some(end) = next.rfind(quote) {
                value.push_str(&next[..end]);
                return Ok((value, None));
            }
            value.push_str(next);
        }
        return Err("the quote of the value is not closed");
    }
    let line = line.trim_end();
    // Before comments are cut: so a comment that ends in a backslash swallows the next line.
    if let Some(begun) = line.strip_suffix('\\') {
        let mut value = begun.to_owned();
        for (_, next) in lines {
            let next = next.trim();
            if next.is_empty() {
                break;
            }
            value.push_str(next);
            if !value.ends_with('\\') {
                break;
            }
            value.pop();
        }
        return Ok((value, None));
    }
    let (line, cut) = match line.find(['#', ';']) {
        Some(at) => (line[..at].trim(), Some(line[at..].to_owned())),
        None => (line, None),
    };
    for quote in ['\'', '"'] {
        if let Some(inner) = line.strip_prefix(quote)
            && inner.find(quote) == Some(inner.len().wrapping_sub(1))
        {
            return Ok((inner[..inner.len() - 1].to_owned(), cut));
        }
    }
    Ok((line.to_owned(), cut))
}

#[cfg(test)]
mod tests;
