//! A lab's `events`: what happens to its links at times after it came up (T-73), and how that is paused, resumed,
//! stopped and begun again.
//!
//! The clock is what the record says: it began at `timeline_started`, and stands still from `timeline_paused` on.
//! Resuming moves the beginning by the time it stood, so a restart of the daemon needs to know nothing else.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use vnode_topology::{Action, Target, TimelineEvent};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::inner::Inner;
use crate::links::{self, Part};
use crate::record::LabRecord;
use crate::view::{TimelineEntry, TimelineView};

/// Starts the lab's timeline, or goes on with it after a restart of the daemon. Events that should have
/// happened meanwhile happen at once, in order. One that is paused or stopped stays so.
pub(crate) fn start(inner: &Arc<Inner>, lab: &str) {
    let token = inner.stop.child_token();
    let prepared = inner.registry.lab_mut(lab, |lab| {
        if let Some(old) = lab.timeline.take() {
            old.cancel();
        }
        let record = &mut lab.record;
        let events = record.lab.events.clone();
        if record.timeline_done >= events.len()
            || record.timeline_paused.is_some()
            || record.timeline_stopped
        {
            return None;
        }
        let started = *record.timeline_started.get_or_insert_with(Timestamp::now);
        let done = record.timeline_done;
        lab.timeline = Some(token.clone());
        Some((events, done, started))
    });
    let Ok(Some((events, done, started))) = prepared else { return };
    let (inner_of_task, name) = (Arc::clone(inner), lab.to_owned());
    inner.tasks.spawn(async move {
        let inner = inner_of_task;
        let since = elapsed(started, Timestamp::now());
        let begun = tokio::time::Instant::now();
        save(&inner, &name).await;
        for (index, event) in events.iter().enumerate().skip(done) {
            let due = Duration::from_micros(event.at_us).saturating_sub(since);
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = tokio::time::sleep_until(begun + due) => {}
            }
            // Taken before it happens: who resumes while it happens goes on with the next one.
            let taken = inner.registry.lab_mut(&name, |lab| {
                let ours = !token.is_cancelled();
                if ours {
                    lab.record.timeline_done = index + 1;
                }
                ours
            });
            if !matches!(taken, Ok(true)) {
                return;
            }
            happen(&inner, &name, event).await;
            save(&inner, &name).await;
        }
    });
}

/// Time on the clock of a timeline that began at `started`.
fn elapsed(started: Timestamp, now: Timestamp) -> Duration {
    // A clock of the machine that was set back shows as a timeline that waits.
    Duration::try_from(now.duration_since(started)).unwrap_or_default()
}

/// How far a timeline was when its events were changed by `apply`: those whose time has passed count as done.
pub(crate) fn done_of_changed(old: &LabRecord, events: &[TimelineEvent]) -> usize {
    if old.lab.events == *events {
        return old.timeline_done;
    }
    let Some(started) = old.timeline_started else { return 0 };
    let now = elapsed(started, old.timeline_paused.unwrap_or_else(Timestamp::now));
    events.iter().take_while(|event| Duration::from_micros(event.at_us) <= now).count()
}

async fn save(inner: &Inner, lab: &str) {
    let Ok(change) = inner.registry.lab(lab, |lab| LabRecord::put(&lab.record)) else { return };
    if let Err(error) = inner.save(vec![change]).await {
        tracing::error!(lab, "{}", error.chain());
    }
}

async fn happen(inner: &Arc<Inner>, lab: &str, event: &TimelineEvent) {
    let (link, part) = match &event.target {
        Target::Link { id, end } => (id, end.clone().map(Part::From)),
        Target::Network { name, member } => (name, member.clone().map(Part::Member)),
    };
    let part = &part.unwrap_or(Part::All);
    let result = match event.action {
        Action::Down => links::down(inner, lab, link, part, true).await,
        Action::Up => match links::down(inner, lab, link, part, false).await {
            Ok(()) if !event.set.is_empty() => links::set(inner, lab, link, part, &event.set).await,
            other => other,
        },
        Action::Set => links::set(inner, lab, link, part, &event.set).await,
        Action::Reset => links::reset(inner, lab, link, part).await,
    };
    let subject = format!("lab/{lab}/link/{link}");
    match result {
        Ok(()) => inner.tell(
            "timeline.happened",
            &subject,
            None,
            json!({ "at_us": event.at_us, "action": event.action }),
        ),
        Err(error) => inner.tell(
            "timeline.failed",
            &subject,
            None,
            json!({ "at_us": event.at_us, "action": event.action, "reason": error.chain() }),
        ),
    }
}

