//! The command line of `qemu-ga`, read as getopt_long reads it.

/// What the command line asks for. `None`: not said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) logfile: Option<String>,
    pub(super) pidfile: Option<String>,
    /// `Some(None)`: the hook at its usual place.
    pub(super) fsfreeze_hook: Option<Option<String>>,
    pub(super) statedir: Option<String>,
    pub(super) config_file: Option<String>,
    pub(super) block: Vec<String>,
    pub(super) allow: Vec<String>,
    pub(super) verbose: bool,
    pub(super) daemon: bool,
    pub(super) retry_path: bool,
    pub(super) dump: bool,
    pub(super) help: bool,
    pub(super) version: bool,
    /// `-b help`: name the commands.
    pub(super) list: bool,
    /// Ours: we are the daemon that was started.
    pub(super) started: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    Optional,
}

const LONG: [(&str, char); 19] = [
    ("help", 'h'),
    ("version", 'V'),
    ("dump-conf", 'D'),
    ("logfile", 'l'),
    ("pidfile", 'f'),
    ("fsfreeze-hook", 'F'),
    ("verbose", 'v'),
    ("method", 'm'),
    ("path", 'p'),
    ("daemonize", 'd'),
    ("block-rpcs", 'b'),
    ("blacklist", 'b'),
    ("allow-rpcs", 'a'),
    ("allowedrpcs", 'a'),
    ("statedir", 't'),
    ("retry-path", 'r'),
    ("config", 'c'),
    ("started", '\u{1}'),
    ("blockedrpcs", 'b'),
];

fn takes(option: char) -> Option<Takes> {
    Some(match option {
        'h' | 'V' | 'D' | 'v' | 'd' | 'r' | '\u{1}' => Takes::Nothing,
        'l' | 'f' | 'm' | 'p' | 'b' | 'a' | 't' | 'c' => Takes::Value,
        'F' => Takes::Optional,
        _ => return None,
    })
}

/// Reads the arguments. What is no option is passed over, as `qemu-ga` does.
pub(super) fn parse(arguments: &[String]) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut left = arguments.iter();
    while let Some(argument) = left.next() {
        if argument == "--" {
            break;
        }
        if let Some(long) = argument.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let option = long_option(name)?;
            let value = match (takes(option), value) {
                (Some(Takes::Value), None) => Some(needed(name, left.next())?),
                (Some(Takes::Nothing), Some(_)) => {
                    return Err(wrong(&format!("option '--{name}' doesn't allow an argument")));
                }
                (_, value) => value,
            };
            asked.set(option, value);
        } else if let Some(letters) = argument.strip_prefix('-').filter(|l| !l.is_empty()) {
            let mut letters = letters.chars();
            while let Some(option) = letters.next() {
                let rest = letters.as_str();
                let value = match takes(option).filter(|_| option != '\u{1}') {
                    None => return Err(wrong(&format!("invalid option -- '{option}'"))),
                    Some(Takes::Nothing) => {
                        asked.set(option, None);
                        continue;
                    }
                    Some(_) if !rest.is_empty() => Some(rest.to_owned()),
                    Some(Takes::Optional) => None,
                    Some(Takes::Value) => Some(needed(&option.to_string(), left.next())?),
                };
                asked.set(option, value);
                break;
            }
        }
    }
    Ok(asked)
}

fn wrong(why: &str) -> String {
    format!("{why}\nUnknown option, try 'qemu-ga --help' for more information.")
}

fn needed(name: &str, value: Option<&String>) -> Result<String, String> {
    value.cloned().ok_or_else(|| wrong(&format!("option requires an argument -- '{name}'")))
}

/// The option of a long name, which may be cut short where that is clear.
fn long_option(name: &str) -> Result<char, String> {
    if let Some((_, option)) = LONG.iter().find(|(long, _)| *long == name) {
        return Ok(*option);
    }
    let mut fits: Vec<char> =
        LONG.iter().filter(|(long, _)| long.starts_with(name)).map(|(_, option)| *option).collect();
    fits.dedup();
    match *fits {
        [option] => Ok(option),
        [] => Err(wrong(&format!("unrecognized option '--{name}'"))),
        _ => Err(wrong(&format!("option '--{name}' is ambiguous"))),
    }
}

impl Asked {
    fn set(&mut self, option: char, value: Option<String>) {
        match option {
            'h' => self.help = true,
            'V' => self.version = true,
            'D' => self.dump = true,
            'v' => self.verbose = true,
            'd' => self.daemon = true,
            'r' => self.retry_path = true,
            'm' => self.method = value,
            'p' => self.path = value,
            'l' => self.logfile = value,
            'f' => self.pidfile = value,
            'F' => self.fsfreeze_hook = Some(value),
            't' => self.statedir = value,
            'c' => self.config_file = value,
            'b' if matches!(value.as_deref(), Some("help" | "?")) => self.list = true,
            'b' => self.block.extend(value),
            'a' if matches!(value.as_deref(), Some("help" | "?")) => self.list = true,
            'a' => self.allow.extend(value),
            _ => self.started = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Asked, String> {
        parse(&words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn as_getopt_reads_them() {
        let all = asked(&[
            "qemu-ga",
            "-vdm",
            "unix-listen",
            "-p/x",
            "--logfile=/l",
            "--pid",
            "/f",
            "-F",
            "-b",
            "a,b",
            "--block-rpcs",
            "c",
            "-a",
            "d",
            "--",
            "-D",
        ])
        .unwrap();
        let wanted = Asked {
            method: Some("unix-listen".to_owned()),
            path: Some("/x".to_owned()),
            logfile: Some("/l".to_owned()),
            pidfile: Some("/f".to_owned()),
            fsfreeze_hook: Some(None),
            block: vec!["a,b".to_owned(), "c".to_owned()],
            allow: vec!["d".to_owned()],
            verbose: true,
            daemon: true,
            ..Asked::default()
        };
        assert_eq!(all, wanted);
        assert_eq!(asked(&["-F/h"]).unwrap().fsfreeze_hook, Some(Some("/h".to_owned())));
        assert!(asked(&["-b", "help"]).unwrap().list);
        for bad in [&["-z"][..], &["--nope"], &["-m"], &["--help=x"], &["--ve"]] {
            assert!(asked(bad).is_err(), "{bad:?}");
        }
    }
}
