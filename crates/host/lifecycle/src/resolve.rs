//! From a node of a topology and its image to the definition a driver is given.

use std::path::{Path, PathBuf};

use vnode_driver::{
    Device, IdMap, Limits, Mount, MountKind, NetworkMode, NodeSpec, Over, PidMode, Process,
    Seccomp, Security,
};
use vnode_image::ImageConfig;
use vnode_topology::{Lab, Node};

use crate::error::{Error, Result};
use crate::record::NodeRecord;
use crate::signal;

/// What every container may do by default: docker's set, and NET_ADMIN, because a node of a network lab
/// configures its own interfaces. All of it counts within the node's own namespaces only.
pub const CAPABILITIES: [&str; 15] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Users of a node with a user namespace begin here on the host, 65,536 for each vmid.
const FIRST_ID: u32 = 0x4000_0000;
const IDS: u32 = 65_536;

/// What an image gives to its nodes.
#[derive(Debug, Clone, Default)]
pub struct Base {
    /// Uppermost first.
    pub layers: Vec<PathBuf>,
    /// What is to be mounted over them, in order.
    pub over: Vec<Over>,
    pub config: ImageConfig,
}

/// Files of the lab that are bound into the node.
#[derive(Debug)]
pub struct Files<'a> {
    pub hosts: &'a Path,
    pub resolver: &'a Path,
    pub hostname: &'a Path,
    /// Folder of the node's named volumes.
    pub volumes: &'a Path,
}

/// Makes the definition; every default is filled in here and nowhere else.
pub fn spec(
    lab: &Lab,
    node: &Node,
    record: &NodeRecord,
    base: &Base,
    files: &Files<'_>,
    user_namespaces: bool,
) -> Result<NodeSpec> {
    let network = network(lab, node)?;
    let pids = pids(node)?;
    // A user namespace wants the others to be its own.
    let own = network == NetworkMode::Own && pids == PidMode::Own;
    let mut mounts = Vec::new();
    if network != NetworkMode::Host {
        for (source, target) in [
            (files.hosts, "/etc/hosts"),
            (files.resolver, "/etc/resolv.conf"),
            (files.hostname, "/etc/hostname"),
        ] {
            mounts.push(Mount {
                target: target.to_owned(),
                kind: MountKind::Bind { source: source.to_owned(), recursive: false },
                read_only: true,
                options: Vec::new(),
            });
        }
    }
    for bind in &node.binds {
        mounts.push(self::bind(node, bind, files.volumes)?);
    }
    for tmpfs in &node.tmpfs {
        let (target, options) = tmpfs.split_once(':').unwrap_or((tmpfs, ""));
        mounts.push(Mount {
            target: target.to_owned(),
            kind: MountKind::Tmpfs,
            read_only: false,
            options: options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect(),
        });
    }
    Ok(NodeSpec {
        lab: record.lab.clone(),
        node: record.node.clone(),
        vmid: record.vmid,
        uuid: record.uuid.clone(),
        hostname: node.hostname.clone().unwrap_or_else(|| node.name.clone()),
        layers: base.layers.clone(),
        over: base.over.clone(),
        read_only_root: false,
        process: process(node, &base.config)?,
        mounts,
        sysctls: node.sysctls.clone(),
        devices: node
            .devices
            .iter()
            .map(|device| Device {
                source: device.host.clone(),
                target: device.node.to_string_lossy().into_owned(),
                access: device.permissions.clone(),
                mode: None,
            })
            .collect(),
        security: security(node, record.vmid, user_namespaces && own)?,
        limits: Limits {
            memory_bytes: node.resources.memory_bytes,
            cpus: node.resources.cpu,
            cpu_set: node.resources.cpu_set.clone(),
            pids: node.resources.pids,
            memory_high_bytes: node.resources.memory_high_bytes,
            swap_bytes: node.resources.swap_bytes,
            cpu_weight: node.resources.cpu_weight,
            shm_bytes: node.shm_size_bytes,
        },
        network,
        pids,
        stop_signal: stop_signal(base.config.stop_signal.as_deref())?,
        stop_grace_ms: 10_000,
        log_limit_bytes: 10 << 20,
        mark: String::new(),
        machine: None,
        domain: None,
    })
}

/// The least definition by which a driver finds and removes what a node left: a crash may come before the
/// whole one is known.
pub fn skeleton(record: &NodeRecord) -> NodeSpec {
    NodeSpec::bare(&record.lab, &record.node, record.vmid, &record.uuid)
}

