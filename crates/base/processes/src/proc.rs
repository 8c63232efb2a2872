//! `/proc`, read without more than a few bytes of memory: what a process is called, since when it is, whether it lives.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::ffi::OsStrExt,
};

use rustix::{
    fs::{Mode, OFlags, RawDir, SeekFrom},
    process::{Pid, PidfdFlags, Signal},
};

/// Descriptors kept open, at most.
const KEPT: usize = 4096;
/// Bytes of a command line that are looked at.
const COMMAND_LINE: usize = 16 << 10;

/// `PF_KTHREAD` of the kernel.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// What `/proc/PID/stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The letter of proc(5).
    pub state: u8,
    /// Its parent's number.
    pub parent: i32,
    /// The number of the process that made its session.
    pub session: i32,
    /// How many threads it has.
    pub threads: u64,
    /// Ticks since the machine started: with the pid, names a process of this boot.
    pub start: u64,
    /// Whether it is a thread of the kernel.
    pub kernel: bool,
    /// Resident pages.
    pub resident: u64,
    /// Ticks of processor time.
    pub ticks: u64,
    /// As `wait` has it; right for a zombie that we may look at.
    pub exit: u32,
}

impl Stat {
    /// Whether the thread group lives: a leader that has ended may leave other threads.
    pub fn alive(self) -> bool {
        !matches!(self.state, b'Z' | b'X') || self.threads > 1
    }
}

fn read_some(path: &str, into: &mut [u8]) -> io::Result<usize> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut filled = 0;
    while filled < into.len() {
        match rustix::io::read(&file, &mut into[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// The process's `stat`; `None` when it is gone.
pub fn stat(pid: i32) -> Option<Stat> {
    let mut buffer = [0; 1024];
    let read = read_some(&format!("/proc/{pid}/stat"), &mut buffer).ok()?;
    parse_stat(&buffer[..read])
}

/// The name may hold anything, `)` too: fields are counted from the last one.
pub fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(text.get(end + 2..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field 3 of proc(5) is the first here.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: i32::try_from(number(4)?).ok()?,
        session: i32::try_from(number(6)?).ok()?,
        threads: number(20)?,
        start: number(22)?,
        kernel: number(9)? & KERNEL_THREAD != 0,
        resident: number(24).unwrap_or(0),
        ticks: number(14).unwrap_or(0) + number(15).unwrap_or(0),
        exit: number(52).and_then(|code| u32::try_from(code).ok()).unwrap_or(0),
    })
}

/// The kernel's name of the process, at most 15 bytes.
pub fn comm(pid: i32) -> Option<Vec<u8>> {
    let mut buffer = [0; 64];
    let read = read_some(&format!("/proc/{pid}/comm"), &mut buffer).ok()?;
    Some(trimmed(&buffer[..read]).to_vec())
}

fn trimmed(comm: &[u8]) -> &[u8] {
    comm.strip_suffix(b"\n").unwrap_or(comm)
}

/// The arguments.
pub fn command_line(pid: i32) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; COMMAND_LINE];
    let Ok(read) = read_some(&format!("/proc/{pid}/cmdline"), &mut buffer) else {
        return Vec::new();
    };
    let bytes = &buffer[..read];
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// The path of the program.
pub fn exe(pid: i32) -> Option<Vec<u8>> {
    let link = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let bytes = link.as_os_str().as_bytes();
    Some(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes).to_vec())
}

/// Its user.
pub fn owner(pid: i32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid())
}

