//! Which subjects a CA may certify: `.namespaces` (RPDNC, EUGridPMA) and `.signing_policy` (Globus EACL).
//!
//! ```text
//! TO Issuer "/DC=org/CN=CA" \                      access_id_CA   X509   '/DC=org/CN=CA'
//!   PERMIT Subject "/DC=org/OU=.*"                 pos_rights     globus CA:sign
//!                                                  cond_subjects  globus '"/DC=org/OU=*"'
//! ```
//!
//! Where a CA has both, namespaces decide. A file with a statement that cannot be read permits nothing.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use crate::name::canonical;

/// Most statements of a file.
const MAX_RULES: usize = 10_000;
/// Bound of a compiled pattern, bytes.
const MAX_PATTERN_BYTES: usize = 256 << 10;

/// Who may certify what, of all files.
#[derive(Debug, Default)]
pub struct Policies {
    namespaces: HashMap<String, Entry>,
    signing: HashMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    rules: Vec<Rule>,
    /// Something about this CA could not be read: nothing is permitted.
    closed: bool,
}

#[derive(Debug)]
struct Rule {
    permit: bool,
    pattern: Regex,
}

/// One file.
#[derive(Debug)]
pub struct Parsed {
    namespaces: bool,
    rules: Vec<(String, Rule)>,
    /// CAs that are named, also those without a rule.
    named: Vec<String>,
    broken: Option<String>,
}

impl Parsed {
    /// What could not be read, if anything.
    pub fn problem(&self) -> Option<&str> {
        self.broken.as_deref()
    }
}

impl Policies {
    /// Takes a file in; `own` is the CA whose file has the same name. Gives what was wrong with it.
    pub(crate) fn add(&mut self, parsed: Parsed, own: Option<&str>) -> Option<String> {
        let kind = if parsed.namespaces { "namespaces" } else { "signing_policy" };
        for issuer in &parsed.named {
            self.entries(kind).entry(issuer.clone()).or_default();
        }
        if parsed.broken.is_some() {
            for issuer in &parsed.named {
                self.close(kind, Some(issuer));
            }
            self.close(kind, own);
            return parsed.broken;
        }
        for (issuer, rule) in parsed.rules {
            self.entries(kind).entry(issuer).or_default().rules.push(rule);
        }
        None
    }

    /// Permits nothing to a CA whose file of this kind cannot be read.
    pub(crate) fn close(&mut self, kind: &str, issuer: Option<&str>) {
        if let Some(issuer) = issuer {
            self.entries(kind).entry(issuer.to_owned()).or_default().closed = true;
        }
    }

    fn entries(&mut self, kind: &str) -> &mut HashMap<String, Entry> {
        if kind == "namespaces" { &mut self.namespaces } else { &mut self.signing }
    }

    /// Whether `issuer` may certify `subject`, both in canonical form.
    pub(crate) fn check(&self, issuer: &str, subject: &str) -> Result<(), String> {
        let (kind, entry) = match (self.namespaces.get(issuer), self.signing.get(issuer)) {
            (Some(entry), _) => ("namespaces", entry),
            (None, Some(entry)) => ("signing policy", entry),
            (None, None) => {
                return Err(format!("no namespaces or signing policy file names `{issuer}`"));
            }
        };
        let denied = entry.rules.iter().any(|r| !r.permit && r.pattern.is_match(subject));
        let permitted = entry.rules.iter().any(|r| r.permit && r.pattern.is_match(subject));
        if entry.closed {
            Err(format!("the {kind} file of `{issuer}` cannot be read"))
        } else if denied || !permitted {
            Err(format!("the {kind} of `{issuer}` do not permit `{subject}`"))
        } else {
            Ok(())
        }
    }
}

/// Reads a `.namespaces` file; `own` is what `TO Issuer SELF` means.
pub fn namespaces(text: &str, own: Option<&str>) -> Parsed {
    let mut parsed =
        Parsed { namespaces: true, rules: Vec::new(), named: Vec::new(), broken: None };
    parsed.broken = read_namespaces(text, own, &mut parsed).err();
    parsed
}