fn network(lab: &Lab, node: &Node) -> Result<NetworkMode> {
    use vnode_topology::NetworkMode as Asked;
    Ok(match &node.network_mode {
        Asked::Management | Asked::None => NetworkMode::Own,
        Asked::Host => NetworkMode::Host,
        Asked::Node(other) => NetworkMode::Node(other.clone()),
        Asked::Container(name) => {
            let other = lab.nodes.iter().find(|other| lab.full_name(&other.name) == *name);
            match other {
                Some(other) => NetworkMode::Node(other.name.clone()),
                None => {
                    return Err(Error::usage(format!(
                        "node `{}`: `network-mode: container:{name}` names no node of this lab",
                        node.name
                    )));
                }
            }
        }
    })
}

fn pids(node: &Node) -> Result<PidMode> {
    use vnode_topology::PidMode as Asked;
    Ok(match &node.pid_mode {
        None => PidMode::Own,
        Some(Asked::Host) => PidMode::Host,
        Some(Asked::Node(other)) => PidMode::Node(other.clone()),
        Some(Asked::Container(name)) => {
            return Err(Error::usage(format!(
                "node `{}`: `pid-mode: container:{name}` names no node of this lab",
                node.name
            )));
        }
    })
}

fn process(node: &Node, image: &ImageConfig) -> Result<Process> {
    let words = |key: &str, text: &str| {
        shlex::split(text).ok_or_else(|| {
            Error::usage(format!(
                "node `{}`: `{key}: {text}` has an open quote or ends in a backslash",
                node.name
            ))
        })
    };
    let entrypoint = match &node.entrypoint {
        Some(text) => words("entrypoint", text)?,
        None => image.entrypoint.clone(),
    };
    let command = match &node.cmd {
        Some(text) => words("cmd", text)?,
        // As docker does: an entrypoint of the node's own leaves the image's arguments out.
        None if node.entrypoint.is_some() => Vec::new(),
        None => image.cmd.clone(),
    };
    let argv: Vec<String> = entrypoint.into_iter().chain(command).collect();
    let tty = !argv.is_empty();
    let mut env: Vec<String> = Vec::new();
    let mut set = |assignment: String| {
        let name = assignment.split('=').next().unwrap_or_default();
        let prefix = format!("{name}=");
        match env.iter_mut().find(|other| other.starts_with(&prefix)) {
            Some(other) => *other = assignment,
            None => env.push(assignment),
        }
    };
    set(PATH.to_owned());
    set(format!("HOSTNAME={}", node.hostname.as_ref().unwrap_or(&node.name)));
    set("HOME=/root".to_owned());
    if tty {
        set("TERM=xterm".to_owned());
    }
    for assignment in &image.env {
        set(assignment.clone());
    }
    for (name, value) in &node.env {
        set(format!("{name}={value}"));
    }
    Ok(Process {
        argv,
        env,
        cwd: if image.workdir.is_empty() { "/".to_owned() } else { image.workdir.clone() },
        user: node.user.clone().unwrap_or_else(|| image.user.clone()),
        tty,
    })
}

fn bind(node: &Node, bind: &vnode_topology::Bind, volumes: &Path) -> Result<Mount> {
    let target = bind.destination.to_string_lossy().into_owned();
    let source = match (&bind.source, &bind.volume) {
        // Made with the node, below; the parser has seen to it that the name is one plain word.
        (_, Some(volume)) => volumes.join(volume),
        (Some(source), None) if source.exists() => source.clone(),
        (Some(source), None) => {
            return Err(Error::usage(format!(
                "node `{}`: bind source `{}` does not exist",
                node.name,
                source.display()
            )));
        }
        (None, None) => {
            let kind = MountKind::Tmpfs;
            return Ok(Mount { target, kind, read_only: false, options: Vec::new() });
        }
    };
    let mut recursive = true;
    let mut options = Vec::new();
    for option in &bind.options {
        match option.as_str() {
            // SELinux relabelling: no effect without SELinux, as with docker.
            "z" | "Z" | "rw" | "cached" | "delegated" | "consistent" | "rprivate" | "private" => {}
            "rbind" => recursive = true,
            "bind" => recursive = false,
            "nosuid" | "noexec" | "nodev" => options.push(option.clone()),
            other => {
                return Err(Error::usage(format!(
                    "node `{}`: bind option `{other}` of `{target}` is not supported",
                    node.name
                )));
            }
        }
    }
    Ok(Mount {
        target,
        kind: MountKind::Bind { source, recursive },
        read_only: bind.read_only,
        options,
    })
}

