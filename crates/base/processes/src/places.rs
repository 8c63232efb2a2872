//! Where this machine keeps control groups, and which of them are ours: cgroups(7).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Our own groups, as folders. What a mount does not show is not ours to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// In the tree of version 2.
    pub v2: Option<PathBuf>,
    /// In the trees of version 1, for each controller; systemd's own tree is `name=systemd`.
    pub v1: BTreeMap<String, PathBuf>,
}

impl Places {
    /// Looks at the mounts and at our own place.
    ///
    /// # Errors
    /// When `/proc` cannot be read; with the file.
    pub fn detect() -> Result<Self, (&'static str, io::Error)> {
        let read = |path| fs::read_to_string(path).map_err(|error| (path, error));
        Ok(Self::from_texts(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?))
    }

    /// The same by the texts of `mountinfo`, proc(5), and of `cgroup`.
    #[must_use]
    pub fn from_texts(mountinfo: &str, own: &str) -> Self {
        let mut own_of = BTreeMap::new();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            if let (Some(_), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            {
                own_of.extend(controllers.split(',').map(|controller| (controller, path)));
            }
        }
        let mut places = Self::default();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let before: Vec<&str> = before.split(' ').collect();
            let after: Vec<&str> = after.split(' ').collect();
            let (Some(root), Some(point), Some(kind)) =
                (before.get(3), before.get(4), after.first())
            else {
                continue;
            };
            let place = |controller: &str| {
                let own = *own_of.get(controller)?;
                // A mount may show a part of the tree only (in a container).
                let below = Path::new(own).strip_prefix(root).ok()?;
                Some(Path::new(point).join(below))
            };
            match *kind {
                "cgroup2" if places.v2.is_none() => places.v2 = place(""),
                "cgroup" => {
                    for option in after.get(2).unwrap_or(&"").split(',') {
                        if let Some(path) = place(option) {
                            places.v1.entry(option.to_owned()).or_insert(path);
                        }
                    }
                }
                _ => {}
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /outer /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn our_own_place_is_found_in_each_tree() {
        let own = "4:memory:/outer/a\n1:cpu,cpuacct:/\n2:name=systemd:/b\n0::/c:d\n";
        let places = Places::from_texts(HYBRID, own);
        assert_eq!(places.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified/c:d")));
        let v1: Vec<_> = places.v1.iter().map(|(c, path)| (&**c, path.to_str().unwrap())).collect();
        assert_eq!(
            v1,
            [
                ("cpu", "/sys/fs/cgroup/cpu,cpuacct/"),
                ("cpuacct", "/sys/fs/cgroup/cpu,cpuacct/"),
                ("memory", "/sys/fs/cgroup/memory/a"),
                ("name=systemd", "/sys/fs/cgroup/systemd/b"),
            ]
        );
        let elsewhere = Places::from_texts(HYBRID, "4:memory:/outermost\n");
        assert_eq!(elsewhere, Places::default());
        assert!(Places::detect().is_ok());
    }
}
