//! The description of objects, in the form of the D-Bus specification.

use std::fmt::Write as _;

use crate::bus::{
    INTROSPECTABLE, PEER,
    object::{Interface, Object},
};

const DOCTYPE: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\" \
\"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

/// What stands at `path`, and the tree below it; `None` when nothing does. Names need no escapes: they were
/// checked when the definition was read.
pub(crate) fn describe(objects: &[&Object], path: &str) -> Option<String> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_below = |object: &&&Object| is_below(&object.path, path);
    if !path.is_empty()
        && !objects.iter().any(|object| object.path == path)
        && !objects.iter().any(|o| is_below(&o))
    {
        return None;
    }
    let mut xml = DOCTYPE.to_owned();
    node(&mut xml, objects, path, None, 0);
    Some(xml)
}

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
}

fn node(xml: &mut String, objects: &[&Object], path: &str, name: Option<&str>, depth: usize) {
    let pad = " ".repeat(depth);
    match name {
        Some(name) => line(xml, format_args!("{pad}<node name=\"{name}\">")),
        None => line(xml, format_args!("{pad}<node>")),
    }
    let here: Vec<&&Object> = objects.iter().filter(|object| object.path == path).collect();
    let mut seen: Vec<&str> = Vec::new();
    for known in here.iter().flat_map(|object| &object.interfaces) {
        if !seen.contains(&known.name.as_str()) {
            seen.push(&known.name);
            interface(xml, known, &pad);
        }
    }
    line(xml, format_args!("{pad} <interface name=\"{INTROSPECTABLE}\">"));
    line(xml, format_args!("{pad}  <method name=\"Introspect\">"));
    line(xml, format_args!("{pad}   <arg name=\"xml_data\" type=\"s\" direction=\"out\"/>"));
    line(xml, format_args!("{pad}  </method>\n{pad} </interface>"));
    line(xml, format_args!("{pad} <interface name=\"{PEER}\">\n{pad}  <method name=\"Ping\"/>"));
    line(xml, format_args!("{pad}  <method name=\"GetMachineId\">"));
    line(xml, format_args!("{pad}   <arg name=\"machine_uuid\" type=\"s\" direction=\"out\"/>"));
    line(xml, format_args!("{pad}  </method>\n{pad} </interface>"));
    let mut children: Vec<&str> = objects
        .iter()
        .filter(|object| is_below(&object.path, path))
        .filter_map(|object| object.path[path.len() + 1..].split('/').next())
        .collect();
    children.sort_unstable();
    children.dedup();
    for child in children {
        node(xml, objects, &format!("{path}/{child}"), Some(child), depth + 1);
    }
    line(xml, format_args!("{pad}</node>"));
}

fn interface(xml: &mut String, interface: &Interface, pad: &str) {
    line(xml, format_args!("{pad} <interface name=\"{}\">", interface.name));
    for method in &interface.methods {
        line(xml, format_args!("{pad}  <method name=\"{}\">", method.name));
        for name in method.input {
            line(xml, format_args!("{pad}   <arg name=\"{name}\" type=\"s\" direction=\"in\"/>"));
        }
        if let Some(name) = method.output {
            line(xml, format_args!("{pad}   <arg name=\"{name}\" type=\"s\" direction=\"out\"/>"));
        }
        line(xml, format_args!("{pad}  </method>"));
    }
    line(xml, format_args!("{pad} </interface>"));
}

fn line(xml: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(xml, "{text}").expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::object::{Method, Target, add, state};

    #[test]
    fn b07_the_root_lists_the_whole_tree() {
        let mut objects = vec![state()];
        add(
            &mut objects,
            "/toaster_v1/rpc",
            "yang.module.ToasterV1.RPC",
            Method::rpc("make-toast", Target::Rpc(0)),
        );
        let objects: Vec<&Object> = objects.iter().collect();
        let xml = describe(&objects, "/").unwrap();
        for part in
            ["<node name=\"state\">", "<node name=\"toaster_v1\">", "<method name=\"MakeToast\">"]
        {
            assert_eq!(xml.matches(part).count(), 1, "{xml}");
        }
        assert!(describe(&objects, "/toaster_v1").unwrap().contains("<node name=\"rpc\">"));
        assert!(describe(&objects, "/toaster").is_none());
        assert!(describe(&[], "/").is_some());
    }
}