fn security(node: &Node, vmid: u32, user_namespaces: bool) -> Result<Security> {
    let mut capabilities: Vec<String> = CAPABILITIES.iter().map(|&name| name.to_owned()).collect();
    for name in &node.cap_add {
        let name = name.trim_start_matches("CAP_");
        if !capabilities.iter().any(|other| other == name) {
            capabilities.push(name.to_owned());
        }
    }
    let mut seccomp = Seccomp::Default;
    let mut no_new_privileges = false;
    for option in &node.security_opts {
        match option.as_str() {
            "seccomp=unconfined" | "seccomp:unconfined" => seccomp = Seccomp::Unconfined,
            "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true" => {
                no_new_privileges = true;
            }
            // No profile of these is set by us: unconfined is what the node already is.
            "apparmor=unconfined" | "apparmor:unconfined" | "label=disable" | "label:disable" => {}
            other => {
                return Err(Error::usage(format!(
                    "node `{}`: security option `{other}` is not supported",
                    node.name
                )));
            }
        }
    }
    let first = vmid.checked_mul(IDS).and_then(|offset| offset.checked_add(FIRST_ID));
    Ok(Security {
        privileged: node.privileged,
        capabilities,
        seccomp: if node.privileged { Seccomp::Unconfined } else { seccomp },
        user_namespace: match first {
            Some(first) if user_namespaces && !node.privileged => Some(IdMap { first, size: IDS }),
            Some(_) | None => None,
        },
        no_new_privileges,
    })
}

/// An image's; TERM where it has none.
fn stop_signal(text: Option<&str>) -> Result<i32> {
    let Some(text) = text else { return Ok(15) };
    signal::number(text)
        .ok_or_else(|| Error::usage(format!("stop signal `{text}` of the image is not known")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(entrypoint: &[&str], cmd: &[&str]) -> ImageConfig {
        ImageConfig {
            entrypoint: entrypoint.iter().map(|&w| w.to_owned()).collect(),
            cmd: cmd.iter().map(|&w| w.to_owned()).collect(),
            env: vec!["PATH=/x".into(), "A=image".into()],
            ..ImageConfig::default()
        }
    }

    #[test]
    fn an_entrypoint_of_the_node_leaves_the_images_arguments_out() {
        let mut node = Node::linux("n");
        let argv = |node: &Node| process(node, &image(&["/init"], &["a", "b"])).unwrap().argv;
        assert_eq!(argv(&node), ["/init", "a", "b"]);
        node.cmd = Some("c 'd e'".into());
        assert_eq!(argv(&node), ["/init", "c", "d e"]);
        node.entrypoint = Some("/mine".into());
        node.cmd = None;
        assert_eq!(argv(&node), ["/mine"]);
        node.cmd = Some("'open".into());
        assert!(process(&node, &image(&[], &[])).is_err());
    }

    #[test]
    fn the_nodes_environment_wins_over_the_images_and_every_name_stands_once() {
        let mut node = Node::linux("n");
        node.env.insert("A".into(), "node".into());
        let env = process(&node, &image(&[], &["/bin/sh"])).unwrap().env;
        assert!(env.contains(&"A=node".to_owned()) && env.contains(&"PATH=/x".to_owned()));
        assert_eq!(env.iter().filter(|e| e.starts_with("PATH=")).count(), 1);
    }

    #[test]
    fn nodes_are_unprivileged_unless_the_file_says_so() {
        let node = Node::linux("n");
        let made = security(&node, 3, true).unwrap();
        assert!(!made.privileged && made.seccomp == Seccomp::Default);
        assert!(!made.capabilities.contains(&"SYS_ADMIN".to_owned()));
        assert_eq!(made.user_namespace, Some(IdMap { first: FIRST_ID + 3 * IDS, size: IDS }));
    }

    #[test]
    fn stop_signals_are_read_by_name_and_number() {
        assert_eq!(stop_signal(Some("SIGQUIT")).unwrap(), 3);
        assert_eq!(stop_signal(Some("15")).unwrap(), 15);
        assert!(stop_signal(Some("SIGFOO")).is_err());
    }
}
