//! What a program that is confined may not: the child's part. It is in namespaces of its own already, of which a sandbox has
//! three: mounts, network, and System V's and POSIX' means to share.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_int},
    ptr,
};

use vnode_raw::call;

use crate::clone::Confined;

/// Bounds of each folder of its own: files are memory.
const BOUNDS: &CStr = c"mode=1777,size=64M,nr_inodes=16384";

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const AT_RECURSIVE: c_int = 0x8000;
const READ_ONLY: u64 = 1; // MOUNT_ATTR_RDONLY

/// Files, and what capabilities any program after it can have. To be called before its user is changed.
pub(crate) fn confine(confined: &Confined) -> Result<(), c_int> {
    if confined.spaces & libc::CLONE_NEWNS != 0 {
        confine_files(confined)?;
    }
    for number in (0..64).filter(|number| confined.capabilities & 1 << number == 0) {
        // SAFETY: changes an attribute of this process only.
        match unsafe { call!(libc::SYS_prctl, libc::PR_CAPBSET_DROP, number, 0, 0, 0) } {
            // The kernel has no more.
            Err(libc::EINVAL) => break,
            // Without new privileges nobody asks what they could be.
            Err(libc::EPERM) if confined.no_new_privileges => break,
            other => other?,
        };
    }
    if confined.capabilities != 0 {
        // SAFETY: as above. They outlive a change of the user.
        unsafe { call!(libc::SYS_prctl, libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }?;
    }
    Ok(())
}

/// Makes files read-only where that is asked for, but for the folders given and private ones. Needs CAP_SYS_ADMIN.
fn confine_files(confined: &Confined) -> Result<(), c_int> {
    let Confined { read_only, writable, covered, devices, private, .. } = confined;
    // Nothing of what follows may be seen outside.
    attributes(c"/", AT_RECURSIVE, [0, 0, libc::MS_PRIVATE])?;
    for (path, number) in devices {
        open_to_all(path, *number)?;
    }
    for (what, on) in covered {
        mount(Some(what), on, None, libc::MS_BIND, None)?;
    }
    for path in read_only.iter().filter(|path| path.as_c_str() != c"/") {
        mount(Some(path), path, None, libc::MS_BIND | libc::MS_REC, None)?;
    }
    for folder in writable {
        mount(Some(folder), folder, None, libc::MS_BIND, None)?;
    }
    for path in read_only {
        attributes(path, AT_RECURSIVE, [READ_ONLY, 0, 0])?;
    }
    for folder in *private {
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        match mount(Some(c"tmpfs"), folder, Some(c"tmpfs"), flags, Some(BOUNDS)) {
            // Not on this machine.
            Ok(()) | Err(libc::ENOENT | libc::ENOTDIR) => {}
            Err(error) => return Err(error),
        }
    }
    for folder in writable {
        attributes(folder, 0, [0, READ_ONLY, 0])?;
    }
    Ok(())
}

/// Puts a device file that everybody may open in the place of one of the same number. The host's own stays as it is, and no
/// folder of the host's has to take device files: this one lies in memory, below a mount that is taken away again.
fn open_to_all(path: &CStr, number: u32) -> Result<(), c_int> {
    let (folder, file) = (c"/tmp", c"/tmp/device");
    mount(Some(c"tmpfs"), folder, Some(c"tmpfs"), libc::MS_NOSUID, Some(c"mode=755,nr_inodes=8"))?;
    let mode = libc::S_IFCHR | 0o666;
    // SAFETY: the path lives through the call, which makes a file in memory of this process' own.
    unsafe { call!(libc::SYS_mknodat, libc::AT_FDCWD, file.as_ptr(), mode, number) }?;
    // The mask of this process took something away.
    // SAFETY: as above.
    unsafe { call!(libc::SYS_fchmodat, libc::AT_FDCWD, file.as_ptr(), 0o666) }?;
    mount(Some(file), path, None, libc::MS_BIND, None)?;
    // SAFETY: the path lives through the call, which unmounts in this process' own namespace.
    unsafe { call!(libc::SYS_umount2, folder.as_ptr(), libc::MNT_DETACH) }.map(drop)
}

/// Gives up every capability but those left, for ever, and the system calls that are filtered. To be called as whom the
/// program runs as.
pub(crate) fn give_up(confined: &Confined) -> Result<(), c_int> {
    let filter = &confined.filter;
    // `struct __user_cap_header_struct` of this process, and two `__user_cap_data_struct` of three words each: effective,
    // permitted, inheritable.
    let (low, high) = (confined.capabilities as u32, (confined.capabilities >> 32) as u32);
    let (header, left) = ([CAPABILITY_VERSION, 0], [low, low, low, high, high, high]);
    // SAFETY: both live through the call and have the shape of this version.
    unsafe { call!(libc::SYS_capset, header.as_ptr(), left.as_ptr()) }?;
    for number in (0..64).filter(|number| confined.capabilities & 1 << number != 0) {
        let raise = libc::PR_CAP_AMBIENT_RAISE;
        // SAFETY: changes an attribute of this process only. The program has them whatever its user and its file.
        unsafe { call!(libc::SYS_prctl, libc::PR_CAP_AMBIENT, raise, number, 0, 0) }?;
    }
    if confined.no_new_privileges {
        // SAFETY: as above.
        unsafe { call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }?;
    }
    if filter.is_empty() {
        return Ok(());
    }
    // Not longer: it was looked at when it was given. `sock_filter` is eight bytes like u64, and needs less alignment.
    let program =
        libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: the program and the filter it points to live through the call; the kernel only reads them. It is this process'
    // own, not that of those whose memory it borrows.
    unsafe { call!(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &raw const program) }?;
    Ok(())
}

const SECCOMP_SET_MODE_FILTER: c_int = 1;

/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

fn attributes(path: &CStr, flags: c_int, [set, clear, propagation]: [u64; 3]) -> Result<(), c_int> {
    let attributes = Attributes { set, clear, propagation, user_namespace: 0 };
    let (here, size) = (libc::AT_FDCWD, size_of::<Attributes>());
    // SAFETY: both live through the call, which changes mounts of this process' own namespace.
    unsafe {
        call!(libc::SYS_mount_setattr, here, path.as_ptr(), flags, &raw const attributes, size)
    }
    .map(drop)
}

fn mount(
    what: Option<&CStr>,
    on: &CStr,
    kind: Option<&CStr>,
    flags: u64,
    options: Option<&CStr>,
) -> Result<(), c_int> {
    let text = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: all live through the call, which mounts in this process' own namespace.
    unsafe {
        call!(libc::SYS_mount, text(what), on.as_ptr(), text(kind), flags as usize, text(options))
    }
    .map(drop)
}
