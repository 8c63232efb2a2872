//! The `vm` map of a node of kind `vm`.

use std::path::{Path, PathBuf};

use crate::keys::{self, Shape};
use crate::model::{Node, Vm};
use crate::parse::binds;
use crate::parse::fields::{Fields, boolean, bytes, count, parse_bytes, short, text, texts};
use crate::parse::layers::Layers;
use crate::report::{At, Report};

/// Keys of a node that say something about a container's inside, which a machine does not have.
const CONTAINERS: &[&str] = &[
    "binds",
    "volumes",
    "env",
    "env-files",
    "user",
    "entrypoint",
    "cmd",
    "shm-size",
    "cap-add",
    "privileged",
    "pid-mode",
    "tmpfs",
    "security-opts",
    "sysctls",
    "devices",
    "boot-timeout",
];

/// Reads the map, each key from the most specific layer that has it, and says which other keys mean nothing.
pub(crate) fn read(
    node: &mut Node,
    own: &Fields<'_>,
    layers: &Layers<'_, '_>,
    (folder, home): (&Path, Option<&str>),
    name_at: &At,
    report: &mut Report<'_>,
) {
    let given = layers.given("vm", keys::VM, report);
    let mut vm = Vm::default();
    let mut word = |name: &'static str| {
        let entry = given.get(name)?;
        let value = text(&entry.value, name, report)?;
        let allowed = keys::VM.iter().find(|key| key.name == name).map(|key| key.shape);
        if let Some(Shape::OneOf(words)) = allowed
            && !words.contains(&value)
        {
            let what = format!("`{name}` is one of {}, not `{}`", words.join(", "), short(value));
            report.error(&entry.value.at, what);
            return None;
        }
        Some(value.to_owned())
    };
    vm.machine = word("machine");
    vm.accel = word("accel");
    vm.firmware = word("firmware");
    vm.append = word("append");
    vm.nic = word("nic");
    vm.seed = word("seed");
    vm.ready = word("ready");
    let mut path = |name| word(name).map(|given| binds::host_path(&given, folder, home));
    vm.kernel = path("kernel");
    vm.initrd = path("initrd");
    vm.user_data = path("user-data");
    vm.disk_bytes = given.get("disk").and_then(|entry| bytes(&entry.value, "disk", report));
    if let Some(entry) = given.get("disks") {
        for (size, at) in texts(&entry.value, "disks", report) {
            match parse_bytes(size) {
                Some(size) => vm.disks_bytes.push(size),
                None => report.error(&at, format!("`{}` is no size such as `10GB`", short(size))),
            }
        }
    }
    let mut number = |name: &'static str, most: u64| {
        let entry = given.get(name)?;
        let number = count(&entry.value, name, 1..=most, report)?;
        u32::try_from(number).ok()
    };
    vm.queues = number("queues", 64);
    vm.ready_timeout_s = number("ready-timeout", 86_400);
    let mut flag = |name: &'static str| {
        given.get(name).and_then(|entry| boolean(&entry.value, name, report)).unwrap_or(false)
    };
    vm.vnc = flag("vnc");
    vm.watchdog = flag("watchdog");
    vm.vsock = flag("vsock");
    if vm.kernel.is_some() && vm.firmware.is_some() {
        let entry = given["firmware"];
        report.error(&entry.key_at, "`kernel` is booted without firmware: leave one of them out");
    }
    for name in ["initrd", "append"] {
        if vm.kernel.is_none()
            && let Some(entry) = given.get(name)
        {
            report.error(&entry.key_at, format!("`{name}` goes with `kernel`"));
        }
    }
    if node.libvirt.is_some() {
        for (name, entry) in &given {
            if !matches!(*name, "ready" | "ready-timeout") {
                report.warn(
                    &entry.key_at,
                    format!("`{name}` is the business of the domain's definition"),
                );
            }
        }
        if let Some(entry) = own.get("image") {
            report
                .warn(&entry.key_at, "the disks of a domain are in its definition, and no `image`");
        }
        node.image = None;
    } else {
        image(node, &vm, layers, (folder, home), name_at, report);
    }
    for name in CONTAINERS {
        if let Some(entry) = own.get(name) {
            report.warn(&entry.key_at, format!("`{name}` has no meaning for a virtual machine"));
        }
    }
    node.vm = Some(vm);
}

/// A path is taken from the file's folder; without an image the machine needs a kernel.
fn image(
    node: &mut Node,
    vm: &Vm,
    layers: &Layers<'_, '_>,
    (folder, home): (&Path, Option<&str>),
    name_at: &At,
    report: &mut Report<'_>,
) {
    match layers.text("image", report) {
        Some((given, at)) => {
            let (kind, path) =
                given.strip_prefix("disk:").map_or(("", given), |path| ("disk:", path));
            if path.starts_with(['.', '~', '/']) {
                let path: PathBuf = binds::host_path(path, folder, home);
                node.image = Some(format!("{kind}{}", path.display()));
            }
            if given == crate::model::HOST_IMAGE {
                report.error(&at, "the host's own root is no disk that a machine boots from");
            }
        }
        None => {
            node.image = None;
            if vm.kernel.is_none() {
                report.error_with(
                    name_at,
                    format!("node `{}` has nothing to boot", node.name),
                    "give `image`, a disk image, or under `vm` a `kernel`",
                );
            }
        }
    }
}
