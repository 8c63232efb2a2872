//! guest-get-osinfo, guest-get-host-name.

use serde_json::{Map, Value, json};

use super::{Args, CommandError, Guest, read_text, state};
use crate::context::Context;

/// Members taken from the release file, and their names there.
const MEMBERS: [(&str, &str); 7] = [
    ("id", "ID"),
    ("name", "NAME"),
    ("pretty-name", "PRETTY_NAME"),
    ("version", "VERSION"),
    ("version-id", "VERSION_ID"),
    ("variant", "VARIANT"),
    ("variant-id", "VARIANT_ID"),
];

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::now("guest-get-osinfo", osinfo), Guest::now("guest-get-host-name", host_name)]
}

fn osinfo(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let kernel = rustix::system::uname();
    let mut members = Map::new();
    for (name, value) in [
        ("kernel-release", kernel.release()),
        ("kernel-version", kernel.version()),
        ("machine", kernel.machine()),
    ] {
        members.insert(name.to_owned(), value.to_string_lossy().into());
    }
    let release = match state::options(context)?.os_release {
        // Named by whoever started the agent: a path of the machine.
        Some(path) => std::fs::read_to_string(path).ok(),
        None => read_text(context, "etc/os-release")
            .or_else(|| read_text(context, "usr/lib/os-release")),
    };
    for (name, value) in release.iter().flat_map(|text| text.lines()).filter_map(variable) {
        if let Some((member, _)) = MEMBERS.iter().find(|(_, variable)| *variable == name) {
            members.insert((*member).to_owned(), value.into());
        }
    }
    Ok(Value::Object(members))
}

/// A line `NAME=value`, its value unquoted as a shell would (os-release(5)).
fn variable(line: &str) -> Option<(&str, String)> {
    let (name, value) = line.trim().split_once('=')?;
    if name.starts_with('#') {
        return None;
    }
    let mut text = String::new();
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match (char, quote) {
            ('\\', None) => text.extend(chars.next()),
            ('\\', Some('"')) => match chars.next() {
                Some(next @ ('"' | '\'' | '$' | '`' | '\\')) => text.push(next),
                next => {
                    text.push('\\');
                    text.extend(next);
                }
            },
            (end, Some(open)) if end == open => quote = None,
            ('"' | '\'', None) => quote = Some(char),
            (blank, None) if blank.is_whitespace() => break,
            (char, _) => text.push(char),
        }
    }
    Some((name, text))
}

fn host_name(_: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let names = rustix::system::uname();
    Ok(json!({ "host-name": names.nodename().to_string_lossy() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted_as_a_shell_does() {
        for (line, value) in [
            ("A=x", "x"),
            (
                "A=\"Unit test \\\"\\'\\$\\`\\\\ and \\\\\\\\ etc.\"",
                "Unit test \"'$`\\ and \\\\ etc.",
            ),
            ("A='a \"b\" \\'", "a \"b\" \\"),
            ("A=\"a\\bc\"", "a\\bc"),
            ("A=\"x\" junk", "x"),
            ("A=", ""),
        ] {
            assert_eq!(variable(line), Some(("A", value.to_owned())), "{line}");
        }
        assert_eq!(variable("# A=x"), None);
    }
}
