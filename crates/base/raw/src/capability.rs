//! Capabilities: capabilities(7), by name and number.

/// Names without `CAP_`, at their numbers (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The bit of a name; with or without `CAP_`, in any case.
#[must_use]
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|n| *n == bare).map(|at| 1 << at)
}

/// The names in a set of bits, with `CAP_`; of one that is not known here, its number.
#[must_use]
pub fn names(bits: u64) -> Vec<String> {
    let numbers = (0..u64::BITS).filter(|number| bits & 1 << number != 0);
    let name = |number: u32| match NAMES.get(number as usize) {
        Some(name) => format!("CAP_{name}"),
        None => number.to_string(),
    };
    numbers.map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        assert_eq!(bit("CHOWN"), Some(1));
        assert_eq!(bit("CAP_NET_ADMIN"), Some(1 << 12));
        assert_eq!(bit("sys_admin"), Some(1 << 21));
        assert_eq!(bit("CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(bit("NONSENSE"), None);
        assert_eq!(names(1 | 1 << 12 | 1 << 63), ["CAP_CHOWN", "CAP_NET_ADMIN", "63"]);
    }
}
