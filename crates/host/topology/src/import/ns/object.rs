//! What a Tcl value may stand for: nodes, links, LANs. Written as a word that no file holds.

/// Begins every word that stands for an object.
const MARK: char = '\u{1}';
/// What an error or an unknown command gives; where it is used, nothing is told again.
pub(super) const UNKNOWN: &str = "\u{1}?";
pub(super) const SIMULATOR: &str = "\u{1}S";

/// One object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    Simulator,
    Unknown,
    Node(usize),
    Link(usize),
    Lan(usize),
    /// One way of a link, from the end of this number.
    Way(usize, usize),
    /// The queue of that way.
    Queue(usize, usize),
}

impl Object {
    pub(super) fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(MARK)?;
        let kind = rest.chars().next()?;
        let mut numbers = rest[kind.len_utf8()..].split('.').map(str::parse::<usize>);
        let mut number = || numbers.next()?.ok();
        Some(match kind {
            'S' => Self::Simulator,
            'n' => Self::Node(number()?),
            'l' => Self::Link(number()?),
            'L' => Self::Lan(number()?),
            'w' => Self::Way(number()?, number()?),
            'q' => Self::Queue(number()?, number()?),
            _ => Self::Unknown,
        })
    }

    pub(super) fn word(self) -> String {
        match self {
            Self::Simulator => SIMULATOR.to_owned(),
            Self::Unknown => UNKNOWN.to_owned(),
            Self::Node(number) => format!("{MARK}n{number}"),
            Self::Link(number) => format!("{MARK}l{number}"),
            Self::Lan(number) => format!("{MARK}L{number}"),
            Self::Way(link, end) => format!("{MARK}w{link}.{end}"),
            Self::Queue(link, end) => format!("{MARK}q{link}.{end}"),
        }
    }
}

/// A value for a message: bounded, and without marks.
pub(super) fn shown(text: &str) -> String {
    let text = text.replace(MARK, "");
    if text.chars().count() <= 60 { text } else { text.chars().take(60).chain(['…']).collect() }
}