fn target(event: &TimelineEvent) -> (&str, Option<&String>) {
    match &event.target {
        Target::Link { id, end } => (id, end.as_ref()),
        Target::Network { name, member } => (name, member.as_ref()),
    }
}

/// What is asked of a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimelineVerb {
    /// The clock stands still until `Resume`.
    Pause,
    Resume,
    /// What has not happened does not happen; only `Start` begins again.
    Stop,
    /// From its beginning.
    Start,
}

impl TimelineVerb {
    /// The kind of the event that tells of it.
    fn kind(self) -> &'static str {
        match self {
            Self::Pause => "timeline.paused",
            Self::Resume => "timeline.resumed",
            Self::Stop => "timeline.stopped",
            Self::Start => "timeline.started",
        }
    }

    /// Changes the record; `false` when it is so already.
    fn change(self, record: &mut LabRecord, now: Timestamp) -> Result<bool> {
        let name = record.name.clone();
        let over = record.timeline_done >= record.lab.events.len();
        match self {
            Self::Start => {
                record.timeline_started = Some(now);
                record.timeline_done = 0;
                record.timeline_paused = None;
                record.timeline_stopped = false;
            }
            _ if record.timeline_stopped => {
                if self == Self::Stop {
                    return Ok(false);
                }
                return Err(Error::state(format!("the timeline of lab `{name}` is stopped"))
                    .hint("`vnode timeline start` begins it anew"));
            }
            Self::Stop => {
                // Where it stopped is kept, to be shown.
                record.timeline_paused.get_or_insert(now);
                record.timeline_stopped = true;
            }
            Self::Pause if record.timeline_paused.is_some() => return Ok(false),
            Self::Pause if over => {
                return Err(Error::state(format!("the timeline of lab `{name}` is over"))
                    .hint("`vnode timeline start` begins it anew"));
            }
            Self::Pause => {
                record.timeline_started.get_or_insert(now);
                record.timeline_paused = Some(now);
            }
            Self::Resume => {
                let Some(paused) = record.timeline_paused.take() else { return Ok(false) };
                let stood = now.duration_since(paused);
                record.timeline_started = record.timeline_started.map(|started| started + stood);
            }
        }
        Ok(true)
    }
}

impl Host {
    /// A lab's timeline: its state, its clock, and which events have happened.
    ///
    /// # Errors
    /// There is no lab of that name.
    pub async fn timeline(&self, lab: &str) -> Result<TimelineView> {
        self.inner.registry.lab(lab, |lab| view(&lab.record, Timestamp::now()))
    }

    /// Pauses, resumes, stops or begins a lab's timeline. What is so already is no error.
    ///
    /// # Errors
    /// No such lab; it has no events; it is over or stopped and cannot go on.
    pub async fn timeline_change(&self, lab: &str, verb: TimelineVerb) -> Result<TimelineView> {
        let changed = self.inner.registry.lab_mut(lab, |lab| {
            if lab.record.lab.events.is_empty() {
                return Err(Error::state(format!("lab `{}` has no timeline", lab.record.name))
                    .hint("write `events` into its topology file and `vnode apply` it"));
            }
            let changed = verb.change(&mut lab.record, Timestamp::now())?;
            if changed && let Some(running) = lab.timeline.take() {
                running.cancel();
            }
            Ok(changed)
        })??;
        if changed {
            let record = self.inner.registry.lab(lab, |lab| lab.record.put())?;
            self.inner.save(vec![record]).await?;
            self.inner.tell(verb.kind(), &format!("lab/{lab}"), None, json!({}));
            start(&self.inner, lab);
        }
        self.timeline(lab).await
    }
}

