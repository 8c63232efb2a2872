//! Whether a node is healthy: its check, run inside it at intervals.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use vnode_driver::Phase;
use vnode_topology::{Health as Definition, HealthTest};

use crate::inner::Inner;
use crate::registry::NodeEntry;
use crate::runner::run_in_node;

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// There is no check.
    None,
    /// Booted; no check has passed yet.
    Starting,
    Healthy,
    Unhealthy,
}

impl Health {
    /// As `ps` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Checks until the run ends or the daemon stops.
pub(crate) async fn run(
    inner: Arc<Inner>,
    entry: Arc<NodeEntry>,
    check: Definition,
    over: CancellationToken,
) {
    let argv = match &check.test {
        HealthTest::None => return,
        HealthTest::Command(argv) => argv.clone(),
        HealthTest::Shell(line) => {
            vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()]
        }
    };
    let seconds = |value: u32, default: u64| match value {
        0 => Duration::from_secs(default),
        value => Duration::from_secs(u64::from(value)),
    };
    let (interval, timeout) = (seconds(check.interval_s, 30), seconds(check.timeout_s, 30));
    let start = tokio::time::Instant::now() + Duration::from_secs(u64::from(check.start_period_s));
    let mut failures = 0;
    loop {
        let passed = tokio::select! {
            result = tokio::time::timeout(timeout, run_in_node(&entry, argv.clone())) => {
                matches!(result, Ok(Ok((0, _))))
            }
            () = over.cancelled() => return,
            () = inner.stop.cancelled() => return,
        };
        let before = *entry.health.borrow();
        let now = if passed {
            failures = 0;
            Health::Healthy
        } else if is_paused(&entry) {
            // Nothing in it moves: that says nothing.
            before
        } else if before != Health::Healthy && tokio::time::Instant::now() < start {
            Health::Starting
        } else {
            failures += 1;
            if failures >= check.retries.max(1) { Health::Unhealthy } else { before }
        };
        // Who ends the run cancels first, and then takes the verdict away.
        let changed = entry.health.send_if_modified(|health| {
            let changes = *health != now && !over.is_cancelled();
            if changes {
                *health = now;
            }
            changes
        });
        if changed {
            inner.tell(
                "node.health-changed",
                &entry.subject(),
                None,
                json!({ "health": now.as_str() }),
            );
        }
        // While starting, look more often than later: somebody may wait for it.
        let pause =
            if now == Health::Starting { interval.min(Duration::from_secs(1)) } else { interval };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = over.cancelled() => return,
            () = inner.stop.cancelled() => return,
        }
    }
}

fn is_paused(entry: &NodeEntry) -> bool {
    entry.instance().is_some_and(|instance| instance.status().phase == Phase::Paused)
}
