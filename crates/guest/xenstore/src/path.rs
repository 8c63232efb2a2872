//! Which paths the daemon takes, and what a relative one means.

/// Most bytes of an absolute path, without its NUL.
pub const ABSOLUTE_MAX: usize = 3072;
/// Most bytes of a relative path, without its NUL.
pub const RELATIVE_MAX: usize = 2048;

/// Whether the daemon takes it: `A-Z a-z 0-9 - / _ @` only, no doubled and no trailing `/`, not too long.
#[must_use]
pub fn is_valid(path: &str) -> bool {
    let limit = if path.starts_with('/') { ABSOLUTE_MAX } else { RELATIVE_MAX };
    !path.is_empty()
        && path.len() <= limit
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-/_@".contains(&b))
        && !path.contains("//")
        && (path == "/" || !path.ends_with('/'))
}

/// Whether it can be the last name of a path.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    !name.contains('/') && is_valid(name)
}

/// Where a domain's relative paths start.
#[must_use]
pub fn home(domain: u32) -> String {
    format!("/local/domain/{domain}")
}

/// The path from the root; an absolute one stays as it is.
#[must_use]
pub fn absolute(path: &str, home: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{home}/{path}") }
}

/// The path above, `None` above the root.
#[must_use]
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() > 1 => Some("/"),
        0 => None,
        cut => Some(&path[..cut]),
    }
}

/// The last name of a path.
#[must_use]
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether `path` is `above` or below it.
#[must_use]
pub fn is_within(path: &str, above: &str) -> bool {
    above == "/"
        || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_the_daemon_takes() {
        for good in ["/", "/a", "data/host", "A-Z_09@", "/local/domain/5/data"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "data//host", "data/host/", "data/h ost", "a.b", "ä", "//"] {
            assert!(!is_valid(bad), "{bad}");
        }
        assert!(is_valid(&"a".repeat(RELATIVE_MAX)));
        assert!(!is_valid(&"a".repeat(RELATIVE_MAX + 1)));
        assert!(!is_valid(&format!("/{}", "a".repeat(ABSOLUTE_MAX))));
    }

    #[test]
    fn parts_of_a_path() {
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/"), None);
        assert_eq!(name("/a/b"), "b");
        assert_eq!(absolute("data", &home(3)), "/local/domain/3/data");
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/a", "/"));
        assert!(!is_within("/ab", "/a"));
    }
}
