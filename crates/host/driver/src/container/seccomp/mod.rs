//! The default seccomp profile, with the meaning that of Docker and containerd has: what is not listed fails
//! with EPERM, some calls come with a capability, `clone3` is "not there" so that C libraries use `clone`.
//!
//! A call that is newer than these tables is "not there" as well: programs that try it then do without, where a refusal would
//! be their end. As theirs have since 2023, io_uring is not listed: what goes through it is not seen by a filter.
//!
//! Narrower than theirs in one point: only the machine's own system calls pass; programs for its 32-bit
//! sister architectures need `seccomp: unconfined`.
//!
//! The program is a binary search over ranges of numbers, because the kernel runs a filter once for every
//! number when it is installed (to know which calls it need not ask about later): a list would cost half a
//! millisecond at each start of a node.

mod table;

use super::caps;

const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// What is done about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Return(u32),
    /// Allowed unless the low half of argument 0 is this.
    UnlessArgument(u32),
    /// Allowed when the low half of argument 0 is one of these.
    IfArgument(&'static [u32]),
    /// Allowed when no bit of this is set in the low half of argument 0.
    UnlessBits(u32),
}

/// Numbers of the x32 interface begin here, which a program finds to be refused.
const X32: u32 = 0x4000_0000;
/// Namespace flags of clone(2).
const NAMESPACES: u32 = 0x7e02_0000;
const AF_UNIX: u32 = 1;
const AF_VSOCK: u32 = 40;
/// `PER_LINUX`, `PER_LINUX32`, their `UNAME26` variants, and the question for the present one.
const PERSONALITIES: &[u32] = &[0, 8, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// The profile for a program with these capabilities, as the text the monitor takes.
pub(super) fn default_profile(capabilities: u64) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in assemble(&verdicts(capabilities)).into_iter().flat_map(bytes) {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text
}

/// The profile of a program beside a node, which reads what a guest wrote and needs files, memory, threads and unix sockets
/// for it: the default one without what changes who it is, its share of the machine, or another process, and without any
/// network. Instructions as `vnode_action::Sandbox` takes them.
#[must_use]
pub fn of_helper() -> Vec<u64> {
    let mut list = verdicts(0);
    list.retain(|(number, _)| !table::NO_HELPERS.contains(&i64::from(*number)));
    for (number, verdict) in &mut list {
        if [libc::SYS_socket, libc::SYS_socketpair].contains(&i64::from(*number)) {
            *verdict = Verdict::IfArgument(&[AF_UNIX]);
        }
    }
    assemble(&list).into_iter().map(|one| u64::from_ne_bytes(bytes(one))).collect()
}

/// An instruction as a `struct sock_filter`.
fn bytes([code, jt, jf, k]: Instruction) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&(code as u16).to_ne_bytes());
    bytes[2] = jt as u8;
    bytes[3] = jf as u8;
    bytes[4..].copy_from_slice(&k.to_ne_bytes());
    bytes
}

fn verdicts(capabilities: u64) -> Vec<(u32, Verdict)> {
    let has = |name: &str| caps::bit(name).is_some_and(|bit| capabilities & bit != 0);
    let mut list: Vec<(u32, Verdict)> = Vec::new();
    // Later entries win.
    let mut set = |number: i64, verdict| {
        let number = u32::try_from(number).expect("system call numbers are small");
        list.retain(|(n, _)| *n != number);
        list.push((number, verdict));
    };
    let allow = Verdict::Return(ALLOW);
    for number in table::ALWAYS {
        set(*number, allow);
    }
    set(libc::SYS_socket, Verdict::UnlessArgument(AF_VSOCK));
    set(libc::SYS_personality, Verdict::IfArgument(PERSONALITIES));
    set(libc::SYS_clone, Verdict::UnlessBits(NAMESPACES));
    set(libc::SYS_clone3, Verdict::Return(ERRNO | ENOSYS));
    for (name, numbers) in table::WITH_CAPABILITY {
        if has(name) {
            for number in *numbers {
                set(*number, allow);
            }
        }
    }
    list.sort_unstable_by_key(|(number, _)| *number);
    list
}

/// One instruction: code, jump if true, jump if false, operand.
type Instruction = [u32; 4];

