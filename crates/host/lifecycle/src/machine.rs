//! From a node of kind `vm` and its image to the machine a driver is given; every default is filled in here.

use vnode_driver::{
    Accelerator, BaseDisk, DiskFormat, Domain, DomainSource, Machine, MachineModel, NicModel,
    Ready, Seed, Start,
};
use vnode_image::DiskFile;
use vnode_image::disk::Format;
use vnode_topology::Node;

use crate::error::{Error, Result};

/// Memory of a machine that asks for none. In R-10's 128 MiB no kernel of a distribution starts (ARCHITECTURE.md).
const MEMORY: u64 = 512 << 20;
/// Time a machine has to become what its boot waits for.
const READY_TIMEOUT_S: u32 = 180;

/// What a boot waits for.
fn ready(vm: &vnode_topology::Vm) -> (Ready, u64) {
    let ready = match vm.ready.as_deref() {
        Some("agent") => Ready::Agent,
        Some("reachable") => Ready::Reachable,
        _ => Ready::Started,
    };
    (ready, u64::from(vm.ready_timeout_s.unwrap_or(READY_TIMEOUT_S)) * 1000)
}

/// The domain of a node; `None` for one that is not libvirt's.
pub(crate) fn domain(node: &Node) -> Option<Domain> {
    /// QEMU's libvirt of this machine.
    const URI: &str = "qemu:///system";
    let libvirt = node.libvirt.as_ref()?;
    let source = match (&libvirt.xml, &libvirt.domain) {
        (Some(xml), _) => DomainSource::Define(xml.clone()),
        // The parser has seen to it that there is one of the two.
        (None, name) => DomainSource::Adopt(name.clone().unwrap_or_default()),
    };
    let (ready, ready_timeout_ms) = ready(&node.vm.clone().unwrap_or_default());
    Some(Domain {
        uri: libvirt.uri.clone().unwrap_or_else(|| URI.to_owned()),
        source,
        cpus: node.resources.cpu.map(|cpus| cpus.ceil().clamp(1.0, 4096.0) as u32),
        memory_bytes: node.resources.memory_bytes,
        ready,
        ready_timeout_ms,
    })
}

/// The machine of a node; `None` for a container.
pub(crate) fn of(node: &Node, image: Option<&DiskFile>) -> Result<Option<Machine>> {
    let Some(vm) = node.vm.as_ref().filter(|_| node.libvirt.is_none()) else { return Ok(None) };
    let usage = |what: String| Err(Error::usage(format!("node `{}`: {what}", node.name)));
    let start = match (&vm.kernel, vm.firmware.as_deref()) {
        (Some(kernel), _) => Start::Kernel {
            kernel: kernel.clone(),
            initrd: vm.initrd.clone(),
            append: vm.append.clone().unwrap_or_default(),
        },
        (None, Some("uefi")) => Start::Uefi,
        (None, _) => Start::Bios,
    };
    let disk = match image {
        None => None,
        Some(image) => {
            let format = match image.format {
                Format::Raw => DiskFormat::Raw,
                Format::Qcow2 => DiskFormat::Qcow2,
                Format::Vmdk => DiskFormat::Vmdk,
                Format::Vdi => DiskFormat::Vdi,
                other => return usage(format!("a machine cannot have a disk of format {other:?}")),
            };
            let size_bytes = vm.disk_bytes.unwrap_or(image.virtual_size);
            if size_bytes < image.virtual_size {
                return usage(format!(
                    "`disk` is {size_bytes} bytes, smaller than its image of {}: a disk is only grown",
                    image.virtual_size
                ));
            }
            Some(BaseDisk { image: image.path.clone(), format, size_bytes })
        }
    };
    let cpus = node.resources.cpu.unwrap_or(1.0).ceil().clamp(1.0, 255.0) as u32;
    let memory_bytes = node.resources.memory_bytes.unwrap_or(MEMORY);
    if memory_bytes < 32 << 20 {
        return usage(format!("a machine with {memory_bytes} bytes of memory boots nothing"));
    }
    let queues = vm.queues.unwrap_or(1);
    if queues > cpus {
        return usage(format!("{queues} queues need as many processors: give `cpu: {queues}`"));
    }
    let accelerator = match vm.accel.as_deref() {
        Some("kvm") => Accelerator::Kvm,
        Some("tcg") => Accelerator::Tcg,
        _ => Accelerator::Auto,
    };
    Ok(Some(Machine {
        model: match vm.machine.as_deref() {
            Some("microvm") => MachineModel::Microvm,
            _ => MachineModel::Q35,
        },
        accelerator,
        start,
        cpus,
        memory_bytes,
        disk,
        disks: vm.disks_bytes.clone(),
        nic: if vm.nic.as_deref() == Some("e1000") { NicModel::E1000 } else { NicModel::Virtio },
        queues,
        seed: match vm.seed.as_deref() {
            Some("none") => Seed::None,
            Some("config-drive") => Seed::ConfigDrive,
            Some("metadata") => Seed::Metadata,
            _ => Seed::Nocloud,
        },
        user_data: vm.user_data.clone(),
        ready: ready(vm).0,
        ready_timeout_ms: ready(vm).1,
        vnc: vm.vnc,
        watchdog: vm.watchdog,
        vsock: vm.vsock,
    }))
}
