//! What this machine can do, what not, and how to mend it.

use vnode_network::control::forward_policy_conflict;
use vnode_protocol::{chain, impairment::Aqm};

use crate::host::Host;
use crate::inner::blocking;
use crate::view::{Check, Counts};

fn check(name: &str, ok: bool, found: impl Into<String>, mend: &str) -> Check {
    let verdict = if ok { "ok" } else { "warn" };
    Check {
        name: name.to_owned(),
        verdict: verdict.to_owned(),
        found: found.into(),
        mend: if ok { String::new() } else { mend.to_owned() },
    }
}

fn must(mut check: Check) -> Check {
    if check.verdict == "warn" {
        "fail".clone_into(&mut check.verdict);
    }
    check
}

impl Host {
    /// What virtual machines run on.
    async fn machines(&self) -> Check {
        let (ok, found) = match self.inner.machines.accelerators().await {
            Ok(found) => match &found.qemu {
                Some(version) => {
                    let on = if found.kvm { "KVM" } else { "emulation" };
                    (true, format!("QEMU {version} by {on}: {}", found.reason))
                }
                None => (false, "no QEMU".to_owned()),
            },
            Err(error) => (false, vnode_protocol::chain(&error)),
        };
        check("virtual machines", ok, found, "`apt-get install qemu-system-x86 ovmf`")
    }

    /// Whether `vnode mount` and `vnode cp` can reach the files of a machine that does not run.
    fn files_of_machines() -> Check {
        let missing = vnode_qemu::missing_to_mount();
        let found = match &missing {
            None => "ext2, ext3 and ext4 can be mounted, outside the kernel",
            Some(_) => "they cannot be mounted",
        };
        check(
            "disks of stopped virtual machines",
            missing.is_none(),
            found,
            missing.as_deref().unwrap_or_default(),
        )
    }

    /// Whether machines under libvirt can be nodes; nobody needs to have any.
    async fn libvirt(&self) -> Check {
        let found = vnode_libvirt::found()
            .await
            .unwrap_or_else(|why| format!("none, so no node can have `backend: libvirt` ({why})"));
        check("libvirt", true, found, "")
    }

    /// Looks, and changes nothing.
    pub async fn doctor(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let network = self.inner.network.clone();
        match blocking(move || network.features()).await {
            Ok(features) => {
                let yes = |has: bool| if has { "yes" } else { "no" };
                let modprobe = |module: &str| {
                    format!("`modprobe {module}`, or a kernel with it built in (Debian's has it)")
                };
                for (name, has, module, needed) in [
                    ("kernel: veth", features.veth, "veth", true),
                    ("kernel: bridge", features.bridge, "bridge", true),
                    ("kernel: nftables nat", features.nft_nat, "nft_chain_nat nft_masq", true),
                    ("kernel: nftables bridge", features.nft_bridge, "nf_tables_bridge", false),
                    ("kernel: nftables netdev", features.nft_netdev, "nf_tables_netdev", true),
                    ("kernel: netem (delay, loss, ...)", features.netem, "sch_netem", false),
                    ("kernel: tbf (rate)", features.tbf, "sch_tbf", false),
                    ("kernel: vxlan", features.vxlan, "vxlan", false),
                    ("kernel: macvlan", features.macvlan, "macvlan", false),
                    ("kernel: dummy", features.dummy, "dummy", false),
                    ("kernel: ipv6", features.ipv6, "ipv6", false),
                ] {
                    let one = check(name, has, yes(has), &modprobe(module));
                    checks.push(if needed { must(one) } else { one });
                }
            }
            Err(error) => checks.push(must(check(
                "kernel: network",
                false,
                error.chain(),
                "run the daemon as root",
            ))),
        }
        // Where the network cannot be tried at all, the line above says so.
        if let Ok(check) = blocking(managed_queues).await {
            checks.push(check);
        }
        let capabilities = &self.inner.capabilities;
        checks.push(check(
            "cgroups",
            capabilities.cgroup != "none",
            format!("{}, limits: {}", capabilities.cgroup, capabilities.limits.join(" ")),
            "mount cgroup2 at /sys/fs/cgroup; under systemd start the daemon by its unit (Delegate=yes)",
        ));
        checks.push(check(
            "user namespaces with mapped mounts",
            capabilities.user_namespaces,
            if capabilities.user_namespaces { "yes" } else { "no" },
            "a kernel of 6.15 or newer with CONFIG_USER_NS; nodes run without until then",
        ));
        checks.push(self.machines().await);
        checks.push(Self::files_of_machines());
        checks.push(self.libvirt().await);
        let network = self.inner.network.clone();
        match blocking(move || forward_policy_conflict(&network)).await {
            Ok(conflicts) if conflicts.is_empty() => {
                checks.push(check("firewall of others", true, "lets labs through", ""));
            }
            Ok(conflicts) => {
                for conflict in conflicts {
                    checks.push(check(
                        "firewall of others",
                        false,
                        format!("`{}` drops what labs forward", conflict.chain),
                        &conflict.hint,
                    ));
                }
            }
            Err(error) => {
                checks.push(check(
                    "firewall of others",
                    false,
                    error.chain(),
                    "look with `nft list ruleset`",
                ));
            }
        }
        checks.push(self.damaged().await);
        checks.push(descriptors());
        checks.push(self.disk());
        checks.push(self.host_mask());
        checks
    }

