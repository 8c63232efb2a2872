//! Control groups of instances: what all processes of one may have together.
//!
//! ```text
//!  cgroup v2   OWN/vnode-vnf-INSTANCE         cpu.max, io.weight
//!  cgroup v1   CPU/OWN/vnode-vnf-INSTANCE     cpu.cfs_quota_us
//!              BLKIO/OWN/vnode-vnf-INSTANCE   blkio.bfq.weight, blkio.weight
//! ```
//!
//! `OWN` is our own group in that tree: whoever limits us limits our functions. Version 2 is asked first, for each limit. A
//! limit that cannot be kept here is told and nothing else: functions of one package run on machines of many kinds.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use vnode_processes::Places;
use vnode_vnfpkg::ResourceLimits;

/// Where we go ourselves, when our own group must be free of processes to have groups with limits below it.
const LEAF: &str = "vnode-agent";
/// Period of processor quotas, microseconds.
const PERIOD: u64 = 100_000;
/// What a group has that was given no weight.
const WEIGHT: u32 = 100;
/// The most that a weight can be where the scheduler BFQ, or version 1, keeps it.
const OLD_WEIGHT: u32 = 1000;

/// How often, and how long, the end of processes is waited for that have been killed.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Our own groups.
#[derive(Debug)]
pub(crate) struct Groups(Places);

/// What became of an instance's limits.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The groups that its processes are to enter.
    pub(crate) folders: Vec<PathBuf>,
    /// Limits that this machine cannot keep, each with the reason.
    pub(crate) missing: Vec<String>,
}

/// One limit, in the words of both versions.
struct Limit<'a> {
    name: &'a str,
    v2: &'a str,
    v1: &'a str,
    /// Files that can keep it, the first that is there; `false`: what others have.
    files: &'a [(&'a str, &'a dyn Fn(bool) -> String)],
    wanted: bool,
}

impl Groups {
    /// Looks for them.
    pub(crate) fn detect() -> Self {
        let mut places = Places::detect().unwrap_or_else(|(path, error)| {
            tracing::warn!(path, %error, "no control groups");
            Places::default()
        });
        // An earlier life of ours, from which this one comes, went there.
        if let Some(own) = &mut places.v2
            && own.ends_with(LEAF)
        {
            own.pop();
        }
        Self(places)
    }

