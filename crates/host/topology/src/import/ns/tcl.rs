//! As much Tcl as NS files are written in: variables, arrays, loops, sums; commands within commands.
//!
//! Everything is bounded: commands carried out, nesting, the size of a value. A command that is not known is told with its
//! place, and gives a value that is not told of again where it is used.

use std::collections::HashMap;

use super::build::Built;
use super::{expr, object};
use crate::report::{At, Report};

/// Commands carried out, those of loops counted each time.
const MOST_COMMANDS: u32 = 500_000;
/// Commands within commands.
const MOST_DEPTH: u32 = 40;
/// Longest value, bytes.
const MOST_VALUE: usize = 256 * 1024;
/// Variables.
const MOST_VARIABLES: usize = 100_000;

/// Where a script stands in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    offset: usize,
    /// Its characters stand in the file as they are; otherwise all of it stands for the one place.
    exact: bool,
}

impl Base {
    pub(super) fn exact(offset: usize) -> Self {
        Self { offset, exact: true }
    }

    fn at(self, from: usize, to: usize) -> At {
        if self.exact { self.offset + from..self.offset + to } else { self.offset..self.offset + 1 }
    }
}

/// One word of a command, substituted.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: At,
    /// Written in braces: a script or list that stands in the file as it is.
    base: Option<usize>,
}

impl Word {
    /// Another text of the same place.
    pub(super) fn with(&self, text: impl Into<String>) -> Self {
        Self { text: text.into(), at: self.at.clone(), base: None }
    }

    fn base(&self) -> Base {
        match self.base {
            Some(offset) => Base::exact(offset),
            None => Base { offset: self.at.start, exact: false },
        }
    }
}

/// Carries an NS file out.
pub(super) struct Interpreter<'r, 's> {
    pub(super) report: &'r mut Report<'s>,
    pub(super) built: Built,
    variables: HashMap<String, String>,
    commands: u32,
    depth: u32,
    /// Nothing more is carried out.
    over: bool,
}

impl<'r, 's> Interpreter<'r, 's> {
    pub(super) fn new(report: &'r mut Report<'s>) -> Self {
        Self {
            report,
            built: Built::default(),
            variables: HashMap::new(),
            commands: 0,
            depth: 0,
            over: false,
        }
    }