const LOAD: u32 = 0x20;
const JUMP: u32 = 0x05;
const IF_EQUAL: u32 = 0x15;
const IF_AT_LEAST: u32 = 0x35;
const IF_ANY_BIT: u32 = 0x45;
const RETURN: u32 = 0x06;
/// Offsets in `struct seccomp_data`; the low half of argument 0 on little-endian machines.
const AT_NUMBER: u32 = 0;
const AT_ARCHITECTURE: u32 = 4;
const AT_ARGUMENT: u32 = 16;

fn assemble(verdicts: &[(u32, Verdict)]) -> Vec<Instruction> {
    // Ranges by their first number, gaps included.
    let refuse = Verdict::Return(ERRNO | EPERM);
    let mut ranges: Vec<(u32, Verdict)> = vec![(0, refuse)];
    let mut next = 0;
    let mut add = |from: u32, verdict: Verdict| match ranges.last_mut() {
        Some(last) if last.0 == from => last.1 = verdict,
        Some(last) if last.1 == verdict => {}
        _ => ranges.push((from, verdict)),
    };
    for (number, verdict) in verdicts {
        if *number > next {
            add(next, refuse);
        }
        add(*number, *verdict);
        next = number + 1;
    }
    let new = u32::try_from(table::LAST + 1).expect("system call numbers are small");
    add(next, refuse);
    add(new.max(next), Verdict::Return(ERRNO | ENOSYS));
    add(X32, refuse);
    let mut program = vec![
        [LOAD, 0, 0, AT_ARCHITECTURE],
        [IF_EQUAL, 1, 0, ARCHITECTURE],
        [RETURN, 0, 0, ERRNO | ENOSYS],
        [LOAD, 0, 0, AT_NUMBER],
    ];
    program.extend(search(&ranges));
    program
}

