//! What a host tells the agent of a container, whose kernel tells it nothing: one line of JSON each.

use serde::{Deserialize, Serialize};

use crate::proc;

/// Bytes of one line, at most.
pub const LINE: usize = 64 << 10;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Word {
    /// These have started, or have another name.
    Look(Vec<Sighting>),
    /// One had gone before its namespace could be told: a child of it may go on under its name.
    Missed,
    /// The host has lost count: look at all.
    Lost,
}

/// A process that has started, or has another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    /// Its number in its own namespace.
    pub pid: i32,
    /// When it started, in ticks from the start of the machine; with the number it names a process of this boot.
    pub start: u64,
    /// What the kernel called it when it was seen.
    pub comm: String,
}

impl Sighting {
    /// Looks at a process that the connector has told of, by its number as we count; `None` when it is gone.
    pub fn of(pid: i32) -> Option<Self> {
        let start = proc::stat(pid)?.start;
        let comm = String::from_utf8_lossy(&proc::comm(pid)?).into_owned();
        let inner = proc::inner_pid(pid)?;
        // All three were of one process when it is still there.
        (proc::stat(pid)?.start == start).then_some(Self { pid: inner, start, comm })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_our_own_namespace_has_its_own_number() {
        let own = std::process::id().cast_signed();
        let seen = Sighting::of(own).expect("we live");
        assert_eq!(seen.pid, own);
        assert_eq!(Some(seen.start), proc::stat(own).map(|stat| stat.start));
        assert!(proc::namespace(own).is_some() && proc::namespace(i32::MAX).is_none());
        assert_eq!(Sighting::of(i32::MAX), None);
    }

    #[test]
    fn a_word_is_what_it_was_written_as() {
        let sighting = Sighting { pid: 7, start: 8, comm: "a) b\n".to_owned() };
        for (word, text) in [
            (Word::Look(vec![sighting]), r#"{"look":[{"pid":7,"start":8,"comm":"a) b\n"}]}"#),
            (Word::Missed, r#""missed""#),
            (Word::Lost, r#""lost""#),
        ] {
            assert_eq!(serde_json::to_string(&word).expect("it has a form"), text);
            assert_eq!(serde_json::from_str::<Word>(text).expect("it is read"), word);
        }
        assert!(serde_json::from_str::<Word>(r#"{"look":[{"pid":7}]}"#).is_err());
    }
}
