//! Shell-like substitution of environment variables before parsing (`vnode-lifecycle` 7.4).
//!
//! `$VAR`, `${VAR}`, `${VAR-d}` and `${VAR=d}` (d when unset), `${VAR:-d}` and `${VAR:=d}` (d when
//! unset or empty), `${VAR+x}` (x when set), `${VAR:+x}` (x when set and not empty), `$$` for a
//! dollar. Defaults nest. A dollar before anything else stays, so that `awk '{print $1}'` works.

use std::ops::Range;

use crate::source::Piece;
use crate::world::World;

/// Deepest nesting of defaults.
const DEEPEST: usize = 32;

/// Text after substitution.
#[derive(Debug, Default)]
pub(crate) struct Substituted {
    pub(crate) text: String,
    pub(crate) pieces: Vec<Piece>,
    /// Variables that are not set and have no default, with their place in the file.
    pub(crate) undefined: Vec<(String, Range<usize>)>,
    /// What is not a substitution though it begins as one.
    pub(crate) bad: Vec<(&'static str, Range<usize>)>,
    /// The result would be longer than the bound.
    pub(crate) too_long: bool,
}

/// Substitutes variables in the text of a file; at most `limit` bytes come out.
pub(crate) fn substitute(written: &str, world: &dyn World, limit: usize) -> Substituted {
    let mut reader = Reader { written, world };
    let mut result = Substituted::default();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = written[at..].find('$') {
        let dollar = at + found;
        match reader.one(dollar, 0) {
            Ok(Some(one)) => {
                result.keep(written, copied..dollar);
                result.pieces.push(Piece {
                    out: result.text.len(),
                    from: dollar,
                    to: one.end,
                    replaced: true,
                });
                result.text.push_str(&one.value);
                result.undefined.extend(one.undefined);
                copied = one.end;
                at = one.end;
            }
            Ok(None) => at = dollar + 1,
            Err((why, end)) => {
                result.bad.push((why, dollar..end));
                // The rest of the line may lie within the broken construct.
                at = written[dollar..].find('\n').map_or(written.len(), |newline| dollar + newline);
            }
        }
        if result.text.len() > limit {
            result.too_long = true;
            return result;
        }
    }
    result.keep(written, copied..written.len());
    result.too_long = result.text.len() > limit;
    result
}

impl Substituted {
    fn keep(&mut self, written: &str, range: Range<usize>) {
        if range.is_empty() && !(written.is_empty() && self.pieces.is_empty()) {
            return;
        }
        self.pieces.push(Piece {
            out: self.text.len(),
            from: range.start,
            to: range.end,
            replaced: false,
        });
        self.text.push_str(&written[range]);
    }
}

/// One substitution.
#[derive(Default)]
struct One {
    value: String,
    end: usize,
    undefined: Vec<(String, Range<usize>)>,
}

struct Reader<'a> {
    written: &'a str,
    world: &'a dyn World,
}

impl Reader<'_> {
    /// Reads what begins with the dollar at `dollar`; `None` when it is a dollar like any other.
    fn one(&mut self, dollar: usize, depth: usize) -> Result<Option<One>, (&'static str, usize)> {
        let rest = &self.written[dollar + 1..];
        if rest.starts_with('$') {
            return Ok(Some(One { value: "$".to_owned(), end: dollar + 2, ..One::default() }));
        }
        if !rest.starts_with('{') {
            let length = name_length(rest);
            if length == 0 {
                return Ok(None);
            }
            let end = dollar + 1 + length;
            return Ok(Some(self.plain(&rest[..length], dollar..end)));
        }
        if depth >= DEEPEST {
            return Err(("defaults are nested more than 32 deep", dollar + 2));
        }
        let length = name_length(&rest[1..]);
        let name = &rest[1..=length];
        let operator = dollar + 2 + length;
        if length == 0 {
            return Err(("`${` is not followed by the name of a variable", operator));
        }
        let after = &self.written[operator..];
        if after.starts_with('}') {
            return Ok(Some(self.plain(name, dollar..operator + 1)));
        }
        let (colon, word) = match after.strip_prefix(':') {
            Some(_) => (true, operator + 1),
            None => (false, operator),
        };
        let kind = match self.written[word..].chars().next() {
            Some(kind @ ('-' | '=' | '+')) => kind,
            Some('\n') | None => return Err(("`${` has no `}` on its line", operator)),
            Some(_) => {
                return Err((
                    "only `-`, `:-`, `=`, `:=`, `+` and `:+` may follow the name",
                    operator,
                ));
            }
        };
        let default = self.word(word + 1, depth + 1)?;
        let value = self.world.env(name).filter(|value| !(colon && value.is_empty()));
        let end = default.end;
        Ok(Some(match (kind, value) {
            ('+', Some(_)) | ('-' | '=', None) => default,
            ('+', None) => One { end, ..One::default() },
            (_, value) => One { value: value.unwrap_or_default(), end, ..One::default() },
        }))
    }

    fn plain(&self, name: &str, at: Range<usize>) -> One {
        let end = at.end;
        match self.world.env(name) {
            Some(value) => One { value, end, ..One::default() },
            None => One { value: String::new(), end, undefined: vec![(name.to_owned(), at)] },
        }
    }

    /// Reads a default up to and with its closing brace.
    fn word(&mut self, from: usize, depth: usize) -> Result<One, (&'static str, usize)> {
        let mut one = One::default();
        let mut at = from;
        loop {
            let rest = &self.written[at..];
            match rest.chars().next() {
                None | Some('\n') => return Err(("`${` has no `}` on its line", at)),
                Some('}') => {
                    one.end = at + 1;
                    return Ok(one);
                }
                Some('$') => match self.one(at, depth)? {
                    Some(inner) => {
                        one.value.push_str(&inner.value);
                        one.undefined.extend(inner.undefined);
                        at = inner.end;
                    }
                    None => {
                        one.value.push('$');
                        at += 1;
                    }
                },
                Some(other) => {
                    one.value.push(other);
                    at += other.len_utf8();
                }
            }
        }
    }
}