fn view(record: &LabRecord, now: Timestamp) -> TimelineView {
    let events = &record.lab.events;
    let state = match record {
        _ if events.is_empty() => "none",
        LabRecord { timeline_stopped: true, .. } => "stopped",
        LabRecord { timeline_paused: Some(_), .. } => "paused",
        LabRecord { timeline_done, .. } if *timeline_done >= events.len() => "over",
        LabRecord { timeline_started: None, .. } => "waiting",
        _ => "running",
    };
    let clock = record
        .timeline_started
        .map(|started| elapsed(started, record.timeline_paused.unwrap_or(now)))
        .unwrap_or_default();
    let entry = |(index, event): (usize, &TimelineEvent)| {
        let (link, end) = target(event);
        TimelineEntry {
            at_us: event.at_us,
            link: link.to_owned(),
            end: end.cloned(),
            action: match event.action {
                Action::Down => "down",
                Action::Up => "up",
                Action::Set => "set",
                Action::Reset => "reset",
            }
            .to_owned(),
            set: event.set.clone(),
            happened: index < record.timeline_done,
        }
    };
    TimelineView {
        lab: record.name.clone(),
        state: state.to_owned(),
        clock_us: u64::try_from(clock.as_micros()).unwrap_or(u64::MAX),
        events: events.iter().enumerate().map(entry).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at_s: &[u64]) -> LabRecord {
        let event = |at: &u64| TimelineEvent {
            at_us: at * 1_000_000,
            target: Target::Network { name: "lan0".into(), member: None },
            action: Action::Down,
            set: vec![],
            span: vnode_topology::Span::default(),
        };
        let lab = vnode_topology::Lab {
            name: "l".into(),
            events: at_s.iter().map(event).collect(),
            ..vnode_topology::Lab::default()
        };
        LabRecord {
            name: "l".into(),
            uuid: String::new(),
            file: None,
            lab,
            control: None,
            created: at(0),
            timeline_started: Some(at(0)),
            timeline_done: 0,
            timeline_paused: None,
            timeline_stopped: false,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn t73_the_clock_stands_still_while_it_is_paused() {
        let mut record = record(&[10, 20]);
        assert!(TimelineVerb::Pause.change(&mut record, at(4)).unwrap());
        assert!(!TimelineVerb::Pause.change(&mut record, at(5)).unwrap(), "it is so already");
        let seen = view(&record, at(100));
        assert_eq!((seen.state.as_str(), seen.clock_us), ("paused", 4_000_000));
        // What a restart of the daemon reads is all there is to know.
        let text = serde_json::to_string(&record).unwrap();
        let mut record: LabRecord = serde_json::from_str(&text).unwrap();
        assert!(TimelineVerb::Resume.change(&mut record, at(104)).unwrap());
        assert!(!TimelineVerb::Resume.change(&mut record, at(105)).unwrap());
        let seen = view(&record, at(106));
        assert_eq!((seen.state.as_str(), seen.clock_us), ("running", 6_000_000));
    }

    #[test]
    fn t73_a_stopped_timeline_only_begins_anew() {
        let mut record = record(&[10, 20]);
        record.timeline_done = 1;
        assert!(TimelineVerb::Stop.change(&mut record, at(12)).unwrap());
        assert!(!TimelineVerb::Stop.change(&mut record, at(13)).unwrap());
        let seen = view(&record, at(50));
        assert_eq!((seen.state.as_str(), seen.clock_us), ("stopped", 12_000_000));
        assert!(seen.events[0].happened && !seen.events[1].happened);
        for verb in [TimelineVerb::Pause, TimelineVerb::Resume] {
            assert!(verb.change(&mut record, at(60)).unwrap_err().to_string().contains("stopped"));
        }
        assert!(TimelineVerb::Start.change(&mut record, at(60)).unwrap());
        let seen = view(&record, at(61));
        assert_eq!((seen.state.as_str(), seen.clock_us), ("running", 1_000_000));
        assert!(!seen.events[0].happened);
    }

    #[test]
    fn what_is_over_cannot_be_paused() {
        let mut record = record(&[1]);
        record.timeline_done = 1;
        assert_eq!(view(&record, at(9)).state, "over");
        assert!(TimelineVerb::Pause.change(&mut record, at(9)).is_err());
    }

    #[test]
    fn t101_changed_events_go_on_from_the_clock() {
        let mut old = record(&[10, 20]);
        old.timeline_done = 1;
        old.timeline_paused = Some(at(15));
        assert_eq!(done_of_changed(&old, &old.lab.events), 1);
        assert_eq!(done_of_changed(&old, &record(&[1, 2, 30]).lab.events), 2);
        old.timeline_started = None;
        assert_eq!(done_of_changed(&old, &record(&[1, 2]).lab.events), 0);
    }

    #[test]
    fn records_of_before_are_read() {
        let mut value = serde_json::to_value(record(&[1])).unwrap();
        let fields = value.as_object_mut().unwrap();
        fields.remove("timeline_paused");
        fields.remove("timeline_stopped");
        let read: LabRecord = serde_json::from_value(value).unwrap();
        assert!(read.timeline_paused.is_none() && !read.timeline_stopped);
    }
}