fn search(ranges: &[(u32, Verdict)]) -> Vec<Instruction> {
    if let [(_, verdict)] = ranges {
        return decide(*verdict);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (left, right) = (search(low), search(high));
    // Conditional jumps reach 255 instructions, the plain one any distance.
    let over = u32::try_from(left.len()).expect("a few hundred instructions");
    let mut program = vec![[IF_AT_LEAST, 0, 1, high[0].0], [JUMP, 0, 0, over]];
    program.extend(left);
    program.extend(right);
    program
}

fn decide(verdict: Verdict) -> Vec<Instruction> {
    let refuse = [RETURN, 0, 0, ERRNO | EPERM];
    let allow = [RETURN, 0, 0, ALLOW];
    let argument = [LOAD, 0, 0, AT_ARGUMENT];
    match verdict {
        Verdict::Return(value) => vec![[RETURN, 0, 0, value]],
        Verdict::UnlessArgument(value) => {
            vec![argument, [IF_EQUAL, 0, 1, value], refuse, allow]
        }
        Verdict::UnlessBits(bits) => vec![argument, [IF_ANY_BIT, 0, 1, bits], refuse, allow],
        Verdict::IfArgument(values) => {
            let mut program = vec![argument];
            for (at, value) in values.iter().enumerate() {
                let to_allow = u32::try_from(values.len() - at).expect("a few values");
                program.push([IF_EQUAL, to_allow, 0, *value]);
            }
            program.extend([refuse, allow]);
            program
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(program: &[Instruction], architecture: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut value) = (0_usize, 0);
        for _ in 0..4096 {
            let [code, jt, jf, k] = program[at];
            at += 1;
            match code {
                LOAD => {
                    value = match k {
                        AT_ARCHITECTURE => architecture,
                        AT_NUMBER => number,
                        _ => argument,
                    }
                }
                JUMP => at += k as usize,
                IF_EQUAL => at += if value == k { jt } else { jf } as usize,
                IF_AT_LEAST => at += if value >= k { jt } else { jf } as usize,
                IF_ANY_BIT => at += if value & k != 0 { jt } else { jf } as usize,
                _ => return k,
            }
        }
        panic!("does not end");
    }

    #[test]
    fn every_number_gets_the_verdict_of_the_list() {
        let list = verdicts(0);
        let program = assemble(&list);
        assert!(program.len() < 1000, "{} instructions", program.len());
        for number in 0..1200_u32 {
            let got = run(&program, ARCHITECTURE, number, 0);
            let listed = list.iter().find(|(n, _)| *n == number).map(|(_, v)| *v);
            let expected = match listed {
                Some(Verdict::Return(value)) => value,
                // Argument 0 passes each of the three conditions.
                Some(_) => ALLOW,
                None if number > 466 => ERRNO | ENOSYS,
                None => ERRNO | EPERM,
            };
            assert_eq!(got, expected, "number {number}");
        }
        assert_eq!(run(&program, ARCHITECTURE, 0x3fff_ffff, 0), ERRNO | ENOSYS);
        for number in [0x4000_0000, 0x4000_01d3, u32::MAX] {
            assert_eq!(run(&program, ARCHITECTURE, number, 0), ERRNO | EPERM);
        }
        // fchmodat2(2), which C libraries try first; io_uring_setup(2).
        assert_eq!(run(&program, ARCHITECTURE, 452, 0), ALLOW);
        assert_eq!(run(&program, ARCHITECTURE, 425, 0), ERRNO | EPERM);
        assert_eq!(run(&program, 3, 0, 0), ERRNO | ENOSYS);
    }

    #[test]
    fn conditions_look_at_their_argument() {
        let program = assemble(&verdicts(0));
        let call = |number: i64, argument| run(&program, ARCHITECTURE, number as u32, argument);
        assert_eq!(call(libc::SYS_socket, 2), ALLOW);
        assert_eq!(call(libc::SYS_socket, AF_VSOCK), ERRNO | EPERM);
        assert_eq!(call(libc::SYS_clone, 0x11), ALLOW);
        assert_eq!(call(libc::SYS_clone, libc::CLONE_NEWUSER as u32), ERRNO | EPERM);
        assert_eq!(call(libc::SYS_personality, 8), ALLOW);
        assert_eq!(call(libc::SYS_personality, 0xffff_ffff), ALLOW);
        assert_eq!(call(libc::SYS_personality, 0x0040_0000), ERRNO | EPERM);
        assert_eq!(call(libc::SYS_clone3, 0), ERRNO | ENOSYS);
        assert_eq!(call(libc::SYS_unshare, 0), ERRNO | EPERM);
        assert_eq!(call(libc::SYS_reboot, 0), ERRNO | EPERM);
    }

    #[test]
    fn a_helper_has_files_and_no_power_over_others() {
        let program: Vec<Instruction> = of_helper()
            .into_iter()
            .map(|one| {
                let bytes = one.to_ne_bytes();
                let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
                let k = u32::from_ne_bytes(bytes[4..].try_into().unwrap());
                [code.into(), bytes[2].into(), bytes[3].into(), k]
            })
            .collect();
        let call = |number: i64, argument| run(&program, ARCHITECTURE, number as u32, argument);
        for number in [libc::SYS_openat, libc::SYS_pread64, libc::SYS_execve, libc::SYS_chdir] {
            assert_eq!(call(number, 0), ALLOW, "{number}");
        }
        for number in table::NO_HELPERS {
            assert_eq!(call(*number, 0), ERRNO | EPERM, "{number}");
        }
        assert_eq!(call(libc::SYS_socketpair, AF_UNIX), ALLOW);
        assert_eq!(call(libc::SYS_socket, libc::AF_INET as u32), ERRNO | EPERM);
        assert_eq!(call(libc::SYS_socket, libc::AF_NETLINK as u32), ERRNO | EPERM);
        assert_eq!(call(libc::SYS_mount, 0), ERRNO | EPERM);
        assert_eq!(call(libc::SYS_clone, libc::CLONE_NEWUSER as u32), ERRNO | EPERM);
    }

    #[test]
    fn capabilities_bring_their_calls() {
        let program = assemble(&verdicts(caps::bit("SYS_ADMIN").unwrap()));
        let call = |number: i64, argument| run(&program, ARCHITECTURE, number as u32, argument);
        assert_eq!(call(libc::SYS_clone, libc::CLONE_NEWUSER as u32), ALLOW);
        assert_eq!(call(libc::SYS_clone3, 0), ALLOW);
        assert_eq!(call(libc::SYS_mount, 0), ALLOW);
        assert_eq!(call(libc::SYS_reboot, 0), ERRNO | EPERM);
    }
}
