//! Limits and use of one node, in the words of either tree.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::group::Group;
use super::{Failure, Result, at, number_in, write};
use crate::{Limits, Stats};

/// Period of processor quotas, microseconds.
const PERIOD: u64 = 100_000;

impl Group {
    /// Sets all limits; `None` is unlimited. Works live.
    pub(in crate::container) fn set(&self, limits: &Limits) -> Result<()> {
        self.set_common(limits)?;
        self.set_rare(limits)
    }

    /// Where the kernel begins to slow the node down, what it may swap out, its share of a busy processor.
    pub(in crate::container) fn set_rare(&self, limits: &Limits) -> Result<()> {
        let text = |v: Option<u64>| v.map(|v| v.to_string());
        match self.v2_with("memory") {
            Some(dir) => {
                reset_or_set(&dir.join("memory.high"), text(limits.memory_high_bytes), "max")?;
                reset_or_set(&dir.join("memory.swap.max"), text(limits.swap_bytes), "max")?;
            }
            None if limits.memory_high_bytes.is_some() => return Err(needs_v2("memory-high")),
            None => self.set_v1_swap(limits)?,
        }
        let weight = limits.cpu_weight.map(u64::from);
        match (self.v2_with("cpu"), self.v1.get("cpu")) {
            (Some(dir), _) => reset_or_set(&dir.join("cpu.weight"), text(weight), "100"),
            (None, Some(dir)) => {
                if weight.is_none() && !dir.is_there() {
                    return Ok(());
                }
                let made = dir.ensure()?;
                let shares = weight.map_or(V1_SHARES, shares_of);
                write(&dir.join("cpu.shares"), &shares.to_string())?;
                if made { self.move_all_to(dir) } else { Ok(()) }
            }
            (None, None) if weight.is_some() => Err(missing("cpu")),
            (None, None) => Ok(()),
        }
    }

    /// v1 limits memory and swap together, and never below memory alone.
    fn set_v1_swap(&self, limits: &Limits) -> Result<()> {
        let dir = match (self.v1.get("memory"), limits.swap_bytes) {
            (Some(dir), None) if !dir.may_be_there() => return Ok(()),
            (Some(dir), _) => dir,
            (None, Some(_)) => return Err(missing("memory")),
            (None, None) => return Ok(()),
        };
        let both = dir.join("memory.memsw.limit_in_bytes");
        let Some(swap) = limits.swap_bytes else {
            return if both.exists() { write(&both, "-1") } else { Ok(()) };
        };
        let Some(memory) = limits.memory_bytes else {
            let what =
                "limit `swap`: cgroup v1 limits it together with `memory`, which is not limited";
            return Err((what.to_owned(), io::Error::from(ErrorKind::InvalidInput)));
        };
        if !both.exists() {
            let what =
                "limit `swap`: this machine does not count swap (kernel parameter `swapaccount=1`)";
            return Err((what.to_owned(), io::Error::from(ErrorKind::Unsupported)));
        }
        write(&both, &memory.saturating_add(swap).to_string())
    }

    pub(in crate::container) fn set_common(&self, limits: &Limits) -> Result<()> {
        if limits.memory_bytes.is_some()
            && self.v2_with("memory").is_none()
            && let Some(both) = self.v1.get("memory").map(|d| d.join("memory.memsw.limit_in_bytes"))
            && both.exists()
        {
            // An earlier limit of memory and swap together would refuse a higher one of memory.
            write(&both, "-1")?;
        }
        let quota = limits.cpus.map(|c| ((c * PERIOD as f64) as u64).max(1000));
        let text = |v: Option<u64>| v.map(|v| v.to_string());
        self.set_one("memory", text(limits.memory_bytes), |v| {
            let max = v.unwrap_or("max");
            vec![("memory.max", max.to_owned())]
        })?;
        self.set_one("cpu", text(quota), |v| {
            vec![("cpu.max", format!("{} {PERIOD}", v.unwrap_or("max")))]
        })?;
        self.set_one("cpuset", limits.cpu_set.clone(), |v| {
            vec![("cpuset.cpus", v.unwrap_or("\n").to_owned())]
        })?;
        self.set_one("pids", text(limits.pids), |v| {
            vec![("pids.max", v.unwrap_or("max").to_owned())]
        })
    }

