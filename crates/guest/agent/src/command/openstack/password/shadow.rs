//! One line of `/etc/shadow` or `/etc/master.passwd`, all others byte for byte as they are.

use zeroize::Zeroizing;

/// Which file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `name:hash:last change:...`
    Shadow,
    /// FreeBSD: `name:hash:uid:gid:class:change:expire:...`
    Master,
}

impl Format {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Shadow => "etc/shadow",
            Self::Master => "etc/master.passwd",
        }
    }
}

/// The text with a new hash for `user`, and the day of the change (days since 1970). `None`: there is no such user.
pub(super) fn with_password(
    text: &[u8],
    format: Format,
    user: &str,
    hash: &str,
    days: u64,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut new = Zeroizing::new(Vec::with_capacity(text.len() + hash.len()));
    let mut found = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let (fields, end) = match line.strip_suffix(b"\n") {
            Some(fields) => (fields, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        let mut parts = fields.split(|byte| *byte == b':');
        if found || parts.next() != Some(user.as_bytes()) || parts.next().is_none() {
            new.extend_from_slice(line);
            continue;
        }
        found = true;
        new.extend_from_slice(user.as_bytes());
        new.push(b':');
        new.extend_from_slice(hash.as_bytes());
        for (index, part) in parts.enumerate() {
            new.push(b':');
            if format == Format::Shadow && index == 0 {
                new.extend_from_slice(days.to_string().as_bytes());
            } else {
                new.extend_from_slice(part);
            }
        }
        new.extend_from_slice(end);
    }
    found.then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, user: &str) -> Option<String> {
        let new = with_password(text.as_bytes(), Format::Shadow, user, "$6$s$h", 20000)?;
        Some(String::from_utf8(new.to_vec()).unwrap())
    }

    #[test]
    fn pw_8_only_the_users_line_changes() {
        let others = "daemon:*:19000:0:99999:7:::\n# odd\n\nnocolon\nroot2:x:1::::::\n";
        for old in ["$y$j9T$salt$hash", "$6$rounds=1000$s$h", "!", "*", "", "!$6$locked"] {
            let text = format!("root:{old}:19000:0:99999:7:::\n{others}");
            let expected = format!("root:$6$s$h:20000:0:99999:7:::\n{others}");
            assert_eq!(changed(&text, "root"), Some(expected));
        }
        assert_eq!(changed(others, "root"), None);
        assert_eq!(changed("root", "root"), None, "no fields");
        assert_eq!(changed("a:x:1\nroot:y:2", "root").as_deref(), Some("a:x:1\nroot:$6$s$h:20000"));
        assert_eq!(changed("root:x", "root").as_deref(), Some("root:$6$s$h"));
        assert_eq!(
            changed("root:x:1:\nroot:y:1:\n", "root").as_deref(),
            Some("root:$6$s$h:20000:\nroot:y:1:\n"),
            "the first counts"
        );
        let odd = b"root:x:1:\n\xff\xfe:\0:\r\n";
        let new = with_password(odd, Format::Shadow, "root", "h", 2).unwrap();
        assert_eq!(*new, b"root:h:2:\n\xff\xfe:\0:\r\n");
    }

    #[test]
    fn freebsd_has_other_fields() {
        let text = b"root:$6$old:0:0::0:0:Charlie &:/root:/bin/csh\n";
        let new = with_password(text, Format::Master, "root", "$6$new", 20000).unwrap();
        assert_eq!(*new, b"root:$6$new:0:0::0:0:Charlie &:/root:/bin/csh\n");
    }
}