/// The text of its `cgroup`, cgroups(7); none when it is gone.
pub fn groups(pid: i32) -> Vec<u8> {
    // One that goes while it is read is gone.
    std::fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// Whether a process with that text of its [`groups`] is of a unit of systemd, which may be a slice.
pub fn is_of_unit(groups: &[u8], unit: &str) -> bool {
    let mut fields = groups.split(|byte| *byte == b'\n').map(|line| line.splitn(3, |b| *b == b':'));
    fields.any(|mut fields| {
        let (_, tree, path) = (fields.next(), fields.next(), fields.next());
        // systemd keeps its units in the tree of version 2, or in one of version 1 that is its own.
        let its = matches!(tree, Some(b"" | b"name=systemd"));
        let mut names = path.unwrap_or_default().split(|byte| *byte == b'/');
        // What could be a file of the tree itself has a `_` before it.
        its && names
            .any(|name| name == unit.as_bytes() || name.strip_prefix(b"_") == Some(unit.as_bytes()))
    })
}

/// Whether it lives in our own pid namespace, and not in one below it.
pub fn in_our_namespace(pid: i32) -> bool {
    let Ok(text) = std::fs::read(format!("/proc/{pid}/status")) else { return false };
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"));
    // Kernels without the line have no such namespaces.
    line.is_none_or(|line| {
        line.split(|byte| *byte == b'\t').filter(|word| !word.is_empty()).count() <= 1
    })
}

/// A namespace of process numbers, by the file that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Namespace {
    device: u64,
    inode: u64,
}

/// The namespace that a process is numbered in; `None` when it is gone.
pub fn namespace(pid: i32) -> Option<Namespace> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(format!("/proc/{pid}/ns/pid")).ok()?;
    Some(Namespace { device: metadata.dev(), inode: metadata.ino() })
}

/// The number of a process in its own namespace, which may lie below ours; `None` when it is gone.
pub fn inner_pid(pid: i32) -> Option<i32> {
    let path = format!("/proc/{pid}/status");
    let mut buffer = [0; 4096];
    let read = read_some(&path, &mut buffer).ok()?;
    match inner_of(pid, &buffer[..read], read == buffer.len()) {
        // One of many groups, which stand before it.
        None if read == buffer.len() => {
            let mut buffer = vec![0; 64 << 10];
            let read = read_some(&path, &mut buffer).ok()?;
            inner_of(pid, &buffer[..read], read == buffer.len())
        }
        inner => inner,
    }
}

/// What a `status` tells of it, which may be `cut` at its end.
fn inner_of(pid: i32, status: &[u8], cut: bool) -> Option<i32> {
    let mut lines = status.split_inclusive(|byte| *byte == b'\n');
    match lines.find_map(|line| line.strip_prefix(b"NSpid:")) {
        Some(numbers) if numbers.ends_with(b"\n") => {
            str::from_utf8(numbers).ok()?.split_ascii_whitespace().next_back()?.parse().ok()
        }
        None if !cut => {
            // Kernels without the line have no such namespaces.
            Some(pid)
        }
        _ => None,
    }
}

/// Whether a variable stands so in its environment.
pub fn has_variables(pid: i32, wanted: &[String]) -> bool {
    let Ok(text) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
    wanted.iter().all(|wanted| text.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes()))
}

/// The numbers of all processes; none where `/proc` cannot be listed.
pub fn all() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Sends the signals to those of these processes that are meant, but never to ourselves; gives how many there were.
pub fn signal_each(
    pids: impl Iterator<Item = i32>,
    is_meant: impl Fn(i32) -> bool,
    signals: &[Signal],
) -> usize {
    let own = std::process::id().cast_signed();
    let mut signalled = 0;
    for pid in pids {
        if pid != own
            && is_meant(pid)
            && let Some(number) = Pid::from_raw(pid)
            && let Ok(held) = rustix::process::pidfd_open(number, PidfdFlags::empty())
            // The number may have been given to another before we held it.
            && is_meant(pid)
        {
            for signal in signals {
                // It may be gone by now.
                let _ = rustix::process::pidfd_send_signal(&held, *signal);
            }
            signalled += 1;
        }
    }
    signalled
}

/// This boot's name.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

struct Seen {
    file: Option<OwnedFd>,
    comm: [u8; 16],
    length: u8,
    round: u32,
}

/// All processes with their names.
///
/// Who looks at all of them often keeps a descriptor of each open: a sixth of the price of opening, and never another
/// process under the same number. But a program that is started gets copies of all descriptors, to be closed one by one,
/// a thousand in a tenth of a millisecond: who is told of processes, and looks seldom, keeps none.
pub struct Table {
    folder: OwnedFd,
    names: Names,
}

struct Names {
    seen: HashMap<i32, Seen>,
    round: u32,
    most: usize,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("processes", &self.names.seen.len()).finish_non_exhaustive()
    }
}

