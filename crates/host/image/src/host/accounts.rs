//! Account files: whose homes there are, and password fields taken out.

use std::path::PathBuf;

/// First number of people's accounts, and the first after them (`nobody`); `login.defs(5)`.
const PEOPLE: std::ops::Range<u32> = 1000..65534;

/// Home folders of people and of root, from `passwd(5)`.
pub(super) fn homes(passwd: &[u8]) -> Vec<PathBuf> {
    let text = String::from_utf8_lossy(passwd);
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let uid: u32 = fields.get(2)?.parse().ok()?;
            let home = fields.get(5).filter(|home| home.starts_with('/'))?;
            (uid == 0 || PEOPLE.contains(&uid)).then(|| PathBuf::from(home))
        })
        .collect()
}

/// `shadow(5)`, `gshadow(5)` or `passwd(5)` with each password that could be one replaced by `*`.
///
/// `x` leads to the shadow file, `*` and what begins with `!` is closed; of the latter only the mark is kept, because
/// a locked account's hash stands behind it. No password at all would let anybody in, so it is closed too.
pub(super) fn without_passwords(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    for line in content.split_inclusive(|b| *b == b'\n') {
        let (line, end) = match line.strip_suffix(b"\n") {
            Some(line) => (line, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        let mut fields: Vec<&[u8]> = line.split(|b| *b == b':').collect();
        if let Some(password) = fields.get_mut(1) {
            *password = match *password {
                b"x" => b"x",
                b"!" | b"!!" | b"!*" => *password,
                [b'!', ..] => b"!",
                _ => b"*",
            };
            out.extend_from_slice(&fields.join(&b':'));
        } else if line.is_empty() || line.starts_with(b"#") {
            out.extend_from_slice(line);
        }
        // A line of another form is left out: it might be anything.
        out.extend_from_slice(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_those_of_people_and_root() {
        let passwd = b"root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/usr/sbin:/x\nann:x:1000:1000::/home/ann:/x\n\
            nobody:x:65534:65534::/nonexistent:/x\nrel:x:1001:1::home:/x\nbad\n";
        assert_eq!(homes(passwd), [PathBuf::from("/root"), "/home/ann".into()]);
    }

    #[test]
    fn no_hash_survives() {
        let shadow =
            b"root:$y$j9T$abc$def:19000:0:99999:7:::\nlocked:!$6$hash:1::::::\nopen::1::::::\n\
            daemon:*:1::::::\nnew:!:1::::::\nold:abJnggxhB/yWI:1::::::\n$6$stray\nlast:$1$x:1";
        let text = String::from_utf8(without_passwords(shadow)).unwrap();
        assert_eq!(
            text,
            "root:*:19000:0:99999:7:::\nlocked:!:1::::::\nopen:*:1::::::\ndaemon:*:1::::::\nnew:!:1::::::\n\
             old:*:1::::::\n\nlast:*:1"
        );
        assert_eq!(without_passwords(b"a:x:1:2:c:/h:/s\n"), b"a:x:1:2:c:/h:/s\n");
    }
}
