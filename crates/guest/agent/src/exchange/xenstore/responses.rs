//! Which answers lie in the store, and which have to go: nobody else collects them (R-X8).

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Most answers kept: their names count towards the 2048 bytes of the folder that holds them.
const RESPONSES_MAX: usize = 40;

/// Answers with the time they were written, or first seen in this run; the oldest first.
#[derive(Debug)]
pub(super) struct Responses {
    known: VecDeque<(Instant, String)>,
    /// `None`: for ever.
    keep: Option<Duration>,
}

impl Responses {
    pub(super) fn new(keep: Option<Duration>) -> Self {
        Self { known: VecDeque::new(), keep }
    }

    /// Takes note of answers found at the start of a connection.
    pub(super) fn found(&mut self, ids: Vec<String>, now: Instant) {
        for id in ids {
            if !self.known.iter().any(|(_, known)| *known == id) {
                self.known.push_back((now, id));
            }
        }
    }

    /// Takes note of one that was just written.
    pub(super) fn written(&mut self, id: &str, now: Instant) {
        self.known.retain(|(_, known)| known != id);
        self.known.push_back((now, id.to_owned()));
    }

    /// Takes out what has to go so that there is room for `more`: what is too old, and the oldest of too many.
    pub(super) fn take_surplus(&mut self, more: usize, now: Instant) -> Vec<String> {
        let Some(keep) = self.keep else { return Vec::new() };
        let mut surplus = Vec::new();
        while let Some((since, _)) = self.known.front() {
            let too_old = now.saturating_duration_since(*since) >= keep;
            if !too_old && self.known.len() + more <= RESPONSES_MAX {
                break;
            }
            surplus.extend(self.known.pop_front().map(|(_, id)| id));
        }
        surplus
    }

    /// Takes out the older half: the store has no room.
    pub(super) fn take_half(&mut self) -> Vec<String> {
        let half = self.known.len().div_ceil(2);
        self.known.drain(..half).map(|(_, id)| id).collect()
    }

    /// When the next one gets too old.
    pub(super) fn next_end(&self) -> Option<Instant> {
        Some(self.known.front()?.0 + self.keep?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_by_age_and_by_number() {
        let start = Instant::now();
        let mut responses = Responses::new(Some(Duration::from_secs(900)));
        responses.found(vec!["old".to_owned()], start);
        for n in 0..39 {
            responses.written(&n.to_string(), start + Duration::from_secs(10));
        }
        assert_eq!(responses.take_surplus(0, start), Vec::<String>::new());
        assert_eq!(responses.take_surplus(1, start), ["old"]);
        assert_eq!(responses.next_end(), Some(start + Duration::from_secs(910)));
        assert_eq!(
            responses.take_surplus(0, start + Duration::from_secs(909)),
            Vec::<String>::new()
        );
        assert_eq!(responses.take_surplus(0, start + Duration::from_secs(910)).len(), 39);
        let mut forever = Responses::new(None);
        forever.written("a", start);
        assert_eq!(
            forever.take_surplus(100, start + Duration::from_secs(10_000)),
            Vec::<String>::new()
        );
        assert_eq!(forever.take_half(), ["a"], "unless there is no room");
    }
}