    /// Carries a script out; the value of its last command.
    pub(super) fn eval(&mut self, script: &str, base: Base) -> String {
        let mut result = String::new();
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            self.stop(&base.at(0, 1), "commands are nested too deeply");
        }
        let mut at = 0;
        while !self.over
            && let Some(words) = self.command(script, &mut at, base)
        {
            self.commands += 1;
            if let Some(first) = words.first() {
                if self.commands > MOST_COMMANDS {
                    let place = first.at.clone();
                    self.stop(&place, "more than 500000 commands: a loop that does not end?");
                    break;
                }
                let at = first.at.start..words.last().map_or(first.at.end, |last| last.at.end);
                result = self.run(&words, &at);
            }
        }
        self.depth -= 1;
        result
    }

    fn stop(&mut self, at: &At, text: &str) {
        if !self.over {
            self.report.error(at, text);
        }
        self.over = true;
    }

    /// The next command's words; none at the end.
    fn command(&mut self, script: &str, at: &mut usize, base: Base) -> Option<Vec<Word>> {
        let bytes = script.as_bytes();
        loop {
            while *at < bytes.len() && (bytes[*at].is_ascii_whitespace() || bytes[*at] == b';') {
                *at += 1;
            }
            if bytes.get(*at) != Some(&b'#') {
                break;
            }
            // A comment; a backslash at the end of its line goes on with it.
            while *at < bytes.len() && bytes[*at] != b'\n' {
                *at += if bytes[*at] == b'\\' { 2 } else { 1 };
            }
            *at = (*at).min(bytes.len());
        }
        if *at >= bytes.len() {
            return None;
        }
        let mut words = Vec::new();
        while let Some(byte) = bytes.get(*at) {
            match byte {
                b'\n' | b';' => break,
                b'\\' if bytes.get(*at + 1) == Some(&b'\n') => *at += 2,
                b'\\' if bytes[*at..].starts_with(b"\\\r\n") => *at += 3,
                byte if byte.is_ascii_whitespace() => *at += 1,
                _ => words.push(self.word(script, at, base)?),
            }
        }
        Some(words)
    }

    /// One word; none when it does not end, which has been told.
    fn word(&mut self, script: &str, at: &mut usize, base: Base) -> Option<Word> {
        let start = *at;
        match script.as_bytes()[start] {
            b'{' => {
                let Some(length) = closing(&script[start..], b'{', b'}') else {
                    self.stop(&base.at(start, start + 1), "this brace is not closed");
                    return None;
                };
                *at = start + length;
                let inner = &script[start + 1..start + length - 1];
                let offset = base.exact.then_some(base.offset + start + 1);
                // A backslash at a line's end is a space, also in braces; what has one stands there as it is no more.
                if inner.contains("\\\n") && !inner.contains(['\n', ';']) {
                    let text = inner.replace("\\\n", " ");
                    return Some(Word { text, at: base.at(start, *at), base: None });
                }
                Some(Word { text: inner.to_owned(), at: base.at(start, *at), base: offset })
            }
            b'"' => {
                *at += 1;
                let text = self.substituted(script, at, base, |byte| byte == b'"')?;
                if script.as_bytes().get(*at) != Some(&b'"') {
                    self.stop(&base.at(start, start + 1), "this quote is not closed");
                    return None;
                }
                *at += 1;
                Some(Word { text, at: base.at(start, *at), base: None })
            }
            _ => {
                let end = |byte: u8| byte.is_ascii_whitespace() || byte == b';';
                let text = self.substituted(script, at, base, end)?;
                Some(Word { text, at: base.at(start, *at), base: None })
            }
        }
    }

    /// Text up to a byte that ends it, with variables and commands put in.
    fn substituted(
        &mut self,
        script: &str,
        at: &mut usize,
        base: Base,
        ends: impl Fn(u8) -> bool,
    ) -> Option<String> {
        let bytes = script.as_bytes();
        let mut text = String::new();
        while let Some(&byte) = bytes.get(*at)
            && !ends(byte)
        {
            let start = *at;
            match byte {
                b'\\' => {
                    let escaped = script[start + 1..].chars().next();
                    *at += 1 + escaped.map_or(0, char::len_utf8);
                    match escaped {
                        Some('\n') if ends(b' ') => {
                            *at = start;
                            break;
                        }
                        Some('n') => text.push('\n'),
                        Some('t') => text.push('\t'),
                        Some('\n') => text.push(' '),
                        Some(other) => text.push(other),
                        None => {}
                    }
                }
                b'[' => {
                    let Some(length) = closing(&script[start..], b'[', b']') else {
                        self.stop(&base.at(start, start + 1), "this bracket is not closed");
                        return None;
                    };
                    let inner = &script[start + 1..start + length - 1];
                    let place =
                        if base.exact { Base::exact(base.offset + start + 1) } else { base };
                    text.push_str(&self.eval(inner, place));
                    *at = start + length;
                }
                b'$' => text.push_str(&self.variable(script, at, base)?),
                _ => {
                    let c = script[start..].chars().next()?;
                    text.push(c);
                    *at += c.len_utf8();
                }
            }
            if text.len() > MOST_VALUE {
                self.stop(&base.at(start, start + 1), "this value is longer than 256 KiB");
                return None;
            }
        }
        Some(text)
    }

    /// `$name`, `${name}`, `$name(index)`; a dollar alone is a dollar.
    fn variable(&mut self, script: &str, at: &mut usize, base: Base) -> Option<String> {
        let start = *at;
        let rest = &script[start + 1..];
        let mut name;
        if rest.starts_with('{') {
            let Some(length) = closing(rest, b'{', b'}') else {
                self.stop(&base.at(start, start + 1), "this brace is not closed");
                return None;
            };
            name = rest[1..length - 1].to_owned();
            *at = start + 1 + length;
        } else {
            let letters = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let length = rest.find(|c: char| !letters(c)).unwrap_or(rest.len());
            if length == 0 {
                *at = start + 1;
                return Some("$".to_owned());
            }
            name = rest[..length].to_owned();
            *at = start + 1 + length;
            if script.as_bytes().get(*at) == Some(&b'(') {
                *at += 1;
                let index = self.substituted(script, at, base, |byte| byte == b')')?;
                *at = (*at + 1).min(script.len());
                name = format!("{name}({index})");
            }
        }
        match self.variables.get(&name) {
            Some(value) => Some(value.clone()),
            None => {
                self.report.error(&base.at(start, *at), format!("`${name}` is not set"));
                Some(object::UNKNOWN.to_owned())
            }
        }
    }

    fn assign(&mut self, name: &Word, value: String) -> String {
        if value.len() > MOST_VALUE || self.variables.len() >= MOST_VARIABLES {
            self.stop(&name.at, "too many or too long variables");
            return String::new();
        }
        self.built.call_it(&value, &name.text);
        self.variables.insert(name.text.clone(), value.clone());
        value
    }

    /// The value of an expression; `expr` reads variables and commands in it.
    fn number(&mut self, word: &Word) -> Option<f64> {
        let mut at = 0;
        let text = self.substituted(&word.text, &mut at, word.base(), |_| false)?;
        if text.contains(object::UNKNOWN) {
            return None;
        }
        let value = expr::value(&text);
        if value.is_none() {
            self.report.error_with(
                &word.at,
                format!("`{}` cannot be computed", object::shown(&text)),
                "numbers, + - * / %, comparisons, && || ! and brackets are understood",
            );
        }
        value
    }

    fn is_true(&mut self, condition: &Word) -> bool {
        self.number(condition).is_some_and(|value| value != 0.0)
    }

    fn run(&mut self, words: &[Word], at: &At) -> String {
        let nothing = String::new;
        let name = words[0].text.as_str();
        match (name, &words[1..]) {
            ("set", [variable]) => match self.variables.get(&variable.text) {
                Some(value) => value.clone(),
                None => {
                    self.report.error(at, format!("`{}` is not set", variable.text));
                    object::UNKNOWN.to_owned()
                }
            },
            ("set", [variable, value]) => self.assign(variable, value.text.clone()),
            ("append" | "lappend", [variable, values @ ..]) => {
                let mut text = self.variables.get(&variable.text).cloned().unwrap_or_default();
                for value in values {
                    if name == "lappend" && !text.is_empty() {
                        text.push(' ');
                    }
                    text.push_str(&value.text);
                }
                self.assign(variable, text)
            }
            ("incr", [variable, by @ ..]) if by.len() < 2 => {
                let old = self.variables.get(&variable.text).and_then(|text| expr::value(text));
                let by = by.first().map_or(Some(1.0), |by| expr::value(&by.text));
                let (Some(old), Some(by)) = (old, by) else {
                    self.report.error(at, format!("`{}` is no number", variable.text));
                    return nothing();
                };
                self.assign(variable, expr::shown(old + by))
            }
            ("expr", parts) if !parts.is_empty() => {
                let joined = Word {
                    text: parts.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join(" "),
                    at: at.clone(),
                    base: None,
                };
                self.number(&joined).map_or_else(|| object::UNKNOWN.to_owned(), expr::shown)
            }
            ("for", [first, condition, next, body]) => {
                self.eval(&first.text, first.base());
                while !self.over && self.is_true(condition) {
                    self.eval(&body.text, body.base());
                    self.eval(&next.text, next.base());
                    self.count(at);
                }
                nothing()
            }
            ("while", [condition, body]) => {
                while !self.over && self.is_true(condition) {
                    self.eval(&body.text, body.base());
                    self.count(at);
                }
                nothing()
            }
            ("foreach", [variable, list, body]) => {
                for item in list.text.split_whitespace() {
                    if self.over {
                        break;
                    }
                    self.assign(variable, item.to_owned());
                    self.eval(&body.text, body.base());
                    self.count(at);
                }
                nothing()
            }
            ("if", [condition, body]) => {
                if self.is_true(condition) {
                    self.eval(&body.text, body.base())
                } else {
                    nothing()
                }
            }
            ("if", [condition, body, word, other]) if word.text == "else" => {
                let chosen = if self.is_true(condition) { body } else { other };
                self.eval(&chosen.text, chosen.base())
            }
            ("list", items) => {
                items.iter().map(|item| item.text.as_str()).collect::<Vec<_>>().join(" ")
            }
            // The testbed's own library, and what is printed while the file is read.
            ("source" | "puts" | "global", _) => nothing(),
            ("new", [class]) if class.text == "Simulator" => object::SIMULATOR.to_owned(),
            _ => self.testbed(words, at),
        }
    }

    /// A word with the variables and commands put in that braces kept out.
    pub(super) fn expanded(&mut self, word: &Word) -> String {
        let mut at = 0;
        match word.base {
            Some(_) => self.substituted(&word.text, &mut at, word.base(), |_| false),
            None => Some(word.text.clone()),
        }
        .unwrap_or_default()
    }

    /// Rounds of loops count as commands, so that one without a body ends too.
    fn count(&mut self, at: &At) {
        self.commands += 1;
        if self.commands > MOST_COMMANDS {
            self.stop(at, "more than 500000 commands: a loop that does not end?");
        }
    }
}

/// Length up to and with what closes what the text begins with.
fn closing(text: &str, open: u8, close: u8) -> Option<usize> {
    let mut depth = 0u32;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
        } else if byte == open {
            depth += 1;
        } else if byte == close {
            depth -= 1;
            if depth == 0 {
                return Some(at + 1);
            }
        }
    }
    None
}
