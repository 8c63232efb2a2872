//! A definition of the user's as one of ours: its name, identity, mark, size and interfaces.

use std::path::Path;

use vnode_driver::{Domain, DomainSource, Error, NodeSpec, Result};

use crate::nic::{self, Nic, QEMU};
use crate::xml::{self, Element};

/// Namespace of the mark in a definition.
const MARK: &str = "urn:vnode:libvirt";
/// Where machines of `vnode image build` look for their name and addresses, in QEMU's firmware configuration.
const LINES: &str = "opt/vnode/network";

fn invalid(spec: &NodeSpec, error: impl std::fmt::Display) -> Error {
    Error::Invalid { node: spec.node.clone(), what: error.to_string() }
}

/// The definition with the node's name, identity, mark and size; its interfaces stay, as models for the node's.
pub(crate) fn ours(text: &str, spec: &NodeSpec, domain: &Domain, instance: &str) -> Result<String> {
    let mut root = xml::read(text).map_err(|error| invalid(spec, error))?;
    root.attributes.retain(|(name, _)| name != "id");
    if let DomainSource::Define(file) = &domain.source {
        rooted(&mut root, file.parent().unwrap_or(Path::new("/")));
    }
    own_firmware(&mut root);
    root.put(Element::with_text("name", &name(spec)));
    root.put(Element::with_text("uuid", &spec.uuid));
    let mark = [
        ("xmlns:vnode", MARK),
        ("instance", instance),
        ("lab", spec.lab.as_str()),
        ("node", spec.node.as_str()),
    ];
    root.child_mut("metadata").put(Element::new("vnode:node", &mark));
    if let Some(cpus) = domain.cpus {
        root.put(Element::with_text("vcpu", &cpus.to_string()));
    }
    if let Some(bytes) = domain.memory_bytes {
        for name in ["memory", "currentMemory"] {
            let mut memory = Element::with_text(name, &(bytes >> 10).to_string());
            memory.set("unit", "KiB");
            root.put(memory);
        }
    }
    Ok(root.write())
}

/// Takes relative paths from the definition's folder; libvirt has no use for them.
fn rooted(root: &mut Element, folder: &Path) {
    let whole = |path: &mut String| {
        if !path.trim().is_empty() {
            *path = folder.join(path.trim()).display().to_string();
        }
    };
    for child in root.children.iter_mut().filter(|child| child.name == "os") {
        let files = ["kernel", "initrd", "dtb"];
        for file in child.children.iter_mut().filter(|file| files.contains(&file.name.as_str())) {
            whole(&mut file.text);
        }
    }
    let devices = root.children.iter_mut().filter(|child| child.name == "devices");
    let disks =
        devices.flat_map(|devices| devices.children.iter_mut()).filter(|d| d.name == "disk");
    for source in disks.flat_map(|disk| disk.children.iter_mut()).filter(|s| s.name == "source") {
        for (_, path) in source.attributes.iter_mut().filter(|(name, _)| name == "file") {
            whole(path);
        }
    }
}

/// Takes away where the firmware's variables lie: in a definition that was copied it is the other domain's file, and
/// undefining this one would remove it. What they begin as stays; libvirt gives them a file by the domain's name.
fn own_firmware(root: &mut Element) {
    for os in root.children.iter_mut().filter(|child| child.name == "os") {
        for nvram in os.children.iter_mut().filter(|child| child.name == "nvram") {
            nvram.text.clear();
            nvram.children.clear();
            nvram.attributes.retain(|(name, _)| name.starts_with("template"));
        }
        os.children.retain(|child| child.name != "nvram" || !child.attributes.is_empty());
    }
}

/// The name a domain has in libvirt.
pub(crate) fn name(spec: &NodeSpec) -> String {
    format!("vnode-{}-{}", spec.lab, spec.node)
}

/// The definition to boot with: these interfaces in the place of its own. The first of its own is the model of the first, and
/// so on.
pub(crate) fn with(text: &str, spec: &NodeSpec, nics: &[Nic], kind: &str) -> Result<String> {
    let mut root = xml::read(text).map_err(|error| invalid(spec, error))?;
    let devices = root.child_mut("devices");
    let models: Vec<Element> = devices.all("interface").cloned().collect();
    devices.remove("interface");
    let made = nics.iter().enumerate().map(|(at, nic)| nic::element(nic, models.get(at), kind));
    devices.children.extend(made);
    if kind == QEMU {
        tell(&mut root, spec, nics);
    }
    Ok(root.write())
}

