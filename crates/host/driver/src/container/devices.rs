//! Which devices a node may use: nodes made in its `/dev`, and the kernel's own confinement.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, PoisonError};

use vnode_monitor::wire;

use super::ContainerDriver;
use super::cgroup::Group;
use crate::{Error, NodeSpec, Result};

/// One rule of the device confinement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Rule {
    /// `c` or `b`.
    pub(super) kind: char,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    /// Subset of `rwm`.
    pub(super) access: String,
}

/// What every node has: `(name, major, minor)`.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

pub(super) fn links() -> Vec<(String, String)> {
    [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/core", "/proc/kcore"),
        ("/dev/ptmx", "pts/ptmx"),
    ]
    .map(|(link, to)| (link.to_owned(), to.to_owned()))
    .to_vec()
}

/// Device nodes to make, and the rules that go with them.
pub(super) fn of(spec: &NodeSpec) -> Result<(Vec<wire::Device>, Vec<Rule>)> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let mut nodes: Vec<wire::Device> = DEFAULT
        .iter()
        .map(|(name, major, minor)| wire::Device {
            path: format!("/dev/{name}"),
            kind: 'c',
            major: *major,
            minor: *minor,
            mode: 0o666,
            host: format!("/dev/{name}"),
            owner: (0, 0),
        })
        .collect();
    let rule =
        |kind, major, minor, access: &str| Rule { kind, major, minor, access: access.to_owned() };
    let mut rules = vec![rule('c', None, None, "m"), rule('b', None, None, "m")];
    rules.extend(DEFAULT.iter().map(|(_, a, b)| rule('c', Some(*a), Some(*b), "rwm")));
    rules.push(rule('c', Some(5), Some(1), "rwm"));
    rules.push(rule('c', Some(5), Some(2), "rwm"));
    rules.push(rule('c', Some(136), None, "rwm"));
    for device in &spec.devices {
        let source = device.source.display().to_string();
        let invalid = |what: String| Error::Invalid { node: spec.node.clone(), what };
        let found = std::fs::metadata(&device.source)
            .map_err(|e| invalid(format!("device {source}: {e}")))?;
        let kind = if found.file_type().is_char_device() {
            'c'
        } else if found.file_type().is_block_device() {
            'b'
        } else {
            return Err(invalid(format!("device {source} is not a device")));
        };
        if device.access.is_empty() || device.access.chars().any(|c| !"rwm".contains(c)) {
            return Err(invalid(format!(
                "device {source}: access `{}` is not made of r, w and m",
                device.access
            )));
        }
        let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
        nodes.push(wire::Device {
            path: device.target.clone(),
            kind,
            major,
            minor,
            mode: device.mode.unwrap_or(found.mode()) & 0o777,
            host: source,
            owner: (found.uid(), found.gid()),
        });
        rules.push(rule(kind, Some(major), Some(minor), &device.access));
    }
    Ok((nodes, rules))
}

impl ContainerDriver {
    /// Confines the devices of a node's group.
    pub(super) fn confine_devices(&self, spec: &NodeSpec, group: &Group) -> Result<()> {
        let Some(rules) = super::config::device_rules(spec)? else { return Ok(()) };
        let failed = |(doing, e)| Error::io(doing, e);
        let v2 = group.open_v2().map_err(failed)?;
        let why = match v2.map(|v2| self.confine_by_program(&rules, &v2)) {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => error.to_string(),
            None => "there is no cgroup v2 tree".to_owned(),
        };
        if group.confine_devices(&rules).map_err(failed)? {
            return Ok(());
        }
        Err(Error::Unsupported {
            node: spec.node.clone(),
            what: format!(
                "its devices cannot be confined: {why}, and no devices controller of cgroup v1; let the daemon use \
                 bpf(2) on a cgroup v2 tree, or make the node privileged"
            ),
        })
    }

    fn confine_by_program(&self, rules: &[Rule], v2: &OwnedFd) -> std::io::Result<()> {
        let program = {
            let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
            // More than a few come only from definitions that name devices; old ones are loaded again.
            if programs.len() > 16 {
                programs.clear();
            }
            match programs.get(rules) {
                Some(program) => Arc::clone(program),
                None => {
                    let program = Arc::new(load(rules)?);
                    programs.insert(rules.to_vec(), Arc::clone(&program));
                    program
                }
            }
        };
        attach(&program, v2)
    }
}

/// `struct bpf_insn`: code, registers (destination low), offset, immediate.
type Instruction = (u8, u8, i16, i32);