impl Table {
    /// Knows nobody yet, and keeps descriptors.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn new() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open("/proc", flags, Mode::empty())?;
        let names = Names { seen: HashMap::new(), round: 0, most: 0 };
        let mut table = Self { folder, names };
        table.keep(true);
        Ok(table)
    }

    /// Whether descriptors are kept from now on.
    pub fn keep(&mut self, keep: bool) {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = limit.map_or(KEPT, |limit| usize::try_from(limit / 2).unwrap_or(KEPT));
        self.names.most = if keep { half.min(KEPT) } else { 0 };
        if !keep {
            self.names.seen.values_mut().for_each(|seen| seen.file = None);
        }
    }

    /// Looks at every process: `each` is told its pid, its name, and whether that is new.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn scan(&mut self, mut each: impl FnMut(i32, &[u8], bool)) -> io::Result<()> {
        self.names.round = self.names.round.wrapping_add(1);
        rustix::fs::seek(&self.folder, SeekFrom::Start(0))?;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 32 << 10];
        let mut directory = RawDir::new(self.folder.as_fd(), &mut buffer);
        while let Some(entry) = directory.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !name.first().is_some_and(u8::is_ascii_digit) {
                continue;
            }
            let Some(pid) = str::from_utf8(name).ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            self.names.look(&self.folder, pid, &mut each);
        }
        let round = self.names.round;
        self.names.seen.retain(|_, seen| seen.round == round);
        Ok(())
    }

    /// Looks at some processes only, as [`Table::scan`] does; the others are as they were.
    pub fn scan_these(
        &mut self,
        pids: impl IntoIterator<Item = i32>,
        mut each: impl FnMut(i32, &[u8], bool),
    ) {
        self.names.round = self.names.round.max(1);
        for pid in pids {
            self.names.look(&self.folder, pid, &mut each);
        }
    }

    /// Takes in what somebody else saw: the name that a process has now. One that is not in the table is left to the next
    /// look.
    pub fn learn(&mut self, pid: i32, comm: &[u8]) {
        if let Some(seen) = self.names.seen.get_mut(&pid) {
            seen.rename(comm);
        }
    }

    /// Who was there at the last look, under the names last seen or learnt. Some may have gone.
    pub fn known(&self) -> impl Iterator<Item = (i32, &[u8])> {
        self.names.seen.iter().map(|(pid, seen)| (*pid, seen.name()))
    }
}

impl Seen {
    fn name(&self) -> &[u8] {
        &self.comm[..usize::from(self.length)]
    }

    fn rename(&mut self, comm: &[u8]) {
        let comm = &comm[..comm.len().min(self.comm.len())];
        self.comm[..comm.len()].copy_from_slice(comm);
        self.length = comm.len() as u8;
    }
}

