//! Inputs of the numbered cases, and files out of them.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "fixtures fail by panicking")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vnode_netconf::{
    Backend, Content, Form, InputError, Interface, MemoryView, Nic, Plan, Settings, Wanted, bind,
    plan, source::vmdata,
};

/// The reference input G1: two interfaces, several addresses, both families, routes.
pub(crate) fn g1() -> (Wanted, Vec<Nic>) {
    let data: Value = serde_json::from_str(include_str!("../data/g1.json")).unwrap();
    let nodes: Vec<(String, Vec<u8>)> = data["vm-data/networking"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, node)| (name.clone(), node.to_string().into_bytes()))
        .collect();
    let wanted = vmdata::read(
        nodes.iter().map(|(name, text)| (name.as_str(), text.as_slice())),
        data["hostname"].as_str(),
    )
    .unwrap();
    let nics = (1..)
        .zip(data["nics"].as_array().unwrap())
        .map(|(index, nic)| {
            let mac = nic["mac"].as_str().unwrap().parse().unwrap();
            Nic::plain(index, nic["name"].as_str().unwrap(), mac, nic["up"] == true)
        })
        .collect();
    (wanted, nics)
}

pub(crate) fn g1_interfaces() -> Vec<Interface> {
    let (wanted, nics) = g1();
    let bound = bind(&wanted.descriptions, &nics);
    assert!(bound.missing.is_empty());
    bound.interfaces
}

/// One interface from a description, by name.
pub(crate) fn interface(name: &str, node: Value) -> Interface {
    try_interface(name, node).unwrap()
}

pub(crate) fn try_interface(name: &str, mut node: Value) -> Result<Interface, InputError> {
    let object = node.as_object_mut().unwrap();
    let mac = object.entry("mac").or_insert(json!("00:11:22:33:44:55")).clone();
    let wanted = read(&[node])?;
    let mac = mac.as_str().unwrap().parse().unwrap();
    let nic = Nic::plain(1, name, mac, true);
    Ok(bind(&wanted.descriptions, &[nic]).interfaces.remove(0))
}

pub(crate) fn read(nodes: &[Value]) -> Result<Wanted, InputError> {
    let texts: Vec<String> = nodes.iter().map(Value::to_string).collect();
    vmdata::read(texts.iter().map(|text| ("node", text.as_bytes())), None)
}

/// The inputs I4 and I6 of the OpenStack agent's tests.
pub(crate) fn i4() -> Interface {
    interface(
        "eth0",
        json!({"label": "public", "gateway": "192.0.2.1", "dns": ["192.0.2.2"],
            "ips": [{"ip": "192.0.2.42", "netmask": "255.255.255.0", "enabled": "1"}]}),
    )
}

pub(crate) fn i6() -> Interface {
    interface(
        "eth0",
        json!({"label": "public", "gateway6": "2001:db8::1", "dns": ["2001:db8::2"],
            "ip6s": [{"ip": "2001:db8::42", "netmask": 96, "enabled": "1"}]}),
    )
}

/// The reference input G2: a default route said twice, a route by the gateway.
pub(crate) fn g2() -> Interface {
    interface(
        "eth0",
        json!({"gateway": "192.0.2.1",
            "ips": [{"ip": "192.0.2.42", "netmask": "255.255.255.0", "enabled": "1"},
                    {"ip": "192.0.2.43", "netmask": "255.255.255.0", "enabled": "1"}],
            "ip6s": [{"ip": "2001:db8::42", "netmask": 64, "enabled": "1"}],
            "routes": [{"route": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"},
                       {"route": "10.0.0.0", "netmask": "255.0.0.0", "gateway": "192.0.2.1"}]}),
    )
}

pub(crate) fn settings(backend: Backend, form: Option<Form>) -> Settings {
    Settings { backend: Some(backend), form, ..Settings::default() }
}

/// The files a back-end gets, those that stay out left out.
pub(crate) fn files(
    view: &MemoryView,
    backend: Backend,
    form: Option<Form>,
    interfaces: &[Interface],
) -> BTreeMap<String, String> {
    contents(&planned(view, backend, form, interfaces))
}

pub(crate) fn planned(
    view: &MemoryView,
    backend: Backend,
    form: Option<Form>,
    interfaces: &[Interface],
) -> Plan {
    plan(view, &settings(backend, form), interfaces.to_vec(), Some("myhostname"), &[]).unwrap()
}

pub(crate) fn contents(plan: &Plan) -> BTreeMap<String, String> {
    plan.changes
        .iter()
        .filter_map(|change| match &change.new {
            Content::File { bytes, .. } => {
                Some((change.path.clone(), String::from_utf8(bytes.clone()).unwrap()))
            }
            _ => None,
        })
        .collect()
}

/// A guest's files after the plan.
pub(crate) fn after(view: &MemoryView, plan: &Plan) -> MemoryView {
    let mut view = view.clone();
    for change in &plan.changes {
        match &change.new {
            Content::File { bytes, .. } => {
                view.files.insert(change.path.clone(), bytes.clone());
            }
            Content::Link { target } => {
                view.links.insert(change.path.clone(), target.clone());
            }
            Content::Absent => {
                view.files.remove(&change.path);
                view.links.remove(&change.path);
            }
        }
    }
    view
}

/// What tells a distribution.
pub(crate) fn system(id: &str) -> MemoryView {
    MemoryView::default().with("/etc/os-release", format!("ID={id}\nVERSION_ID=\"12\"\n"))
}

/// Lines of the expectation, each on its own.
pub(crate) fn lines(list: &[&str]) -> String {
    list.iter().map(|line| format!("{line}\n")).collect()
}

/// White space means nothing.
pub(crate) fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