    /// Makes an instance's groups what its limits say.
    pub(crate) fn keep(&self, instance: &str, limits: &ResourceLimits) -> Kept {
        let quota = limits.cpu_quota_us;
        let max = |wanted: bool| {
            let quota = quota.filter(|_| wanted);
            format!(
                "{} {PERIOD}",
                quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string())
            )
        };
        let old_max =
            |wanted: bool| quota.filter(|_| wanted).map_or("-1".to_owned(), |q| q.to_string());
        let weight = |wanted: bool| limits.io_weight.filter(|_| wanted).unwrap_or(WEIGHT);
        let new_weight = |wanted: bool| weight(wanted).to_string();
        let old_weight = |wanted: bool| weight(wanted).min(OLD_WEIGHT).to_string();
        let all = [
            Limit {
                name: "cpu_max",
                v2: "cpu",
                v1: "cpu",
                files: &[("cpu.max", &max), ("cpu.cfs_quota_us", &old_max)],
                wanted: quota.is_some(),
            },
            Limit {
                name: "io_weight",
                v2: "io",
                v1: "blkio",
                files: &[
                    ("io.weight", &new_weight),
                    ("io.bfq.weight", &old_weight),
                    ("blkio.bfq.weight", &old_weight),
                    ("blkio.weight", &old_weight),
                ],
                wanted: limits.io_weight.is_some(),
            },
        ];
        let mut kept = Kept::default();
        for limit in &all {
            match self.one(instance, limit) {
                Ok(folder) => kept.folders.extend(folder),
                Err(why) => kept.missing.push(format!("limits.{} is not kept: {why}", limit.name)),
            }
        }
        kept.folders.sort_unstable();
        kept.folders.dedup();
        kept
    }

    /// The group that one limit is kept in; none when there is no limit, and never was.
    fn one(&self, instance: &str, limit: &Limit<'_>) -> Result<Option<PathBuf>, String> {
        let own = [self.0.v2.as_ref(), self.0.v1.get(limit.v1)];
        let folders = own.map(|own| own.map(|own| own.join(name(instance))));
        if !limit.wanted {
            for folder in folders.into_iter().flatten() {
                if let Some((file, text)) = file_of(&folder, limit) {
                    write(&file, &text(false))?;
                    return Ok(Some(folder));
                }
            }
            return Ok(None);
        }
        let [v2, v1] = folders;
        let mut whys = Vec::new();
        for (folder, new) in [(v2, true), (v1, false)] {
            let Some(folder) = folder else { continue };
            match make(&folder, new.then_some(limit.v2)).and_then(|()| {
                match file_of(&folder, limit) {
                    Some((file, text)) => write(&file, &text(true)),
                    None => Err(format!("{} cannot keep it", folder.display())),
                }
            }) {
                Ok(()) => return Ok(Some(folder)),
                Err(why) => whys.push(why),
            }
        }
        Err(if whys.is_empty() {
            "there are no control groups".to_owned()
        } else {
            whys.join("; ")
        })
    }

    /// Takes an instance's groups away; those in which a process is left stay. Blocks for those that are just ending.
    pub(crate) fn remove(&self, instance: &str) {
        let folders =
            self.0.v2.iter().chain(self.0.v1.values()).map(|own| own.join(name(instance)));
        let mut tries = 0;
        for folder in folders.filter(|folder| folder.exists()) {
            while let Err(error) = fs::remove_dir(&folder) {
                if error.kind() != ErrorKind::ResourceBusy || tries == TRIES {
                    tracing::info!(folder = %folder.display(), %error, "a control group stays");
                    break;
                }
                tries += 1;
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn name(instance: &str) -> String {
    format!("vnode-vnf-{instance}")
}

/// The file of a group that can keep a limit, and what is written there.
fn file_of<'a>(folder: &Path, limit: &Limit<'a>) -> Option<(PathBuf, &'a dyn Fn(bool) -> String)> {
    let files = limit.files.iter().map(|(file, text)| (folder.join(file), *text));
    files.into_iter().find(|(file, _)| file.exists())
}

/// Makes a group; `controller`: one of version 2, with that controller.
fn make(folder: &Path, controller: Option<&str>) -> Result<(), String> {
    if let (Some(controller), Some(own)) = (controller, folder.parent()) {
        pass_on(own, controller)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(format!("cannot make the control group {}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Turns a controller on for groups below ours.
fn pass_on(own: &Path, controller: &str) -> Result<(), String> {
    let has = |file: &str| {
        let text = fs::read_to_string(own.join(file)).unwrap_or_default();
        text.split_whitespace().any(|word| word == controller)
    };
    if !has("cgroup.controllers") {
        return Err(format!("cgroup v2 has no controller {controller} at {}", own.display()));
    }
    let leaf = leave(own)?;
    if has("cgroup.subtree_control") {
        return Ok(());
    }
    write(&own.join("cgroup.subtree_control"), &format!("+{controller}")).inspect_err(|_| {
        if let Some(leaf) = leaf {
            // Back where we came from; what fails here leaves us in a group as good as that.
            let _ = write(&own.join("cgroup.procs"), "0");
            let _ = fs::remove_dir(leaf);
        }
    })
}

/// Goes to a leaf of our group, if we are alone in it: below one with processes there can be none with limits, but at the
/// top of all. (That of processors can be turned on, and then nobody can enter what is below.)
fn leave(own: &Path) -> Result<Option<PathBuf>, String> {
    let members = fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default();
    // The top has no type.
    if members.is_empty() || !own.join("cgroup.type").exists() {
        return Ok(None);
    }
    if members.trim() != std::process::id().to_string() {
        return Err(format!("there are other processes in the control group {}", own.display()));
    }
    let leaf = own.join(LEAF);
    make(&leaf, None)?;
    write(&leaf.join("cgroup.procs"), "0")?;
    Ok(Some(leaf))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    let opened = fs::File::options().write(true).open(file);
    let written: io::Result<()> = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("cannot write `{text}` to {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_told_with_its_reason_and_what_is_not_wanted_is_not() {
        let wanted = ResourceLimits {
            cpu_quota_us: Some(50_000),
            io_weight: Some(200),
            ..ResourceLimits::default()
        };
        let none = Groups(Places::default());
        let kept = none.keep("i", &wanted);
        assert!(kept.folders.is_empty());
        assert_eq!(
            kept.missing,
            ["cpu_max", "io_weight"]
                .map(|limit| format!("limits.{limit} is not kept: there are no control groups"))
        );
        assert!(none.keep("i", &ResourceLimits::default()).missing.is_empty());
        // Version 2 without controllers, version 1 with one of them only.
        let folder = tempfile::tempdir().expect("a folder");
        let [v2, cpu] = ["v2", "cpu"].map(|name| folder.path().join(name));
        fs::create_dir_all(cpu.join("vnode-vnf-i")).expect("made");
        fs::create_dir(&v2).expect("made");
        fs::write(v2.join("cgroup.controllers"), "hugetlb\n").expect("written");
        let file = cpu.join("vnode-vnf-i/cpu.cfs_quota_us");
        fs::write(&file, "").expect("written");
        let v1 = [("cpu".to_owned(), cpu.clone())].into();
        let hybrid = Groups(Places { v2: Some(v2), v1 });
        let kept = hybrid.keep("i", &wanted);
        assert_eq!(kept.folders, [cpu.join("vnode-vnf-i")]);
        assert_eq!(fs::read_to_string(&file).expect("there"), "50000");
        let [missing] = &kept.missing[..] else { panic!("{kept:?}") };
        assert!(missing.starts_with("limits.io_weight") && missing.contains("controller io"));
        // A later revision that has none is not held by the earlier one's.
        fs::write(&file, "").expect("written");
        assert!(hybrid.keep("i", &ResourceLimits::default()).missing.is_empty());
        assert_eq!(fs::read_to_string(&file).expect("there"), "-1");
    }
}
