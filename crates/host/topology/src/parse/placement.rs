//! `placement`: which host a node is to run on. A lab is run by one host, so a hint can be kept or refused, and no more.

use crate::keys;
use crate::parse::fields::{Fields, short, text};
use crate::parse::node::is_host_name;
use crate::report::Report;
use crate::world::World;
use crate::yaml::{Entry, Node as Yaml};

/// Reads the hint: a host's name, or a map with it under `host`. One that names another host than ours is refused.
pub(crate) fn read(entry: &Entry, world: &dyn World, report: &mut Report<'_>) -> Option<String> {
    let value = if matches!(entry.value.node, Yaml::Map(_)) {
        Fields::read(&entry.value, "`placement`", keys::PLACEMENT, report)
            .get("host")
            .map(|host| &host.value)?
    } else {
        &entry.value
    };
    let host = text(value, "placement", report)?;
    if !is_host_name(host) {
        report.error(
            &value.at,
            format!("`placement` takes the name of a host, not `{}`", short(host)),
        );
        return None;
    }
    // Without a name of our own (the file is only read) any name may be right.
    if let Some(own) = world.host_name()
        && !is_same(host, &own)
    {
        report.error_with(
            &value.at,
            format!("`placement` names the host `{}`, and this one is `{}`", short(host), short(&own)),
            "labs over several hosts are not supported yet: leave it out, or bring the lab up there",
        );
    }
    Some(host.to_owned())
}

/// Host names are the same in any case, and with or without their domain.
fn is_same(one: &str, other: &str) -> bool {
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let (one, other) = (one.trim_end_matches('.'), other.trim_end_matches('.'));
    one.eq_ignore_ascii_case(other)
        || ((!one.contains('.') || !other.contains('.')) && first(one) == first(other))
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn a_host_is_known_by_its_short_name_too() {
        for (one, other, same) in [
            ("h1", "h1", true),
            ("H1", "h1.example.org", true),
            ("h1.example.org", "h1", true),
            ("h1.example.org.", "H1.example.org", true),
            ("h1.example.org", "h1.example.com", false),
            ("h2", "h1", false),
            ("", "h1", false),
        ] {
            assert_eq!(is_same(one, other), same, "{one} {other}");
        }
    }
}