    fn host_mask(&self) -> Check {
        let name = "image `host`";
        let options = vnode_image::HostOptions {
            state_dirs: vec![self.inner.options.state_dir.clone()],
            ..self.inner.options.images.host.clone()
        };
        let mask = match vnode_image::describe_host_mask(&options) {
            Ok(mask) => mask,
            Err(error) => return check(name, false, chain(&error), "use another image"),
        };
        let large = mask.iter().filter(|entry| entry.why == vnode_image::TOO_LARGE);
        let large: Vec<String> = large.map(|entry| entry.path.display().to_string()).collect();
        if large.is_empty() {
            return check(name, true, format!("{} paths masked", mask.len()), "");
        }
        let found = format!("emptied, as {}: {}", vnode_image::TOO_LARGE, large.join(", "));
        check(name, false, found, "bind it into the nodes that need it: `binds: [PATH:PATH:ro]`")
    }

    /// Labs that the other commands cannot show.
    async fn damaged(&self) -> Check {
        let name = "records of labs";
        let damaged = match self.inner.damaged.now(&*self.inner.store).await {
            Ok(damaged) => damaged,
            Err(error) => return must(check(name, false, error.chain(), "see the daemon's log")),
        };
        let Some(lab) = damaged.keys().next() else { return check(name, true, "all are read", "") };
        let keys: Vec<&str> = damaged.values().flatten().map(String::as_str).collect();
        let found = format!("cannot be read: {}", keys.join(", "));
        must(check(name, false, found, &crate::damaged::way_out(lab)))
    }

    fn disk(&self) -> Check {
        match rustix::fs::statvfs(&self.inner.options.state_dir) {
            Ok(stat) => {
                let free = stat.f_bavail.saturating_mul(stat.f_frsize);
                let gib = free >> 30;
                check(
                    "disk for state and images",
                    gib >= 1,
                    format!("{gib} GiB free"),
                    "`vnode image gc`, or move the state with `--state-dir`",
                )
            }
            Err(error) => check(
                "disk for state and images",
                false,
                error.to_string(),
                "look at the folder with `df`, or choose another with `--state-dir`",
            ),
        }
    }

    /// Numbers for the metrics page.
    pub async fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        {
            let labs = self.inner.registry.read();
            counts.labs = labs.len() as u64;
            for lab in labs.values() {
                counts.links += lab.links.len() as u64;
                for node in lab.nodes.values() {
                    let state = node.with(|record| record.state.to_string());
                    *counts.nodes_by_state.entry(state).or_default() += 1;
                }
            }
        }
        let images = self.inner.catalogue.list();
        counts.images = images.len() as u64;
        counts.image_bytes = images.iter().map(|image| image.size_bytes).sum();
        counts.events_total = self.inner.events.last_seq();
        counts.locks = self.inner.locks.stats();
        counts
    }
}

/// Six descriptors a node is the budget.
fn descriptors() -> Check {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    check(
        "open files",
        most >= 8192,
        format!("at most {most}, enough for {} nodes", most / 6),
        "raise LimitNOFILE of the daemon's unit",
    )
}

/// Which managed queues a rate can have.
fn managed_queues() -> vnode_network::Result<Check> {
    let mut found = Vec::new();
    for aqm in Aqm::ALL {
        if vnode_network::impair::has_aqm(aqm)? {
            found.push(aqm.name());
        }
    }
    let text = if found.is_empty() { "no".to_owned() } else { found.join(" ") };
    let mend = "`modprobe -a sch_red sch_codel sch_fq_codel sch_pie`, or a kernel with them built in (Debian's has them)";
    Ok(check("kernel: managed queues (aqm)", found.len() == Aqm::ALL.len(), text, mend))
}
