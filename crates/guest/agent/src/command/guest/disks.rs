//! guest-get-disks, and where a disk is attached: read from sysfs and udev's database.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Args, CommandError, Guest, read_text};
use crate::context::Context;

/// Most entries read of one folder.
const MOST: usize = 4096;

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::now("guest-get-disks", get_disks)]
}

/// A PCI address; -1 stands for not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Pci {
    domain: i64,
    bus: i64,
    slot: i64,
    function: i64,
}

/// A channel I/O address (s390x).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Ccw {
    cssid: i64,
    ssid: i64,
    subchno: i64,
    devno: i64,
}

/// `GuestDiskAddress` of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Disk {
    pci_controller: Pci,
    bus_type: &'static str,
    bus: i64,
    target: i64,
    unit: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ccw_address: Option<Ccw>,
}

/// The sysfs folder of a block device by its number, `8:1`.
pub(super) fn device_folder(context: &Context, number: &str) -> Option<PathBuf> {
    resolve(context, &Path::new("sys/dev/block").join(number))
}

/// Follows one link of sysfs to the folder of the device: `sys/devices/...`.
fn resolve(context: &Context, link: &Path) -> Option<PathBuf> {
    let target = context.root().read_link(link).ok()?;
    let mut path = link.parent()?.to_owned();
    for part in target.components() {
        match part {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    Some(path)
}

fn names(context: &Context, folder: &Path) -> Option<Vec<String>> {
    let names = context.root().open_dir(folder).ok()?.list(MOST).ok()?;
    Some(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

fn is_virtual(folder: &Path) -> bool {
    folder.starts_with("sys/devices/virtual/block")
}

/// The real disks a device lies on: itself, or those below a mapped one.
pub(super) fn real_below(context: &Context, folder: &Path) -> Vec<Disk> {
    let mut found = Vec::new();
    gather(context, folder, 8, &mut found);
    found.reverse();
    found
}

fn gather(context: &Context, folder: &Path, depth: u8, found: &mut Vec<Disk>) {
    if !is_virtual(folder) {
        found.extend(address(context, folder));
    } else if depth > 0 {
        let slaves = folder.join("slaves");
        for name in names(context, &slaves).unwrap_or_default() {
            if let Some(below) = resolve(context, &slaves.join(name)) {
                gather(context, &below, depth - 1, found);
            }
        }
    }
}

/// A property that udev found out, or `None`: there may be no udev.
fn udev_property(context: &Context, folder: &Path, name: &str) -> Option<String> {
    let number = read_text(context, &folder.join("dev").to_string_lossy())?;
    let database = read_text(context, &format!("run/udev/data/b{}", number.trim()))?;
    let prefix = format!("E:{name}=");
    let value = database.lines().find_map(|line| line.strip_prefix(&prefix))?;
    Some(value.to_owned()).filter(|value| !value.is_empty())
}

/// The device file.
fn dev_node(context: &Context, folder: &Path) -> Option<String> {
    let uevent = read_text(context, &folder.join("uevent").to_string_lossy())?;
    uevent.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(|name| format!("/dev/{name}"))
}

/// Where a real device is attached.
fn address(context: &Context, folder: &Path) -> Option<Disk> {
    let mut disk = Disk {
        pci_controller: Pci { domain: -1, bus: -1, slot: -1, function: -1 },
        bus_type: "unknown",
        bus: 0,
        target: 0,
        unit: 0,
        serial: udev_property(context, folder, "ID_SERIAL"),
        dev: dev_node(context, folder),
        ccw_address: None,
    };
    let path = folder.to_string_lossy();
    let known = if path.contains("/devices/pci") {
        on_pci(context, folder, &mut disk).is_some()
    } else if path.contains("/devices/css") {
        on_ccw(&path, &mut disk).is_some()
    } else {
        path.contains("/virtio") && on_virtio(&path, &mut disk)
    };
    (known || disk.dev.is_some() || disk.serial.is_some()).then_some(disk)
}

/// Numbers of a SCSI target in the path: `.../target2:0:1/2:0:1:3/...` gives channel, target, unit.
fn scsi_target(path: &str) -> Option<[i64; 3]> {
    let (_, rest) = path.split_once("/target")?;
    let device = rest.split('/').nth(1)?;
    let mut numbers = device.split(':').map(|number| number.parse().ok());
    numbers.next()??;
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// `0000:00:1f.2`.
fn pci_address(name: &str) -> Option<Pci> {
    let (rest, function) = name.split_once('.')?;
    let mut parts = rest.split(':').map(|part| i64::from_str_radix(part, 16).ok());
    let (domain, bus, slot) = (parts.next()??, parts.next()??, parts.next()??);
    let function = i64::from_str_radix(function, 16).ok()?;
    parts.next().is_none().then_some(Pci { domain, bus, slot, function })
}

fn on_pci(context: &Context, folder: &Path, disk: &mut Disk) -> Option<()> {
    const CONTROLLERS: [&str; 7] =
        ["ata_piix", "sym53c8xx", "virtio-pci", "ahci", "nvme", "xhci_hcd", "ehci-pci"];
    let mut so_far = PathBuf::new();
    let mut controller = None;
    for part in folder.components() {
        so_far.push(part);
        let Some(found) = part.as_os_str().to_str().and_then(pci_address) else { continue };
        let driver = context.root().read_link(so_far.join("driver")).ok();
        let driver = driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
        if let Some(driver) = driver.and_then(|d| CONTROLLERS.iter().find(|known| **known == d)) {
            controller = Some((found, *driver));
            break;
        }
    }
    let (found, driver) = controller?;
    let path = folder.to_string_lossy();
    let target = scsi_target(&path);
    disk.pci_controller = found;
    match driver {
        "ata_piix" => {
            disk.bus = host_index(context, &path)?;
            disk.unit = target?[1];
            disk.bus_type = "ide";
        }
        "ahci" => {
            target?;
            disk.unit = host_index(context, &path)?;
            disk.bus_type = "sata";
        }
        "sym53c8xx" => {
            disk.unit = target?[1];
            disk.bus_type = "scsi";
        }
        "virtio-pci" => match target {
            Some(target) => {
                disk.unit = target[2];
                disk.bus_type = "scsi";
            }
            None => disk.bus_type = "virtio",
        },
        "nvme" => disk.bus_type = "nvme",
        _ => disk.bus_type = "usb",
    }
    Some(())
}

/// The place of the path's ATA port or SCSI host among those of its controller.
fn host_index(context: &Context, path: &str) -> Option<i64> {
    let word = if path.contains("/ata") { "ata" } else { "host" };
    let (controller, rest) = path.split_once(&format!("/{word}"))?;
    let number = |name: &str| name.strip_prefix(word)?.parse::<u32>().ok();
    let mine = number(&format!("{word}{}", rest.split('/').next()?))?;
    let mut all: Vec<u32> =
        names(context, Path::new(controller))?.iter().filter_map(|name| number(name)).collect();
    all.sort_unstable();
    all.iter().position(|one| *one == mine).and_then(|index| i64::try_from(index).ok())
}

fn on_virtio(path: &str, disk: &mut Disk) -> bool {
    if !path.contains("/block") {
        return false;
    }
    match scsi_target(path) {
        Some([bus, target, unit]) => {
            (disk.bus, disk.target, disk.unit) = (bus, target, unit);
            disk.bus_type = "scsi";
        }
        None => disk.bus_type = "virtio",
    }
    true
}

/// `.../devices/css0/0.0.0000/0.0.0001/...`.
fn on_ccw(path: &str, disk: &mut Disk) -> Option<()> {
    let (_, rest) = path.split_once("/devices/css")?;
    let mut parts = rest.split('/').skip(1);
    let hex = |text: &str| i64::from_str_radix(text, 16).ok();
    let mut channel = parts.next()?.split('.').map(hex);
    let (cssid, ssid, subchno) = (channel.next()??, channel.next()??, channel.next()??);
    let devno = hex(parts.next()?.rsplit('.').next()?)?;
    disk.ccw_address = Some(Ccw { cssid, ssid, subchno, devno });
    if path.contains("/virtio") {
        on_virtio(path, disk);
    }
    Some(())
}

fn get_disks(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let blocks = Path::new("sys/block");
    let names = names(context, blocks).ok_or_else(|| {
        CommandError::failed("Can't open directory \"/sys/block\"; is /sys mounted?")
    })?;
    let mut disks = Vec::new();
    for name in names {
        let Some(folder) = resolve(context, &blocks.join(&name)) else { continue };
        let size = read_text(context, &folder.join("size").to_string_lossy());
        if size.is_none_or(|size| size.trim() == "0") {
            continue;
        }
        if let Some(dev) = dev_node(context, &folder) {
            disks.push(whole_disk(context, &folder, &dev));
            disks.extend(partitions(context, &folder, &name, &dev));
        }
    }
    disks.reverse();
    Ok(disks.into())
}

fn whole_disk(context: &Context, folder: &Path, dev: &str) -> Value {
    let mut members = Map::new();
    members.insert("name".to_owned(), dev.into());
    members.insert("partition".to_owned(), false.into());
    let alias = udev_property(context, folder, "DM_NAME")
        .or_else(|| read_text(context, &folder.join("dm/name").to_string_lossy()));
    if let Some(alias) = alias {
        members.insert("alias".to_owned(), alias.trim().into());
    }
    if !is_virtual(folder)
        && let Some(address) = address(context, folder)
    {
        members.insert("address".to_owned(), json!(address));
    }
    let slaves = folder.join("slaves");
    if let Some(names) = names(context, &slaves) {
        let node = |name: &String| dev_node(context, &resolve(context, &slaves.join(name))?);
        let below: Vec<Value> = names.iter().filter_map(node).map(Value::from).collect();
        members.insert("dependencies".to_owned(), below.into());
    }
    Value::Object(members)
}

fn partitions(context: &Context, folder: &Path, disk: &str, dev: &str) -> Vec<Value> {
    let is_part = |name: &String| {
        let rest = name.strip_prefix(disk).map(|rest| rest.strip_prefix('p').unwrap_or(rest));
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let names = names(context, folder).unwrap_or_default();
    let parts = names.iter().filter(|name| is_part(name));
    let nodes = parts.filter_map(|name| dev_node(context, &folder.join(name)));
    nodes.map(|node| json!({ "name": node, "partition": true, "dependencies": [dev] })).collect()
}