/// Puts the node's name and addresses where the machine can read them: one thing a line, words between blanks.
fn tell(root: &mut Element, spec: &NodeSpec, nics: &[Nic]) {
    let mut lines = format!("hostname {}\n", spec.hostname);
    for nic in nics {
        lines.push_str(&format!("link {} {} {}\n", nic.mac, nic.name, nic.mtu));
        for address in &nic.addresses {
            lines.push_str(&format!("address {} {address}\n", nic.name));
        }
        for gateway in &nic.gateways {
            lines.push_str(&format!("gateway {} {gateway}\n", nic.name));
        }
    }
    let mut entry = Element::with_text("entry", &lines);
    entry.set("name", LINES);
    let is_ours =
        |info: &Element| info.name == "sysinfo" && info.attribute("type") == Some("fwcfg");
    match root.children.iter_mut().find(|child| is_ours(child)) {
        Some(info) => {
            info.children.retain(|entry| entry.attribute("name") != Some(LINES));
            info.children.push(entry);
        }
        None => {
            let mut info = Element::new("sysinfo", &[("type", "fwcfg")]);
            info.children.push(entry);
            root.children.push(info);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> NodeSpec {
        NodeSpec::bare("lab", "n", 1, "00000000-0000-4000-8000-000000000001")
    }

    fn domain(uri: &str, file: &str) -> Domain {
        Domain {
            uri: uri.into(),
            source: DomainSource::Define(file.into()),
            cpus: None,
            memory_bytes: None,
            ready: vnode_driver::Ready::Started,
            ready_timeout_ms: 1,
        }
    }

    #[test]
    fn the_firmwares_variables_are_not_those_of_the_domain_it_was_copied_from() {
        let spec = spec();
        let domain = domain("test:///default", "/labs/a/vm.xml");
        for (nvram, left) in [
            ("<nvram>/var/lib/old.fd</nvram>", None),
            ("<nvram type='file'><source file='/var/lib/old.fd'/></nvram>", None),
            (
                "<nvram template='/usr/share/v.fd' templateFormat='raw' format='raw'>/var/lib/old.fd</nvram>",
                Some("<nvram template='/usr/share/v.fd' templateFormat='raw'/>"),
            ),
        ] {
            let text = format!("<domain><os><type>hvm</type>{nvram}</os></domain>");
            let made = xml::read(&ours(&text, &spec, &domain, "i").unwrap()).unwrap();
            let os = made.child("os").unwrap();
            assert_eq!(os.child("nvram").map(Element::write).as_deref(), left, "{nvram}");
        }
    }

    #[test]
    fn a_definition_keeps_everything_but_name_identity_size_and_wires() {
        let text = "<domain type='qemu' id='7'><name>old</name><uuid>1</uuid><memory unit='GiB'>8</memory>\
                    <metadata><x:y xmlns:x='urn:x'/></metadata><devices>\
                    <interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/>\
                    <model type='e1000'/></interface><disk type='file'><source file='vm.img'/></disk></devices><os><kernel>/boot/k</kernel>\
                    <initrd>i</initrd></os></domain>";
        let spec = spec();
        let domain = Domain {
            cpus: Some(3),
            memory_bytes: Some(64 << 20),
            ..domain("test:///default", "/labs/a/vm.xml")
        };
        let made = ours(text, &spec, &domain, "i").unwrap();
        let root = xml::read(&made).unwrap();
        assert_eq!(root.text_of("name"), Some("vnode-lab-n"));
        assert_eq!(root.text_of("memory"), Some("65536"));
        assert_eq!(root.text_of("vcpu"), Some("3"));
        assert_eq!(root.attribute("id"), None);
        assert_eq!(root.child("metadata").unwrap().children.len(), 2);
        let nic = Nic {
            name: "eth1".into(),
            tap: "vn0123456789abc".into(),
            mac: vnode_network::Mac::from_name("a"),
            mtu: 1500,
            addresses: vec!["10.0.0.1/24".parse().unwrap()],
            gateways: vec!["10.0.0.254".parse().unwrap()],
        };
        let whole = xml::read(&with(&made, &spec, &[nic.clone(), nic], "QEMU").unwrap()).unwrap();
        let os = whole.child("os").unwrap();
        assert_eq!(
            (os.text_of("kernel"), os.text_of("initrd")),
            (Some("/boot/k"), Some("/labs/a/i"))
        );
        let disk = whole.child("devices").unwrap().child("disk").unwrap();
        assert_eq!(disk.child("source").unwrap().attribute("file"), Some("/labs/a/vm.img"));
        let lines = &whole.child("sysinfo").unwrap().child("entry").unwrap().text;
        assert!(lines.contains("address eth1 10.0.0.1/24\ngateway eth1 10.0.0.254\n"), "{lines}");
        let all: Vec<&Element> = whole.child("devices").unwrap().all("interface").collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].child("model").unwrap().attribute("type"), Some("e1000"));
        assert_eq!(all[0].child("target").unwrap().attribute("managed"), Some("no"));
        assert!(all[0].child("source").is_none() && all[1].child("model").is_some());
    }

    /// Definitions as `virsh dumpxml --inactive` writes them on Xen: one of a guest that knows of Xen, one of whole hardware.
    #[test]
    fn a_xen_domain_keeps_its_loader_disks_and_models_and_gets_ends_that_libxl_names() {
        let paravirtual = "<domain type='xen'><name>web</name><uuid>1</uuid><memory unit='KiB'>524288</memory>\
            <bootloader>/usr/lib/xen-4.17/bin/pygrub</bootloader><os><type arch='x86_64' machine='xenpv'>linux</type></os>\
            <devices><disk type='block' device='disk'><driver name='phy'/><source dev='/dev/vg/web'/>\
            <target dev='xvda' bus='xen'/></disk><disk type='file' device='disk'><source file='swap.img'/></disk>\
            <interface type='bridge'><mac address='00:16:3e:00:00:01'/><source bridge='xenbr0'/>\
            <script path='vif-bridge'/></interface><console type='pty'><target type='xen' port='0'/></console>\
            </devices></domain>";
        let whole = paravirtual
            .replace("<bootloader>/usr/lib/xen-4.17/bin/pygrub</bootloader>", "")
            .replace(
                "<type arch='x86_64' machine='xenpv'>linux</type>",
                "<type arch='x86_64' machine='xenfv'>hvm</type><loader type='rom'>/usr/lib/xen-4.17/boot/hvmloader</loader>",
            )
            .replace("<script path='vif-bridge'/>", "<script path='vif-bridge'/><model type='e1000'/>");
        let domain = domain("xen:///system", "/labs/a/web.xml");
        let nic = Nic {
            name: "eth1".into(),
            tap: "vn0123456789abc".into(),
            mac: vnode_network::Mac::from_name("a"),
            mtu: 1500,
            addresses: Vec::new(),
            gateways: Vec::new(),
        };
        for (text, model) in [(paravirtual, None), (whole.as_str(), Some("e1000"))] {
            let before = xml::read(text).unwrap();
            let made = ours(text, &spec(), &domain, "i").unwrap();
            let nics = std::slice::from_ref(&nic);
            let root = xml::read(&with(&made, &spec(), nics, "Xen").unwrap()).unwrap();
            assert_eq!(root.attribute("type"), Some("xen"));
            assert_eq!(root.text_of("name"), Some("vnode-lab-n"));
            assert_eq!(root.child("os"), before.child("os"));
            assert_eq!(root.text_of("bootloader"), before.text_of("bootloader"));
            // Only QEMU has a place for them.
            assert_eq!(root.child("sysinfo"), None);
            let devices = root.child("devices").unwrap();
            let sources: Vec<&Element> =
                devices.all("disk").filter_map(|disk| disk.child("source")).collect();
            assert_eq!(sources[0].attribute("dev"), Some("/dev/vg/web"));
            assert_eq!(sources[1].attribute("file"), Some("/labs/a/swap.img"));
            assert_eq!(devices.child("console"), before.child("devices").unwrap().child("console"));
            let all: Vec<&Element> = devices.all("interface").collect();
            assert_eq!(all.len(), 1);
            assert_eq!(all[0].attribute("type"), Some("ethernet"));
            let target = all[0].child("target").unwrap();
            assert_eq!(
                (target.attribute("dev"), target.attribute("managed")),
                (Some(nic.tap.as_str()), None)
            );
            assert!(all[0].child("source").is_none() && all[0].child("script").is_none());
            assert_eq!(all[0].child("model").and_then(|m| m.attribute("type")), model);
        }
    }
}