fn read_namespaces(text: &str, own: Option<&str>, parsed: &mut Parsed) -> Result<(), String> {
    let mut issuer: Option<String> = None;
    for line in joined(text) {
        let words = words(&line)?;
        let mut words = words.iter().map(|word| word.as_str()).peekable();
        while let Some(word) = words.next() {
            let rights = word.to_ascii_uppercase();
            match (rights.as_str(), words.next()) {
                ("TO", Some(what)) if what.eq_ignore_ascii_case("issuer") => {
                    let name = words.next().ok_or("`TO Issuer` without a name")?;
                    let name = if name.eq_ignore_ascii_case("self") {
                        own.ok_or("`TO Issuer SELF` beside no CA certificate")?.to_owned()
                    } else {
                        canonical(name)
                    };
                    parsed.named.push(name.clone());
                    issuer = Some(name);
                }
                ("PERMIT" | "DENY", Some(what)) if what.eq_ignore_ascii_case("subject") => {
                    let pattern = words.next().ok_or("`Subject` without a pattern")?;
                    let issuer = issuer.clone().ok_or("a rule before any `TO Issuer`")?;
                    let rule = Rule { permit: rights == "PERMIT", pattern: regex(pattern)? };
                    if parsed.rules.len() == MAX_RULES {
                        return Err(format!("it has more than {MAX_RULES} rules"));
                    }
                    parsed.rules.push((issuer, rule));
                }
                _ => return Err(format!("`{word}` is no statement that is known")),
            }
        }
    }
    Ok(())
}

/// Reads a `.signing_policy` file: any number of blocks.
pub fn signing_policy(text: &str) -> Parsed {
    let mut parsed =
        Parsed { namespaces: false, rules: Vec::new(), named: Vec::new(), broken: None };
    parsed.broken = read_signing_policy(text, &mut parsed).err();
    parsed
}

fn read_signing_policy(text: &str, parsed: &mut Parsed) -> Result<(), String> {
    let mut issuer: Option<String> = None;
    let mut may_sign = false;
    for line in joined(text) {
        let words = words(&line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => {}
            ["access_id_CA", kind, name] if kind.eq_ignore_ascii_case("x509") => {
                let name = canonical(name.trim().trim_matches('"'));
                parsed.named.push(name.clone());
                issuer = Some(name);
                may_sign = false;
            }
            ["pos_rights", kind, right] if kind.eq_ignore_ascii_case("globus") => {
                may_sign |= right.eq_ignore_ascii_case("CA:sign");
            }
            ["cond_subjects", kind, globs] if kind.eq_ignore_ascii_case("globus") => {
                let issuer = issuer.clone().ok_or("`cond_subjects` before any `access_id_CA`")?;
                if !may_sign {
                    return Err("`cond_subjects` without `pos_rights globus CA:sign`".to_owned());
                }
                for glob in quoted_globs(globs)? {
                    if parsed.rules.len() == MAX_RULES {
                        return Err(format!("it has more than {MAX_RULES} rules"));
                    }
                    let rule = Rule { permit: true, pattern: glob_pattern(&glob)? };
                    parsed.rules.push((issuer.clone(), rule));
                }
            }
            [word, ..] => return Err(format!("`{word}` is no statement that is known")),
        }
    }
    Ok(())
}

/// `"/a/*" "/b/*"`, or one glob without quotes.
fn quoted_globs(text: &str) -> Result<Vec<String>, String> {
    if text.contains('"') { words(text) } else { Ok(vec![text.trim().to_owned()]) }
}

/// Lines without comments, those that end with a backslash joined with the next.
fn joined(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for part in text.lines() {
        let part = part.trim();
        if part.starts_with('#') {
            continue;
        }
        match part.strip_suffix('\\') {
            Some(begin) => {
                line.push_str(begin);
                line.push(' ');
            }
            None => {
                line.push_str(part);
                lines.push(std::mem::take(&mut line));
            }
        }
    }
    lines.push(line);
    lines
}

