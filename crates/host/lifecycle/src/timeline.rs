//! A lab's `events`: what happens to its links at times after it came up (T-73).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use vnode_topology::{Action, Target, TimelineEvent};

use crate::inner::Inner;
use crate::links;
use crate::record::LabRecord;
use crate::request::LinkSet;

/// Starts the lab's timeline, or goes on with it after a restart of the daemon. Events that should have
/// happened meanwhile happen at once, in order.
pub(crate) fn start(inner: &Arc<Inner>, lab: &str) {
    let token = inner.stop.child_token();
    let prepared = inner.registry.lab_mut(lab, |lab| {
        if let Some(old) = lab.timeline.take() {
            old.cancel();
        }
        let events = lab.record.lab.events.clone();
        if lab.record.timeline_done >= events.len() {
            return None;
        }
        let started = *lab.record.timeline_started.get_or_insert_with(Timestamp::now);
        lab.timeline = Some(token.clone());
        Some((events, lab.record.timeline_done, started))
    });
    let Ok(Some((events, done, started))) = prepared else { return };
    let (inner_of_task, name) = (Arc::clone(inner), lab.to_owned());
    inner.tasks.spawn(async move {
        let inner = inner_of_task;
        let since =
            Duration::try_from(Timestamp::now().duration_since(started)).unwrap_or_default();
        let begun = tokio::time::Instant::now();
        save(&inner, &name).await;
        for (index, event) in events.iter().enumerate().skip(done) {
            let due = Duration::from_micros(event.at_us).saturating_sub(since);
            tokio::select! {
                () = tokio::time::sleep_until(begun + due) => {}
                () = token.cancelled() => return,
            }
            happen(&inner, &name, event).await;
            let counted = inner.registry.lab_mut(&name, |lab| lab.record.timeline_done = index + 1);
            if counted.is_err() {
                return;
            }
            save(&inner, &name).await;
        }
    });
}

async fn save(inner: &Inner, lab: &str) {
    let Ok(change) = inner.registry.lab(lab, |lab| LabRecord::put(&lab.record)) else { return };
    if let Err(error) = inner.save(vec![change]).await {
        tracing::error!(lab, "{}", error.chain());
    }
}

async fn happen(inner: &Arc<Inner>, lab: &str, event: &TimelineEvent) {
    let (link, from) = match &event.target {
        Target::Link { id, end } => (id, end),
        Target::Network { name, member } => (name, member),
    };
    let set = LinkSet { set: event.set.clone(), from: from.clone() };
    let result = match event.action {
        Action::Down => links::down(inner, lab, link, true).await,
        Action::Up => match links::down(inner, lab, link, false).await {
            Ok(()) if !set.set.is_empty() => links::set(inner, lab, link, &set).await,
            other => other,
        },
        Action::Set => links::set(inner, lab, link, &set).await,
        Action::Reset => links::reset(inner, lab, link).await,
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
