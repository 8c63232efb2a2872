//! What takes privileges away: control groups, limits, ids, capabilities, seccomp.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use vnode_monitor::wire::{Caps, Process};

use super::user::User;
use crate::fail::{Doing, Fail, Result, checked};

/// Enters groups of the v1 hierarchies; `0` is the process that writes.
pub(super) fn join_cgroups(procs: &[String]) -> Result<()> {
    for path in procs {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        file.and_then(|mut f| io::Write::write_all(&mut f, b"0"))
            .doing(|| format!("enter cgroup {path}"))?;
    }
    Ok(())
}

/// Whether this program was given a share of the machine's mercy when memory is short (`oom_score_adj` of `proc(5)`), which
/// its unit gives the daemon. Learned once: nearly everywhere there is nothing to put back.
static FAVOURED: AtomicBool = AtomicBool::new(false);

/// See [`FAVOURED`].
pub(crate) fn learn_favour() {
    let favoured =
        std::fs::read("/proc/self/oom_score_adj").is_ok_and(|score| score.starts_with(b"-"));
    FAVOURED.store(favoured, Ordering::Relaxed);
}

/// When memory is short a node is as any program, though the daemon and its monitors are not.
pub(super) fn forgo_favour() -> Result<()> {
    if !FAVOURED.load(Ordering::Relaxed) {
        return Ok(());
    }
    std::fs::write("/proc/self/oom_score_adj", "0").doing(|| "set oom_score_adj")
}

/// In a new user namespace a process is nobody until it becomes its root.
pub(super) fn become_root_inside() -> Result<()> {
    set_ids(0, 0, &[]).doing(|| "become root of the user namespace")?;
    // A change of ids may make a process readable by others; this one is still the monitor's program.
    // SAFETY: changes an attribute of this process only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    Ok(())
}

/// Becomes, outside, the user that is a node's root, and keeps every capability: an overlay writes to its upper
/// layer as the one who mounted it, and through a mapped mount only the node's own ids can be written.
pub(super) fn become_mapped_root(id: u32) -> Result<()> {
    let what = || format!("become user {id}");
    // SAFETY: keeps the permitted set over the change of ids.
    checked(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }.into()).doing(what)?;
    set_ids(id, id, &[]).doing(what)?;
    let (header, mut data) = (Header::OWN, [Data::default(), Data::default()]);
    // SAFETY: both live through the call and have the shape of this version.
    checked(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })
        .doing(what)?;
    for half in &mut data {
        half.effective = half.permitted;
    }
    // SAFETY: as above.
    checked(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
        .doing(what)
        .map(drop)
}

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

impl Header {
    /// `_LINUX_CAPABILITY_VERSION_3`, with two data of 32 bits each; of this process.
    const OWN: Self = Self { version: 0x2008_0522, pid: 0 };
}

/// `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // By raw system calls: those of the C library want to tell threads that this process does not have.
    // SAFETY: `groups` lives through the call.
    checked(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: plain system calls.
    checked(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: as above.
    checked(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Takes from this process everything its program is not given.
pub(super) fn confine(process: &Process, user: &User) -> Result<()> {
    for (resource, soft, hard) in &process.rlimits {
        let limit = libc::rlimit64 { rlim_cur: *soft, rlim_max: *hard };
        // SAFETY: `limit` lives through the call; no old value is asked for.
        checked(unsafe {
            libc::syscall(
                libc::SYS_prlimit64,
                0,
                *resource,
                &raw const limit,
                std::ptr::null_mut::<libc::rlimit64>(),
            )
        })
        .doing(|| format!("set resource limit {resource} to {soft}:{hard}"))?;
    }
    let filter = filter(&process.seccomp)?;
    // A filter needs either the right to set one, which goes with the capabilities, or the promise never
    // to gain privileges.
    if !process.no_new_privileges {
        install(&filter)?;
    }
    drop_bounding(process.caps.bounding)?;
    // SAFETY: keeps the permitted set over the change of ids; set_caps then narrows it.
    checked(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }.into())
        .doing(|| "keep capabilities")?;
    set_ids(user.uid, user.gid, &user.groups)
        .doing(|| format!("become user {}:{}", user.uid, user.gid))?;
    set_caps(process.caps)?;
    if process.no_new_privileges {
        // SAFETY: changes an attribute of this process only.
        checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())
            .doing(|| "set no_new_privs")?;
        install(&filter)?;
    }
    Ok(())
}

fn drop_bounding(keep: u64) -> Result<()> {
    for capability in 0..64_u64 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: changes an attribute of this process only.
        match checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }.into()) {
            Ok(_) => {}
            // The kernel knows no capability of this number, nor of any higher.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
            Err(e) => return Err(Fail(format!("drop capability {capability}: {e}"))),
        }
    }
    Ok(())
}

fn set_caps(caps: Caps) -> Result<()> {
    let header = Header::OWN;
    let half = |shift: u32| Data {
        effective: (caps.effective >> shift) as u32,
        permitted: (caps.permitted >> shift) as u32,
        inheritable: (caps.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: both live through the call and have the shape of this version.
    checked(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
        .doing(|| "set capabilities")?;
    for capability in (0..64_u64).filter(|c| caps.ambient & (1 << c) != 0) {
        let raise = libc::PR_CAP_AMBIENT_RAISE;
        // SAFETY: changes an attribute of this process only.
        let raised = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, capability, 0, 0) };
        checked(raised.into()).doing(|| format!("set ambient capability {capability}"))?;
    }
    Ok(())
}

/// Reads the program out of its hexadecimal text.
fn filter(text: &str) -> Result<Vec<u64>> {
    let bad = || Fail("seccomp program is damaged".to_owned());
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(bad()),
    };
    let (all, []) = text.as_bytes().as_chunks::<16>() else { return Err(bad()) };
    all.iter()
        .map(|digits| {
            let mut bytes = [0; 8];
            for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
                *byte = digit(*high)? << 4 | digit(*low)?;
            }
            Ok(u64::from_ne_bytes(bytes))
        })
        .collect()
}

fn install(filter: &[u64]) -> Result<()> {
    if filter.is_empty() {
        return Ok(());
    }
    let length = u16::try_from(filter.len()).doing(|| "seccomp program is too long")?;
    // `sock_filter` is eight bytes like u64, and needs less alignment.
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    // SAFETY: `program` and the filter it points to live through the call; the kernel only reads them.
    checked(unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    })
    .doing(|| "install the seccomp filter")
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_as_it_was_written() {
        let one = 0x0102_0304_0506_0708_u64;
        let text: String = one.to_ne_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(filter(&text).unwrap(), [one]);
        assert!(filter("zz").is_err());
        assert!(filter("zzzzzzzzzzzzzzzz").is_err());
        assert!(filter("").unwrap().is_empty());
    }
}
