//! What ran, what failed, what could not run.

use std::collections::BTreeMap;
use std::path::Path;

/// Numbers of tests or checks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// The closing line.
    pub(crate) fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let text = format!("{} {} {}\n", self.passed, self.failed, self.skipped);
        std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
    }

    pub(crate) fn read(path: &Path) -> Option<Counts> {
        let text = std::fs::read_to_string(path).ok()?;
        let mut numbers = text.split_whitespace().map(|n| n.parse().ok());
        Some(Counts {
            passed: numbers.next()??,
            failed: numbers.next()??,
            skipped: numbers.next()??,
        })
    }
}

/// Reads nextest's closing line: `Summary [ 1.2s] 7 tests run: 5 passed (1 slow), 1 failed, 1 timed out, 3 skipped`.
/// What nextest skips was not asked for (a filter, `#[ignore]`) and is not counted.
pub(crate) fn of_nextest(log: &str) -> Option<Counts> {
    let line = log
        .lines()
        .rev()
        .find(|l| l.contains("Summary [") && l.contains("tests run:") || l.contains("test run:"))?;
    let (_, parts) = line.split_once("run:")?;
    let mut counts = Counts::default();
    // What stands in parentheses (slow, leaky, flaky) are some of the number before them.
    let parts: String = parts.split('(').map(|p| p.split_once(')').map_or(p, |(_, p)| p)).collect();
    for part in parts.split(',') {
        let mut words = part.split_whitespace();
        let number: u64 = words.next()?.parse().ok()?;
        match words.next()? {
            "passed" => counts.passed += number,
            "skipped" => {}
            // failed, timed out, exec failed
            _ => counts.failed += number,
        }
    }
    Some(counts)
}

/// Reads the closing lines of `cargo test --doc`.
pub(crate) fn of_doc_tests(log: &str) -> Counts {
    let mut counts = Counts::default();
    for line in log.lines().filter(|l| l.starts_with("test result:")) {
        for part in line.split(['.', ';']) {
            let words: Vec<&str> = part.split_whitespace().collect();
            match words[..] {
                [number, "passed"] => counts.passed += number.parse::<u64>().unwrap_or(0),
                [number, "failed"] => counts.failed += number.parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
    }
    counts
}

/// One line of the report that tests write: kind, test, reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) kind: String,
    pub(crate) test: String,
    pub(crate) why: String,
}

pub(crate) fn read_report(text: &str) -> Vec<Line> {
    let line = |l: &str| {
        let mut parts = l.split('\t').map(str::to_owned);
        Some(Line {
            kind: parts.next()?,
            test: parts.next()?,
            why: parts.next().unwrap_or_default(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Corrects the runner's counts by the report: a test that skipped itself passed as far as the runner knows, and one
/// left to the guest counts there, or as skipped when the guest did not run it. Returns the skipped with their reasons.
pub(crate) fn correct(counts: &mut Counts, report: &[Line]) -> Vec<String> {
    let mut skipped = Vec::new();
    let mut in_guest: BTreeMap<&str, ()> = BTreeMap::new();
    for line in report {
        let test = line.test.rsplit("::").next().unwrap_or(&line.test);
        match line.kind.as_str() {
            "guest-passed" => counts.passed += 1,
            "guest-failed" => counts.failed += 1,
            "guest-skipped" => {
                counts.skipped += 1;
                skipped.push(format!("{} (in the guest): {}", line.test, line.why));
            }
            _ => continue,
        }
        in_guest.insert(test, ());
    }
    for line in report.iter().filter(|l| l.kind == "skipped" || l.kind == "deferred") {
        counts.passed = counts.passed.saturating_sub(1);
        let test = line.test.rsplit("::").next().unwrap_or(&line.test);
        if line.kind == "deferred" && in_guest.contains_key(test) {
            continue;
        }
        counts.skipped += 1;
        skipped.push(format!("{}: {}", line.test, line.why));
    }
    skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_closing_lines_are_read() {
        let log = "     Summary [   0.146s] 2 tests run: 1 passed (1 slow), 1 failed, 5 skipped\n";
        assert_eq!(of_nextest(log), Some(Counts { passed: 1, failed: 1, skipped: 0 }));
        let log = "     Summary [ 146.0s] 9 tests run: 7 passed, 1 failed, 1 timed out, 0 skipped\n        FAIL x\n";
        assert_eq!(of_nextest(log), Some(Counts { passed: 7, failed: 2, skipped: 0 }));
        let log =
            " Summary [1303.971s] 9 tests run: 8 passed (4 slow, 2 leaky), 1 failed, 1 skipped\n";
        assert_eq!(of_nextest(log), Some(Counts { passed: 8, failed: 1, skipped: 0 }));
    }

    #[test]
    fn doc_test_closing_lines_are_summed() {
        let line = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.2s\n";
        assert_eq!(of_doc_tests(&line.repeat(2)), Counts { passed: 6, failed: 0, skipped: 0 });
    }

    #[test]
    fn skipped_tests_are_no_passed_ones() {
        let mut counts = Counts { passed: 5, failed: 0, skipped: 0 };
        let report = read_report(
            "skipped\ta::x\tno crun\ndeferred\tt62_delay\tno netem\ndeferred\tt63_rate\tno netem\nguest-passed\timpairments::t62_delay\t\n",
        );
        let skipped = correct(&mut counts, &report);
        assert_eq!(counts, Counts { passed: 3, failed: 0, skipped: 2 });
        assert_eq!(skipped, ["a::x: no crun", "t63_rate: no netem"]);
    }
}