fn name_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(first) if first.is_ascii_alphabetic() || *first == b'_' => {
            bytes.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    struct Env;

    impl World for Env {
        fn env(&self, name: &str) -> Option<String> {
            match name {
                "SET" => Some("value".to_owned()),
                "EMPTY" => Some(String::new()),
                "LINES" => Some("one\ntwo".to_owned()),
                _ => None,
            }
        }
        fn all_env(&self) -> Vec<(String, String)> {
            Vec::new()
        }
        fn git_branch(&self) -> Option<String> {
            None
        }
        fn git_hash(&self) -> Option<String> {
            None
        }
        fn read(&self, _: &Path) -> io::Result<String> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn of(text: &str) -> String {
        let result = substitute(text, &Env, 1 << 20);
        assert!(result.bad.is_empty(), "{text}: {:?}", result.bad);
        result.text
    }

    #[test]
    fn t97_all_eight_forms() {
        for (written, expected) in [
            ("a $SET b", "a value b"),
            ("${SET}", "value"),
            ("${NOT-d}|${EMPTY-d}|${SET-d}", "d||value"),
            ("${NOT:-d}|${EMPTY:-d}|${SET:-d}", "d|d|value"),
            ("${NOT=d}|${EMPTY=d}|${SET=d}", "d||value"),
            ("${NOT:=d}|${EMPTY:=d}|${SET:=d}", "d|d|value"),
            ("${NOT+x}|${EMPTY+x}|${SET+x}", "|x|x"),
            ("${NOT:+x}|${EMPTY:+x}|${SET:+x}", "||x"),
            ("$$SET $$", "$SET $"),
            ("${NOT:-${EMPTY:-${SET}}}", "value"),
            ("${NOT:-a$$b${SET}c$SET}", "a$bvaluecvalue"),
            ("$SET_", ""),
            ("$SET-x", "value-x"),
            ("awk '{print $1}' $(x) $ €$", "awk '{print $1}' $(x) $ €$"),
        ] {
            assert_eq!(of(written), expected, "{written}");
        }
    }

    #[test]
    fn t97_undefined_is_empty_and_told() {
        let result = substitute("x $NOT ${NOR:-${NEVER}} ${SET-$UNUSED}", &Env, 1 << 20);
        assert_eq!(result.text, "x   value");
        let names: Vec<_> = result.undefined.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["NOT", "NEVER"]);
        assert_eq!(result.undefined[0].1, 2..6);
    }

    #[test]
    fn broken_forms_are_told_and_stay() {
        for written in ["${", "${}", "${A", "${A-b", "${A/b/c}", "${A-${B}", "${#A}", "${A:?x}"] {
            let result = substitute(&format!("{written}\n$SET"), &Env, 1 << 20);
            assert_eq!(result.bad.len(), 1, "{written}");
            assert_eq!(result.text, format!("{written}\nvalue"));
        }
        let deep = "${A-".repeat(100_000);
        assert_eq!(substitute(&deep, &Env, 1 << 20).bad.len(), 1);
    }

    #[test]
    fn the_result_is_bounded() {
        assert!(substitute(&"$SET".repeat(100), &Env, 100).too_long);
    }

    #[test]
    fn places_stay_true_behind_a_substitution() {
        let written = "a: $LINES\nb: ${SET} c";
        let result = substitute(written, &Env, 1 << 20);
        let text = result.text.clone();
        let source = crate::source::Source::new(written, result.text, result.pieces);
        let c = text.find(" c").unwrap() + 1;
        let place = source.place(c..c + 1);
        assert_eq!((place.line, place.column), (2, 11));
        let two = text.find("two").unwrap();
        let place = source.place(two..two + 3);
        assert_eq!((place.line, place.column, place.width), (1, 4, 6));
    }
}
