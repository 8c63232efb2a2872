//! The `libvirt` map of a node of kind `vm`.

use std::path::Path;

use crate::keys;
use crate::model::{Libvirt, Node};
use crate::parse::binds;
use crate::parse::fields::{Fields, text};
use crate::parse::layers::Layers;
use crate::report::{At, Report};

/// The driver's word.
const BACKEND: &str = "libvirt";

/// Reads the map, each key from the most specific layer that has it. With it, or `backend: libvirt`, the node is a domain.
pub(crate) fn read(
    node: &mut Node,
    own: &Fields<'_>,
    layers: &Layers<'_, '_>,
    (folder, home): (&Path, Option<&str>),
    name_at: &At,
    report: &mut Report<'_>,
) {
    let backend = node.backend.as_deref();
    // A `libvirt` of the defaults says where libvirt is, for nodes that are its.
    if backend != Some(BACKEND) && own.get("libvirt").is_none() {
        return;
    }
    if backend.is_some_and(|backend| backend != BACKEND) {
        let entry = own.get("libvirt").map_or(name_at, |entry| &entry.key_at);
        report.error(entry, "`libvirt` goes with `backend: libvirt`");
        return;
    }
    node.backend = Some(BACKEND.to_owned());
    let given = layers.given("libvirt", keys::LIBVIRT, report);
    let mut word = |name: &'static str| {
        given.get(name).and_then(|entry| text(&entry.value, name, report)).map(str::to_owned)
    };
    let libvirt = Libvirt {
        uri: word("uri"),
        domain: word("domain"),
        xml: word("xml").map(|path| binds::host_path(&path, folder, home)),
    };
    if let Some(uri) = &libvirt.uri
        && (!uri.contains("://") || uri.chars().any(|c| c.is_control() || c == ' '))
    {
        let at = given.get("uri").map_or(name_at, |entry| &entry.value.at);
        report.error_with(
            at,
            "`uri` is no URI of libvirt",
            "such as `qemu:///system` or `xen:///system`",
        );
    }
    match (&libvirt.domain, &libvirt.xml) {
        (Some(_), Some(_)) => {
            let at = given.get("xml").map_or(name_at, |entry| &entry.key_at);
            report.error(
                at,
                "a domain is there (`domain`) or is defined (`xml`): leave one of them out",
            );
        }
        (None, None) => report.error_with(
            name_at,
            format!("node `{}` has no domain", node.name),
            "give under `libvirt` the name of a `domain`, or its definition, `xml`",
        ),
        _ => {}
    }
    node.libvirt = Some(libvirt);
}