/// Words and texts in single or double quotes; `#` outside of quotes ends the line.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(c) = rest.chars().next() {
        let (word, after) = match c {
            '#' => break,
            '"' | '\'' => {
                rest[1..].split_once(c).ok_or_else(|| format!("a quote is not closed: {line}"))?
            }
            _ => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

/// A regular expression that must match the whole of a canonical name.
fn regex(pattern: &str) -> Result<Regex, String> {
    // What `canonical` makes of other bytes, `\xC3`, is to be matched as it stands.
    let mut out = String::with_capacity(pattern.len());
    for c in canonical_types(pattern).chars() {
        if (' '..='~').contains(&c) {
            out.push(c);
        } else {
            out.push_str(&regex::escape(&canonical(c.encode_utf8(&mut [0; 4]))));
        }
    }
    compile(&out)
}

/// The types of names that have two spellings, in a pattern: `canonical` would change its other characters.
fn canonical_types(pattern: &str) -> String {
    let ascii: String = pattern.to_owned();
    ascii
        .replace("/Email=", "/emailAddress=")
        .replace("/E=", "/emailAddress=")
        .replace("/USERID=", "/UID=")
}

fn glob_pattern(glob: &str) -> Result<Regex, String> {
    let mut out = String::new();
    for c in canonical(glob).chars() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    compile(&out)
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!(r"\A(?:{pattern})\z"))
        .size_limit(MAX_PATTERN_BYTES)
        .nest_limit(50)
        .dot_matches_new_line(true)
        .build()
        .map_err(|error| format!("a pattern cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(files: &[Parsed]) -> Policies {
        let mut policies = Policies::default();
        for parsed in files {
            let again = Parsed {
                namespaces: parsed.namespaces,
                rules: parsed
                    .rules
                    .iter()
                    .map(|(i, r)| {
                        (i.clone(), Rule { permit: r.permit, pattern: r.pattern.clone() })
                    })
                    .collect(),
                named: parsed.named.clone(),
                broken: parsed.broken.clone(),
            };
            let _ = policies.add(again, None);
        }
        policies
    }

    #[test]
    fn patterns_are_anchored_at_both_ends_and_globs_are_literal() {
        let p = policies(&[
            namespaces("TO Issuer \"/CN=A\" PERMIT Subject \"/O=x/CN=.*\" # why\n", None),
            signing_policy(
                "access_id_CA X509 '/CN=B'\npos_rights globus CA:sign\n\
                 cond_subjects globus '\"/O=x.y/*\" \"/O=z/CN=?\"'\n\
                 access_id_CA X509 '/CN=C'\npos_rights globus CA:sign\ncond_subjects globus '/O=c/*'\n",
            ),
        ]);
        assert!(p.check("/CN=A", "/O=x/CN=me").is_ok());
        assert!(p.check("/CN=A", "/DC=evil/O=x/CN=me").is_err());
        assert!(p.check("/CN=B", "/O=x.y/CN=me").is_ok());
        assert!(p.check("/CN=B", "/O=xzy/CN=me").is_err());
        assert!(p.check("/CN=B", "/O=z/CN=a").is_ok());
        assert!(p.check("/CN=B", "/O=z/CN=ab").is_err());
        assert!(p.check("/CN=C", "/O=c/CN=ab").is_ok(), "every block counts, not only the last");
        assert!(p.check("/CN=D", "/O=x/CN=me").is_err());
    }

    #[test]
    fn namespaces_decide_where_there_are_both() {
        let p = policies(&[
            namespaces("TO Issuer \"/CN=A\" PERMIT Subject \"/O=x/.*\"", None),
            signing_policy(
                "access_id_CA X509 '/CN=A'\npos_rights globus CA:sign\ncond_subjects globus '\"*\"'",
            ),
        ]);
        assert!(p.check("/CN=A", "/O=y/CN=me").is_err());
    }

    #[test]
    fn self_is_the_ca_of_the_same_file_and_deny_wins() {
        let text =
            "to issuer SELF \\\n permit Subject \"/O=.*\"\nTO ISSUER self DENY subject \"/O=no.*\"";
        let p = policies(&[namespaces(text, Some("/CN=Own"))]);
        assert!(p.check("/CN=Own", "/O=yes").is_ok());
        assert!(p.check("/CN=Own", "/O=no/CN=x").is_err());
        assert!(namespaces(text, None).problem().is_some());
    }

    #[test]
    fn what_cannot_be_read_permits_nothing() {
        for broken in [
            "TO Issuer \"/CN=A\" PERMIT Subject \"/O=(.*\"",
            "TO Issuer \"/CN=A\" PERMIT Subject \"/.*\"\nTO Issuer \"/CN=A\" FORBID Subject \"/O=x\"",
            "TO Issuer \"/CN=A\" PERMIT Subject \"/.*",
        ] {
            let parsed = namespaces(broken, None);
            assert!(parsed.problem().is_some());
            let mut p = Policies::default();
            assert!(p.add(parsed, Some("/CN=A")).is_some());
            assert!(p.check("/CN=A", "/O=x").is_err(), "{broken}");
        }
        let neg =
            "access_id_CA X509 '/CN=A'\nneg_rights globus CA:sign\ncond_subjects globus '\"*\"'";
        assert!(signing_policy(neg).problem().is_some());
    }

    #[test]
    fn names_in_both_spellings() {
        let p = policies(&[
            namespaces("TO Issuer \"/CN=A\" PERMIT Subject \"/CN=Zoë .*/Email=.*\"", None),
            signing_policy(
                "access_id_CA X509 '/CN=B'\npos_rights globus CA:sign\ncond_subjects globus '\"/CN=Zoë*\"'",
            ),
        ]);
        assert!(p.check("/CN=A", &canonical("/CN=Zoë M/emailAddress=z@x")).is_ok());
        assert!(p.check("/CN=B", &canonical("/CN=Zoë M")).is_ok());
    }
}
