//! Signals as people and images name them (signal(7)): `TERM`, `SIGTERM`, `15`, `RTMIN+3`.

/// Those with names of their own, by their numbers, the first of which is 1: as x86 and ARM have them.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The first of real time that programs may use: glibc keeps two for itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number; `None`: there is no such signal.
pub(crate) fn number(text: &str) -> Option<i32> {
    let text = text.trim();
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let further = |prefix: &str, sign: char| -> Option<i32> {
        let rest = name.strip_prefix(prefix)?;
        if rest.is_empty() {
            Some(0)
        } else {
            rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from)
        }
    };
    let named = || NAMES.iter().position(|known| *known == name);
    let number = name
        .parse()
        .ok()
        .or_else(|| Some(i32::try_from(named()?).ok()? + 1))
        .or_else(|| RTMIN.checked_add(further("RTMIN", '+')?))
        .or_else(|| RTMAX.checked_sub(further("RTMAX", '-')?))?;
    (1..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_name_and_number() {
        let all = [
            ("SIGQUIT", 3),
            ("TERM", 15),
            (" 15", 15),
            ("USR2", 12),
            ("WINCH", 28),
            ("SYS", 31),
            ("SIGRTMIN+3", 37),
            ("RTMIN", 34),
            ("RTMAX-14", 50),
            ("64", 64),
        ];
        for (text, expected) in all {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in
            ["", "SIG", "SIGFOO", "term", "0", "65", "-1", "RTMIN+31", "RTMIN+-1", "RTMAX-64"]
        {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(number("KILL"), Some(rustix::process::Signal::KILL.as_raw()));
        assert_eq!(number("PWR"), Some(rustix::process::Signal::POWER.as_raw()));
    }
}
