//! Whether the scripts that a descriptor names can be run.

use crate::{
    descriptor::Descriptor,
    problem::{Code, Problem, Refused},
    tree::{Listing, Member},
};

/// How a file is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// By the kernel: a program, or a script with this interpreter.
    Itself { interpreter: Option<String> },
    /// By `/bin/sh`: a text without `#!`.
    Shell,
}

/// Tells from the first 256 bytes of a file how it is run.
///
/// # Errors
/// Why it cannot be.
pub fn runs(head: &[u8]) -> Result<Runs, Problem> {
    if head.starts_with(b"\x7fELF") {
        return elf(head).map(|()| Runs::Itself { interpreter: None });
    }
    let Some(rest) = head.strip_prefix(b"#!") else {
        let printable = |byte: &u8| {
            !byte.is_ascii_control() || matches!(byte, b'\n' | b'\r' | b'\t' | 0x0c | 0x1b)
        };
        if !head.iter().all(printable) {
            return Err(Problem::new(Code::ScriptType, "neither a text nor a program"));
        }
        return Ok(Runs::Shell);
    };
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        let what = "the first line ends in a carriage return; save the script with Unix line ends";
        return Err(Problem::new(Code::ScriptCrlf, what));
    }
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_ascii_whitespace().next().unwrap_or_default();
    if !interpreter.starts_with('/') {
        let what = format!("the interpreter `{}` is no absolute path", interpreter.escape_debug());
        return Err(Problem::new(Code::ScriptInterpreter, what));
    }
    Ok(Runs::Itself { interpreter: Some(interpreter.to_owned()) })
}

/// Class, byte order and machine must be this machine's.
fn elf(head: &[u8]) -> Result<(), Problem> {
    let wanted: Option<(u8, u16)> = match std::env::consts::ARCH {
        "x86_64" => Some((2, 62)),
        "x86" => Some((1, 3)),
        "aarch64" => Some((2, 183)),
        "arm" => Some((1, 40)),
        "riscv64" => Some((2, 243)),
        _ => None,
    };
    let found = head
        .get(4)
        .zip(head.get(18..20))
        .map(|(class, machine)| (*class, u16::from_le_bytes([machine[0], machine[1]])));
    match (wanted, found) {
        (Some(wanted), Some(found)) if wanted != found => {
            let what =
                format!("a program for another machine (this one is {})", std::env::consts::ARCH);
            Err(Problem::new(Code::ScriptType, what))
        }
        (_, None) => Err(Problem::new(Code::ScriptType, "a program cut off in its header")),
        _ => Ok(()),
    }
}

/// Checks every script, and tells all that is wrong.
pub(crate) fn check(descriptor: &Descriptor, listing: &Listing, root: &str) -> Result<(), Refused> {
    let mut problems = Vec::new();
    for (event, hook) in &descriptor.events {
        for (at, script) in hook.scripts.iter().enumerate() {
            let pointer = format!("{} {at}", event.text());
            if let Err(problem) = one(&script.path, listing, root) {
                problems.push(problem.entry(&script.path).pointer(pointer));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Refused { problems }) }
}

fn one(path: &str, listing: &Listing, root: &str) -> Result<(), Problem> {
    let within =
        |path: &str| if root.is_empty() { path.to_owned() } else { format!("{root}/{path}") };
    if path == "lifecycle.json" {
        return Err(Problem::new(Code::ScriptType, "the descriptor is no script"));
    }
    let full = within(path);
    if listing.is_folder(&full) {
        return Err(Problem::new(Code::ScriptType, "a folder is no script"));
    }
    let Some(Member { entry, head, .. }) = listing.file(&full) else {
        let first = path.split(' ').next().unwrap_or_default();
        let what = if first != path && listing.file(&within(first)).is_some() {
            "is not in the archive; arguments belong in `args`"
        } else {
            "is not in the archive"
        };
        return Err(Problem::new(Code::ScriptMissing, what));
    };
    if entry.size == 0 {
        return Err(Problem::new(Code::ScriptType, "the script is empty"));
    }
    runs(head).map(drop)
}
