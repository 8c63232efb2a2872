//! The guest's name: which one it is, and the file it stands in.

use crate::detect::{Distribution, Family};
use crate::draft::Draft;
use crate::error::InputError;
use crate::text;
use crate::view::{View, ViewError};

/// Longest name the kernel takes, one byte less than its field.
const KERNEL_LIMIT: usize = 63;

/// True for a host name of RFC 1123: labels of letters, digits and hyphens, 253 bytes in all.
pub fn is_valid(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    !name.is_empty() && name.len() <= 253 && name.split('.').all(label)
}

/// Refuses a name that is none.
///
/// # Errors
/// [`InputError::Hostname`].
pub fn checked(name: &str) -> Result<&str, InputError> {
    if is_valid(name) { Ok(name) } else { Err(InputError::Hostname) }
}

/// What the running kernel is told: the first 63 bytes.
pub fn for_kernel(name: &str) -> &str {
    name.get(..KERNEL_LIMIT).unwrap_or(name)
}

/// The file of a family that holds the name, and the key in front of it, if any.
fn place(family: Family) -> (&'static str, Option<&'static str>) {
    match family {
        Family::RedHat => ("/etc/sysconfig/network", Some("HOSTNAME")),
        Family::Arch => ("/etc/rc.conf", Some("HOSTNAME")),
        Family::Gentoo => ("/etc/conf.d/hostname", Some("HOSTNAME")),
        Family::FreeBsd => ("/etc/rc.conf", Some("hostname")),
        Family::Suse => ("/etc/HOSTNAME", None),
        Family::Debian | Family::Other => (ETC_HOSTNAME, None),
    }
}

const ETC_HOSTNAME: &str = "/etc/hostname";

/// The name the guest has by its own files; without one, the distribution's name in lower case.
pub fn current(view: &dyn View, distribution: &Distribution) -> String {
    let (file, key) = place(distribution.family);
    let by_file = |file: &str, key: Option<&str>| {
        let content = view.read(file).ok().flatten()?;
        let name = match key {
            Some(key) => text::value(&content, key)
                .or_else(|| text::value(&content, &key.to_ascii_lowercase()))?,
            None => String::from_utf8_lossy(&content)
                .lines()
                .map(str::trim)
                .find(|line| !line.is_empty() && !line.starts_with('#'))?
                .to_owned(),
        };
        is_valid(&name).then_some(name)
    };
    by_file(file, key)
        .or_else(|| by_file(ETC_HOSTNAME, None))
        .unwrap_or_else(|| distribution.id.to_ascii_lowercase())
}

/// Writes the name where the distribution keeps it. FreeBSD's is written with its interfaces.
pub(crate) fn write(
    draft: &mut Draft<'_>,
    distribution: &Distribution,
    name: &str,
) -> Result<(), ViewError> {
    let systemd = draft.exists("/usr/lib/systemd/systemd") || draft.exists("/lib/systemd/systemd");
    match distribution.family {
        Family::Debian | Family::Other => draft.write(ETC_HOSTNAME, line(name)),
        Family::RedHat => {
            // Where `/etc/hostname` is, it is what counts; the old place is kept right for what still reads it.
            if systemd || draft.exists(ETC_HOSTNAME) {
                draft.write(ETC_HOSTNAME, line(name))?;
            }
            if !systemd || draft.exists("/etc/sysconfig/network") {
                let old = draft.read_or_empty("/etc/sysconfig/network")?;
                draft.write("/etc/sysconfig/network", redhat(&old, name))?;
            }
            Ok(())
        }
        Family::Suse => {
            if systemd || draft.exists(ETC_HOSTNAME) {
                draft.write(ETC_HOSTNAME, line(name))?;
            }
            // On newer systems this is a link to the file above.
            if !draft.is_link("/etc/HOSTNAME") {
                draft.write("/etc/HOSTNAME", line(name))?;
            }
            Ok(())
        }
        Family::Arch if systemd || !draft.exists("/etc/rc.conf") => {
            draft.write(ETC_HOSTNAME, line(name))
        }
        Family::Arch => {
            let old = draft.read_or_empty("/etc/rc.conf")?;
            draft.write("/etc/rc.conf", quoted(&old, name))
        }
        Family::Gentoo => draft.write("/etc/conf.d/hostname", gentoo(name)),
        Family::FreeBsd => Ok(()),
    }
}

/// Debian's and SUSE's file: the name and a line feed.
pub fn line(name: &str) -> Vec<u8> {
    format!("{name}\n").into_bytes()
}

/// Red Hat's `/etc/sysconfig/network` with the name replaced in place, or appended.
pub fn redhat(old: &[u8], name: &str) -> Vec<u8> {
    text::set(old, "HOSTNAME", &format!("HOSTNAME={name}"))
}

/// Arch's `/etc/rc.conf` with the name replaced in place, or appended.
pub fn quoted(old: &[u8], name: &str) -> Vec<u8> {
    text::set(old, "HOSTNAME", &format!("HOSTNAME=\"{name}\""))
}

/// Gentoo's `/etc/conf.d/hostname`.
pub fn gentoo(name: &str) -> Vec<u8> {
    format!("# Set to the hostname of this machine\nHOSTNAME=\"{name}\"\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_rfc_1123() {
        for good in ["a", "web1", "web-1.example.com", "3com", &"a".repeat(63)] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a_b",
            "a b",
            "a\n",
            "ä",
            &"a".repeat(64),
            &"a.".repeat(140),
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn the_kernel_gets_63_bytes() {
        let long = format!("{}.{}", "a".repeat(60), "b".repeat(60));
        assert_eq!(for_kernel(&long).len(), 63);
        assert_eq!(for_kernel("web1"), "web1");
    }

    #[test]
    fn hn_1_to_7_each_distribution_has_its_file() {
        let redhat_file = b"NETWORKING=yes\nNETWORKING_IPV6=yes\n";
        assert_eq!(
            redhat(redhat_file, "example"),
            b"NETWORKING=yes\nNETWORKING_IPV6=yes\nHOSTNAME=example\n",
            "HN-1"
        );
        let with = b"NETWORKING=yes\nHOSTNAME=other\nNETWORKING_IPV6=yes\n";
        assert_eq!(
            redhat(with, "example"),
            b"NETWORKING=yes\nHOSTNAME=example\nNETWORKING_IPV6=yes\n",
            "HN-2"
        );
        assert_eq!(line("example"), b"example\n", "HN-3, HN-7");
        let rc = b"eth0=\"eth0 192.0.2.42 netmask 255.255.255.0\"\nINTERFACES=(eth0)\n";
        let expected = [&rc[..], b"HOSTNAME=\"example\"\n"].concat();
        assert_eq!(quoted(rc, "example"), expected, "HN-4");
        let with = [&rc[..], b"HOSTNAME=\"other\"\n"].concat();
        assert_eq!(quoted(&with, "example"), expected, "HN-5");
        let gentoo = String::from_utf8(gentoo("example")).unwrap();
        assert!(gentoo.lines().any(|line| line.ends_with("HOSTNAME=\"example\"")), "HN-6");
    }
}