impl Names {
    fn look(&mut self, folder: &OwnedFd, pid: i32, each: &mut impl FnMut(i32, &[u8], bool)) {
        let mut comm = [0; 64];
        let kept = self.seen.get_mut(&pid);
        let through = kept.as_ref().and_then(|seen| seen.file.as_ref());
        let mut read = through.and_then(|file| rustix::io::pread(file, &mut comm, 0).ok());
        let mut opened = None;
        if read.is_none() {
            let path = format!("{pid}/comm");
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            // One that is gone by now is as if it had not been listed.
            let Ok(file) = rustix::fs::openat(folder, &path, flags, Mode::empty()) else {
                return;
            };
            read = rustix::io::pread(&file, &mut comm, 0).ok();
            opened = Some(file);
        }
        let Some(read) = read else { return };
        let comm = trimmed(&comm[..read]);
        let comm = &comm[..comm.len().min(16)];
        let room = self.seen.len() < self.most;
        let seen =
            self.seen.entry(pid).or_insert(Seen { file: None, comm: [0; 16], length: 0, round: 0 });
        // Another process under the number, or one we had not seen: its first round.
        let mut fresh = seen.round == 0 || opened.is_some() && seen.file.is_some();
        if opened.is_some() {
            seen.file = opened.filter(|_| room || seen.file.is_some());
        }
        fresh |= seen.name() != comm;
        seen.rename(comm);
        seen.round = self.round;
        each(pid, comm, fresh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pw_39_a_name_may_hold_brackets_and_blanks() {
        let text = b"42 (a) b (c) S 7 1 1 0 -1 4194560 1 0 0 0 3 4 0 0 20 0 2 0 8899 1000 11 0";
        let stat = parse_stat(text).expect("it is a stat");
        assert_eq!((stat.state, stat.parent, stat.threads, stat.start), (b'S', 7, 2, 8899));
        assert!(!stat.kernel && stat.alive());
        assert_eq!((stat.ticks, stat.resident), (7, 11));
    }

    #[test]
    fn a_unit_is_one_name_of_the_path_in_systemds_tree() {
        let of = |groups: &str, unit| is_of_unit(groups.as_bytes(), unit);
        let pure = "0::/system.slice/system-getty.slice/getty@tty1.service/sub\n";
        assert!(of(pure, "getty@tty1.service") && of(pure, "system.slice"));
        assert!(!of(pure, "tty1.service") && !of(pure, "getty@tty1.servic"));
        let hybrid = "5:cpu:/x.service\n1:name=systemd:/a.service\n0::/b.service\n";
        assert!(of(hybrid, "a.service") && of(hybrid, "b.service") && !of(hybrid, "x.service"));
        assert!(of("0::/system.slice/_cpu.service\n", "cpu.service"));
        assert!(!of("", "a.service") && !of("0::/\n", "a.service"));
    }

    #[test]
    fn a_number_that_was_cut_off_is_not_taken_for_the_hosts() {
        assert_eq!(inner_of(70, b"Groups:\t1\nNSpid:\t70\t17\nX:\t1\n", true), Some(17));
        assert_eq!(inner_of(70, b"Groups:\t1\nNSpid:\t70\t1", true), None);
        assert_eq!(inner_of(70, b"Groups:\t1 2 3", true), None);
        assert_eq!(inner_of(70, b"Groups:\t1\n", false), Some(70));
        let own = std::process::id().cast_signed();
        assert!(inner_pid(own).is_some());
    }

    #[test]
    fn a_scan_finds_ourselves_and_says_what_is_new_once() {
        let mut table = Table::new().expect("/proc is there");
        let own = std::process::id().cast_signed();
        let mut first = 0;
        table
            .scan(|pid, _, fresh| first += i32::from(pid == own && fresh))
            .expect("it can be read");
        let (mut seen, mut fresh_again) = (0, 0);
        table
            .scan(|pid, _, fresh| {
                seen += i32::from(pid == own);
                fresh_again += i32::from(pid == own && fresh);
            })
            .expect("it can be read");
        assert_eq!((first, seen, fresh_again), (1, 1, 0));
    }

    #[test]
    fn a_table_that_keeps_no_descriptors_has_none_and_sees_the_same() {
        let mut table = Table::new().expect("/proc is there");
        let held = |table: &Table| table.names.seen.values().filter(|s| s.file.is_some()).count();
        let mut looks = [Vec::new(), Vec::new(), Vec::new()];
        let own = std::process::id().cast_signed();
        let mut look = |table: &mut Table, into: usize| {
            let each = |pid, _: &[u8], fresh| {
                if pid == own {
                    looks[into].push(fresh);
                }
            };
            table.scan(each).expect("it can be read");
        };
        look(&mut table, 0);
        assert_ne!(held(&table), 0);
        table.keep(false);
        look(&mut table, 1);
        assert_eq!(held(&table), 0);
        table.keep(true);
        look(&mut table, 2);
        assert_ne!(held(&table), 0, "they are opened for the look and kept");
        assert_eq!(looks, [vec![true], vec![false], vec![false]]);
    }

    #[test]
    fn a_name_that_was_learnt_is_known_and_not_new() {
        let mut table = Table::new().expect("/proc is there");
        let own = std::process::id().cast_signed();
        table.learn(own, b"nobody-yet");
        assert_eq!(table.known().count(), 0);
        table.scan_these([own], |_, _, _| {});
        table.learn(own, b"a-name-that-is-longer-than-it-may-be");
        assert_eq!(table.known().collect::<Vec<_>>(), [(own, &b"a-name-that-is-l"[..])]);
        let mut fresh = false;
        table.scan_these([own], |_, _, new| fresh = new);
        assert!(fresh, "it is called otherwise");
    }
}