    fn set_one(
        &self,
        controller: &str,
        value: Option<String>,
        v2_files: impl Fn(Option<&str>) -> Vec<(&'static str, String)>,
    ) -> Result<()> {
        if let Some(dir) = self.v2_with(controller) {
            for (file, text) in v2_files(value.as_deref()) {
                write(&dir.join(file), &text)?;
            }
            return Ok(());
        }
        let Some(dir) = self.v1.get(controller) else {
            return match value {
                None => Ok(()),
                Some(_) => Err(missing(controller)),
            };
        };
        if value.is_none() && !dir.is_there() {
            return Ok(());
        }
        let made = dir.ensure()?;
        match controller {
            "memory" => {
                write(&dir.join("memory.limit_in_bytes"), value.as_deref().unwrap_or("-1"))?;
            }
            "cpu" => {
                write(&dir.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
                write(&dir.join("cpu.cfs_quota_us"), value.as_deref().unwrap_or("-1"))?;
            }
            "cpuset" => {
                inherit_cpuset(dir)?;
                let parent = dir.parent().unwrap_or(dir).join("cpuset.cpus");
                let all = at(&parent, "read", fs::read_to_string(&parent))?;
                write(&dir.join("cpuset.cpus"), value.as_deref().unwrap_or(all.trim()))?;
            }
            _ => write(&dir.join("pids.max"), value.as_deref().unwrap_or("max"))?,
        }
        if made { self.move_all_to(dir) } else { Ok(()) }
    }

    pub(in crate::container) fn stats(&self) -> Stats {
        let v2 = self.v2.as_ref();
        let v1 = |controller: &str, file: &str| {
            self.v1.get(controller).and_then(|d| number_in(&d.join(file)))
        };
        let cpu_usec = v2
            .and_then(|d| fs::read_to_string(d.join("cpu.stat")).ok())
            .and_then(|t| {
                t.lines().find_map(|l| l.strip_prefix("usage_usec ")?.trim().parse().ok())
            })
            .or_else(|| v1("cpuacct", "cpuacct.usage").map(|ns| ns / 1000));
        let memory_bytes = v2
            .and_then(|d| number_in(&d.join("memory.current")))
            .or_else(|| v1("memory", "memory.usage_in_bytes"));
        let pids = v2
            .and_then(|d| number_in(&d.join("pids.current")))
            .or_else(|| v1("pids", "pids.current"))
            .or_else(|| self.membership().map(|_| self.members().len() as u64));
        Stats { cpu_usec, memory_bytes, pids }
    }

    /// Limits as the kernel has them.
    pub(in crate::container) fn limits(&self) -> Limits {
        let read = |controller: &str, v2: &str, v1: &str| {
            let path = match (self.v2_with(controller), self.v1.get(controller)) {
                (Some(dir), _) => dir.join(v2),
                (None, Some(dir)) => dir.join(v1),
                (None, None) => return None,
            };
            fs::read_to_string(path).ok().map(|t| t.trim().to_owned())
        };
        let number = |text: Option<String>| text.and_then(|t| t.parse::<u64>().ok());
        // v1 writes "unlimited" as the largest multiple of a page.
        let memory_bytes =
            number(read("memory", "memory.max", "memory.limit_in_bytes")).filter(|v| *v < 1 << 62);
        let cpus = read("cpu", "cpu.max", "cpu.cfs_quota_us").and_then(|t| {
            let quota: f64 = t.split(' ').next()?.parse().ok()?;
            (quota > 0.0).then_some(quota / PERIOD as f64)
        });
        let memory = memory_bytes.filter(|_| self.v2_with("memory").is_none());
        let swap_bytes = number(read("memory", "memory.swap.max", "memory.memsw.limit_in_bytes"))
            .filter(|v| *v < 1 << 62)
            .map(|both| both.saturating_sub(memory.unwrap_or(0)));
        let cpu_weight = number(read("cpu", "cpu.weight", "cpu.shares"))
            .map(|v| if self.v2_with("cpu").is_some() { v } else { weight_of(v) });
        Limits {
            memory_high_bytes: number(read("memory", "memory.high", "")),
            swap_bytes,
            // The weight of every group that was given none.
            cpu_weight: cpu_weight.filter(|v| *v != 100).and_then(|v| u32::try_from(v).ok()),
            memory_bytes,
            cpus,
            cpu_set: read("cpuset", "cpuset.cpus", "cpuset.cpus").filter(|t| !t.is_empty()),
            pids: number(read("pids", "pids.max", "pids.max")),
            shm_bytes: None,
        }
    }
}

/// Shares of a v1 group that was given none.
const V1_SHARES: u64 = 1024;

/// v1's shares for a v2 weight, of which 100 is what a group has that was given none.
fn shares_of(weight: u64) -> u64 {
    (weight * V1_SHARES / 100).clamp(2, 262_144)
}

fn weight_of(shares: u64) -> u64 {
    (shares * 100).div_ceil(V1_SHARES).clamp(1, 10_000)
}

/// Writes a value, or the default over an earlier one; a file that this kernel lacks has no earlier one.
fn reset_or_set(file: &Path, value: Option<String>, default: &str) -> Result<()> {
    match value {
        Some(value) => write(file, &value),
        None => match fs::read_to_string(file) {
            Ok(text) if text.trim() != default => write(file, default),
            _ => Ok(()),
        },
    }
}

fn missing(controller: &str) -> Failure {
    let what = format!("limit `{controller}`: this machine has no such controller for us");
    (what, io::Error::from(ErrorKind::Unsupported))
}

fn needs_v2(limit: &str) -> Failure {
    (format!("limit `{limit}`: only cgroup v2 has it"), io::Error::from(ErrorKind::Unsupported))
}

/// A new v1 cpuset has neither processors nor memory, and nothing can enter it.
pub(in crate::container) fn inherit_cpuset(dir: &Path) -> Result<()> {
    for file in ["cpuset.mems", "cpuset.cpus"] {
        let own = dir.join(file);
        if at(&own, "read", fs::read_to_string(&own))?.trim().is_empty() {
            let above = dir.parent().unwrap_or(dir).join(file);
            let value = at(&above, "read", fs::read_to_string(&above))?;
            write(&own, value.trim())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_survive_the_way_to_v1_and_back() {
        assert_eq!(shares_of(100), V1_SHARES);
        for weight in [1, 50, 99, 100, 101, 1000, 10_000] {
            assert_eq!(weight_of(shares_of(weight)), weight, "{weight}");
        }
    }
}