/// A program for `BPF_PROG_TYPE_CGROUP_DEVICE`: 1 allows, 0 refuses.
fn program(rules: &[Rule]) -> Vec<u64> {
    // Context in r1: access_type (access << 16 | kind), major, minor.
    let load = |to: u8, offset: i16| (0x61, to | (1 << 4), offset, 0);
    let mut code: Vec<Instruction> = vec![
        load(2, 0),
        (0xbf, 3 | (2 << 4), 0, 0), // r3 = r2
        (0x54, 2, 0, 0xffff),       // w2 &= 0xffff: the kind
        (0x74, 3, 0, 16),           // w3 >>= 16: the access asked for
        load(4, 4),
        load(5, 8),
    ];
    for rule in rules {
        let mut access = 0;
        for (letter, bit) in [('m', 1), ('r', 2), ('w', 4)] {
            if rule.access.contains(letter) {
                access |= bit;
            }
        }
        let mut part: Vec<Instruction> = Vec::new();
        let skip = |part: &mut Vec<Instruction>, register, value: u32| {
            // Jump if not equal, 32 bits; the distance is filled in below.
            part.push((0x56, register, 0, value.cast_signed()));
        };
        skip(&mut part, 2, if rule.kind == 'b' { 1 } else { 2 });
        part.push((0xbc, 1 | (3 << 4), 0, 0)); // w1 = w3
        part.push((0x54, 1, 0, !access)); // what is asked for and not allowed
        skip(&mut part, 1, 0);
        if let Some(major) = rule.major {
            skip(&mut part, 4, major);
        }
        if let Some(minor) = rule.minor {
            skip(&mut part, 5, minor);
        }
        part.push((0xb7, 0, 0, 1)); // r0 = 1
        part.push((0x95, 0, 0, 0)); // exit
        let length = part.len();
        for (at, instruction) in part.iter_mut().enumerate() {
            if instruction.0 == 0x56 {
                instruction.2 = i16::try_from(length - at - 1).expect("a rule is short");
            }
        }
        code.extend(part);
    }
    code.push((0xb7, 0, 0, 0));
    code.push((0x95, 0, 0, 0));
    code.into_iter()
        .map(|(op, registers, offset, immediate)| {
            let mut bytes = [0; 8];
            bytes[0] = op;
            bytes[1] = registers;
            bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
            bytes[4..].copy_from_slice(&immediate.to_ne_bytes());
            u64::from_ne_bytes(bytes)
        })
        .collect()
}

fn bpf(command: libc::c_long, attributes: &mut [u64]) -> io::Result<libc::c_long> {
    // SAFETY: the attributes have the size given, zeros where the kernel knows more; pointers in them live
    // through the call (the callers hold what they point to).
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes))
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Loads the confinement these rules mean.
pub(super) fn load(rules: &[Rule]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const CGROUP_DEVICE: u64 = 15;
    let code = program(rules);
    let license = c"GPL";
    // prog_type u32, insn_cnt u32, insns u64, license u64.
    let count = code.len() as u64;
    let mut attributes =
        [CGROUP_DEVICE | (count << 32), code.as_ptr() as u64, license.as_ptr() as u64, 0, 0, 0];
    let fd = bpf(BPF_PROG_LOAD, &mut attributes)?;
    // SAFETY: the kernel has just given this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) })
}

/// Puts a confinement on a v2 group; it stays as long as the group does.
pub(super) fn attach(program: &OwnedFd, group: &OwnedFd) -> io::Result<()> {
    const BPF_PROG_ATTACH: libc::c_long = 8;
    const CGROUP_DEVICE: u64 = 6;
    const ALLOW_MULTI: u64 = 2;
    let low = |fd: &OwnedFd| u64::from(fd.as_raw_fd().cast_unsigned());
    // target_fd u32, attach_bpf_fd u32, attach_type u32, attach_flags u32.
    let mut attributes =
        [low(group) | (low(program) << 32), CGROUP_DEVICE | (ALLOW_MULTI << 32), 0, 0];
    bpf(BPF_PROG_ATTACH, &mut attributes).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_in_refusal_and_each_rule_jumps_to_the_next() {
        let rules = [
            Rule { kind: 'c', major: Some(1), minor: Some(3), access: "rw".into() },
            Rule { kind: 'b', major: None, minor: None, access: "m".into() },
        ];
        let code = program(&rules);
        // Six for the context; eight and six for the rules; two at the end.
        assert_eq!(code.len(), 6 + 8 + 6 + 2);
        assert_eq!(code[code.len() - 1].to_ne_bytes()[0], 0x95);
    }
}
