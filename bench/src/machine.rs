//! What the figures were measured on.

use std::time::{Duration, Instant};

/// One line: processors, kernel, system, load before.
pub(crate) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo").matches("processor\t").count();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|l| Some(l.strip_prefix("model name")?.split_once(": ")?.1.to_owned()))
        .unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let system = read("/etc/os-release")
        .lines()
        .find_map(|l| Some(l.strip_prefix("PRETTY_NAME=")?.trim_matches('"').to_owned()))
        .unwrap_or_default();
    format!("{cpus} processors ({model}), kernel {kernel}, {system}, load before {}", load())
}

/// Waits until the machine rests, five seconds at most. The kernel takes dead namespaces and overlays apart long after
/// their processes have ended: who is measured next, ours, floor or peer, must not pay for it.
pub(crate) fn settle() {
    const WINDOW: Duration = Duration::from_millis(100);
    for _ in 0..50 {
        let before = idle();
        let start = Instant::now();
        std::thread::sleep(WINDOW);
        // Ticks of 10 ms: a window of two processors has twenty.
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
        let rested = (idle() - before) / 100.0;
        if rested >= 0.9 * cpus * start.elapsed().as_secs_f64() {
            return;
        }
    }
}

/// Ticks that all processors were idle: fields 4 and 5 of proc_stat(5).
fn idle() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(4).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum()
}

/// The load average of the last minute.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}
