//! Numbers for Prometheus. Every label has a small fixed set of values: never a node's name.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use vnode_lifecycle::view::Counts;
use vnode_operation::lock::LevelStats;
use vnode_operation::{OperationState, Summary};

/// Bounds of the operations' durations, seconds.
const SECONDS: [f64; 10] = [0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    /// `2xx`, `4xx`, ...
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operated {
    /// e.g. `lab.up`; the kinds are those of the host's plans.
    kind: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLevel {
    /// `host-root`, `node`, ...: the levels of `vnode_operation::lock`.
    level: &'static str,
}

/// What a level of locks has cost.
#[derive(Debug, Default)]
struct LockNumbers {
    taken: Family<OfLevel, Counter>,
    waited: Family<OfLevel, Counter>,
    held: Family<OfLevel, Counter<f64, AtomicU64>>,
    longest: Family<OfLevel, Gauge<f64, AtomicU64>>,
}

/// Kinds of operations beyond this many share the label `other`.
const MAX_KINDS: usize = 64;

/// The daemon's numbers.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    operations: Family<Operated, Counter>,
    durations: Family<OfKind, Histogram, fn() -> Histogram>,
    kinds: std::sync::Mutex<std::collections::BTreeSet<String>>,
    nodes: Family<InState, Gauge>,
    labs: Gauge,
    links: Gauge,
    images: Gauge,
    image_bytes: Gauge,
    events: Counter<u64, AtomicU64>,
    memory: Gauge,
    streams: Gauge,
    locks: LockNumbers,
}

fn durations() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            requests: Family::default(),
            operations: Family::default(),
            durations: Family::new_with_constructor(durations as fn() -> Histogram),
            kinds: std::sync::Mutex::default(),
            nodes: Family::default(),
            labs: Gauge::default(),
            links: Gauge::default(),
            images: Gauge::default(),
            image_bytes: Gauge::default(),
            events: Counter::default(),
            memory: Gauge::default(),
            streams: Gauge::default(),
            locks: LockNumbers::default(),
            registry: Registry::default(),
        };
        let m = &metrics;
        registry.register("vnode_nodes", "Nodes by state", m.nodes.clone());
        registry.register("vnode_labs", "Labs", m.labs.clone());
        registry.register("vnode_links", "Links and LANs", m.links.clone());
        registry.register("vnode_images", "Images in the catalogue", m.images.clone());
        registry.register_with_unit(
            "vnode_images_size",
            "Size of the catalogue",
            Unit::Bytes,
            m.image_bytes.clone(),
        );
        registry.register("vnode_events", "Events since the first daemon", m.events.clone());
        registry.register(
            "vnode_operations",
            "Operations that ended, by kind and outcome",
            m.operations.clone(),
        );
        registry.register_with_unit(
            "vnode_operation_duration",
            "Time operations took, by kind",
            Unit::Seconds,
            m.durations.clone(),
        );
        registry.register("vnode_api_requests", "Requests, by class of answer", m.requests.clone());
        registry.register("vnode_api_streams", "Streams that are open", m.streams.clone());
        registry.register_with_unit(
            "process_resident_memory",
            "Resident memory of the daemon",
            Unit::Bytes,
            m.memory.clone(),
        );
        m.locks.register(&mut registry);
        Self { registry, ..metrics }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, status: u16) {
        let class = match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&Answered { class }).inc();
    }

    /// Counts an operation that has ended.
    pub(crate) fn ended(&self, summary: &Summary) {
        let outcome = match summary.state {
            OperationState::Completed => "completed",
            OperationState::Partly => "partly",
            OperationState::RolledBack => "rolled-back",
            OperationState::Cancelled => "cancelled",
            OperationState::Failed => "failed",
            OperationState::Running | OperationState::RollingBack | OperationState::Cancelling => {
                return;
            }
        };
        let kind = self.bounded(&summary.kind);
        self.operations.get_or_create(&Operated { kind: kind.clone(), outcome }).inc();
        if let Some(ended) = summary.ended {
            let took = ended.duration_since(summary.started).as_secs_f64();
            self.durations.get_or_create(&OfKind { kind }).observe(took.max(0.0));
        }
    }

    fn bounded(&self, kind: &str) -> String {
        let mut kinds = self.kinds.lock().expect("no code that holds the lock can panic");
        if kinds.contains(kind) {
            return kind.to_owned();
        }
        if kinds.len() >= MAX_KINDS {
            return "other".to_owned();
        }
        kinds.insert(kind.to_owned());
        kind.to_owned()
    }

    /// The page. `streams` is how many are open.
    pub(crate) fn page(&self, counts: &Counts, streams: usize) -> String {
        // A state without nodes any more must not keep its old number.
        self.nodes.clear();
        for (state, count) in &counts.nodes_by_state {
            self.nodes.get_or_create(&InState { state: state.clone() }).set(gauge(*count));
        }
        self.labs.set(gauge(counts.labs));
        self.links.set(gauge(counts.links));
        self.images.set(gauge(counts.images));
        self.image_bytes.set(gauge(counts.image_bytes));
        self.events.inner().store(counts.events_total, Relaxed);
        self.memory.set(gauge(resident_bytes()));
        self.streams.set(gauge(streams as u64));
        self.locks.set(&counts.locks);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

impl LockNumbers {
    fn register(&self, registry: &mut Registry) {
        for (name, help, counters) in [
            ("vnode_lock_taken", "Times a lock was taken", &self.taken),
            ("vnode_lock_waited", "Times somebody had to wait for a lock", &self.waited),
        ] {
            registry.register(name, help, counters.clone());
        }
        registry.register_with_unit(
            "vnode_lock_held",
            "Time that locks were held",
            Unit::Seconds,
            self.held.clone(),
        );
        registry.register_with_unit(
            "vnode_lock_longest_held",
            "Longest time that a lock was held",
            Unit::Seconds,
            self.longest.clone(),
        );
    }

    fn set(&self, levels: &[LevelStats]) {
        for stats in levels {
            let of = OfLevel { level: stats.level };
            self.taken.get_or_create(&of).inner().store(stats.taken, Relaxed);
            self.waited.get_or_create(&of).inner().store(stats.waited, Relaxed);
            self.held.get_or_create(&of).inner().store(stats.held.as_secs_f64().to_bits(), Relaxed);
            self.longest.get_or_create(&of).set(stats.longest.as_secs_f64());
        }
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Resident memory of this process; 0 where the kernel does not tell.
pub(crate) fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_number_and_forgets_states_without_nodes() {
        let metrics = Metrics::new();
        metrics.answered(200);
        let mut counts = Counts { labs: 1, events_total: 7, ..Counts::default() };
        counts.nodes_by_state.insert("running".into(), 3);
        counts.locks.push(LevelStats {
            level: "node",
            taken: 5,
            waited: 1,
            held: std::time::Duration::from_millis(2500),
            longest: std::time::Duration::from_millis(500),
        });
        let page = metrics.page(&counts, 2);
        for line in [
            "vnode_nodes{state=\"running\"} 3",
            "vnode_labs 1",
            "vnode_events_total 7",
            "vnode_api_requests_total{class=\"2xx\"} 1",
            "vnode_api_streams 2",
            "vnode_lock_taken_total{level=\"node\"} 5",
            "vnode_lock_waited_total{level=\"node\"} 1",
            "vnode_lock_held_seconds_total{level=\"node\"} 2.5",
            "vnode_lock_longest_held_seconds{level=\"node\"} 0.5",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
        assert!(resident_bytes() > 0);
        counts.nodes_by_state.clear();
        assert!(!metrics.page(&counts, 0).contains("running"));
    }

    #[test]
    fn labels_are_bounded() {
        let metrics = Metrics::new();
        for n in 0..MAX_KINDS + 10 {
            metrics.bounded(&format!("kind{n}"));
        }
        assert_eq!(metrics.bounded("one more"), "other");
        assert_eq!(metrics.bounded("kind0"), "kind0");
    }
}
