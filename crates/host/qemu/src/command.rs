//! QEMU's command line.

use vnode_driver::{Accelerator, Error, MachineModel, NicModel, NodeSpec, Result, Seed, Start};

use crate::accel::{Accelerators, PROGRAM};
use crate::disk;
use crate::exit;
use crate::nic::Nic;
use crate::seed;
use crate::shell::{IMAGES, INSIDE, machine};

/// Sockets in the machine's folder.
pub(crate) const QMP: &str = "qmp.sock";
pub(crate) const AGENT: &str = "agent.sock";
pub(crate) const VNC: &str = "vnc.sock";
/// Of QEMU's own agent.
pub(crate) const QGA: &str = "qga.sock";
pub(crate) const SOCKETS: [&str; 4] = [QMP, AGENT, QGA, VNC];
/// Ports of the guest's agent, ours and QEMU's: name of the line, socket, and the name the agent looks for.
pub(crate) const PORTS: [(&str, &str, &str); 2] =
    [("agent", AGENT, "org.vnode.agent.0"), ("qga", QGA, "org.qemu.guest_agent.0")];

/// What the shell executes.
pub(crate) struct Command {
    pub(crate) argv: Vec<String>,
    /// The group of /dev/kvm, when it is used.
    pub(crate) kvm: Option<u32>,
}

/// Whether the machine will run on KVM.
pub(crate) fn uses_kvm(spec: &NodeSpec, accelerators: &Accelerators) -> Result<bool> {
    let asked = machine(spec)?.accelerator;
    if accelerators.qemu.is_none() {
        let what = accelerators.reason.clone();
        return Err(Error::Unsupported { node: spec.node.clone(), what });
    }
    match asked {
        Accelerator::Kvm if !accelerators.kvm => Err(Error::Unsupported {
            node: spec.node.clone(),
            what: format!(
                "it asks for KVM, which does not work here: {}; leave `accel` out to have it emulated",
                accelerators.reason
            ),
        }),
        Accelerator::Kvm | Accelerator::Auto => Ok(accelerators.kvm),
        Accelerator::Tcg => Ok(false),
    }
}

/// Arguments of QEMU, where a comma in a value stands twice.
struct Arguments(Vec<String>);

impl Arguments {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|&word| word.to_owned()));
    }

    fn device(&mut self, text: String) {
        self.0.extend(["-device".to_owned(), text]);
    }

    fn socket(&mut self, id: &str, name: &str) {
        let text = format!("socket,id={id},path={INSIDE}/{name},server=on,wait=off");
        self.0.extend(["-chardev".to_owned(), text]);
    }
}

pub(crate) fn build(spec: &NodeSpec, accelerators: &Accelerators, nics: &[Nic]) -> Result<Command> {
    let machine = machine(spec)?;
    let kvm = uses_kvm(spec, accelerators)?;
    let microvm = machine.model == MachineModel::Microvm;
    // Devices on the PCI bus, or the memory-mapped ones of a microvm.
    let bus = if microvm { "device" } else { "pci" };
    let unsupported = |what: &str| Error::Unsupported {
        node: spec.node.clone(),
        what: format!("a microvm {what}; use `machine: q35`"),
    };
    if microvm {
        if !matches!(machine.start, Start::Kernel { .. }) {
            return Err(unsupported("boots a kernel given with `kernel`, and nothing else"));
        }
        if machine.watchdog || machine.vnc {
            return Err(unsupported("has neither a watchdog nor a screen"));
        }
        if machine.seed == Seed::Metadata {
            return Err(unsupported("has no serial number that says where its metadata are"));
        }
        if machine.nic == NicModel::E1000 {
            return Err(unsupported("has virtio interfaces only"));
        }
    }
    let mut all = Arguments(vec![format!("/usr/bin/{PROGRAM}")]);
    all.add(&["-name", &spec.node.replace(',', ",,"), "-nodefaults", "-no-user-config"]);
    // A reset ends this run, and the next boot begins with the definition as it is then.
    all.add(&["-no-reboot", "-monitor", "none"]);
    all.add(&[
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]);
    all.add(&["-machine", &model(machine.model, kvm)]);
    all.add(&["-cpu", cpu(microvm, kvm)]);
    all.add(&["-smp", &machine.cpus.to_string()]);
    all.add(&["-m", &format!("{}M", machine.memory_bytes.div_ceil(1 << 20))]);
    all.add(&["-uuid", &spec.uuid]);
    all.add(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    all.socket("qmp", QMP);
    all.add(&["-mon", "chardev=qmp,mode=control"]);
    all.add(&["-D", &format!("{INSIDE}/{}", exit::TRACE), "-d", &format!("trace:{}", exit::EVENT)]);
    all.device(format!("virtio-rng-{bus}"));
    all.device(format!("virtio-serial-{bus},id=ports"));
    for (id, socket, port) in PORTS {
        all.socket(id, socket);
        all.device(format!("virtserialport,bus=ports.0,chardev={id},name={port}"));
    }
    match &machine.start {
        Start::Bios => {}
        Start::Uefi => firmware(&mut all),
        Start::Kernel { initrd, append, .. } => {
            all.add(&["-kernel", &format!("{IMAGES}/kernel")]);
            if initrd.is_some() {
                all.add(&["-initrd", &format!("{IMAGES}/initrd")]);
            }
            all.add(&["-append", &kernel_line(microvm, kvm, append)]);
        }
    }
    disk::arguments(machine, bus, &mut all.0);
    seed::arguments(machine, bus, &mut all.0);
    for (number, nic) in nics.iter().enumerate() {
        interface(&mut all, machine, bus, number, nic);
    }
    let screen = machine.vnc || !matches!(machine.start, Start::Kernel { .. });
    if screen && !microvm {
        all.device("VGA,vgamem_mb=16".to_owned());
    }
    if machine.vnc {
        all.add(&["-vnc", &format!("unix:{INSIDE}/{VNC}")]);
    } else {
        all.add(&["-display", "none"]);
    }
    if machine.watchdog {
        all.device("i6300esb".to_owned());
        all.add(&["-action", "watchdog=reset"]);
    }
    if machine.vsock {
        // Addresses below 3 mean something else.
        all.device(format!("vhost-vsock-{bus},guest-cid={}", spec.vmid.saturating_add(3)));
    }
    Ok(Command { argv: all.0, kvm: if kvm { Some(group_of_kvm(spec)?) } else { None } })
}

fn model(model: MachineModel, kvm: bool) -> String {
    let accelerator = if kvm { "kvm" } else { "tcg" };
    match model {
        MachineModel::Q35 => format!("q35,accel={accelerator},vmport=off"),
        // Debian's kernel finds the devices of a microvm by ACPI only.
        MachineModel::Microvm if kvm => format!("microvm,accel={accelerator},acpi=on"),
        // Emulated, it does not find its clock's speed without these.
        MachineModel::Microvm => format!("microvm,accel={accelerator},acpi=on,pit=on,pic=on"),
    }
}

fn cpu(microvm: bool, kvm: bool) -> &'static str {
    match (kvm, microvm) {
        (true, _) => "host",
        (false, true) => "max,la57=off,tsc-deadline=off",
        // Five levels of page tables cost an emulated machine time and give it nothing.
        (false, false) => "max,la57=off",
    }
}

fn kernel_line(microvm: bool, kvm: bool, append: &str) -> String {
    let mut line = "console=ttyS0 panic=-1 net.ifnames=0 random.trust_cpu=on".to_owned();
    if !kvm {
        // An emulated timer may stand still for as long as the host has no processor for it: not a fault to panic for.
        line.push_str(" no_timer_check");
    }
    if microvm {
        line.push_str(" reboot=t");
        if !kvm {
            line.push_str(" tsc_early_khz=2000000 lpj=10000000");
        }
    }
    if !append.is_empty() {
        line.push(' ');
        line.push_str(append);
    }
    line
}

fn firmware(all: &mut Arguments) {
    all.add(&[
        "-blockdev",
        "driver=file,node-name=code,filename=/usr/share/OVMF/OVMF_CODE_4M.fd,read-only=on",
    ]);
    let variables = format!("driver=file,node-name=vars,filename={}", disk::VARIABLES);
    all.add(&["-blockdev", &variables]);
    // Not `-machine pflash0=`: the machine's options stand further up.
    all.add(&["-machine", "pflash0=code,pflash1=vars"]);
}

fn interface(
    all: &mut Arguments,
    machine: &vnode_driver::Machine,
    bus: &str,
    number: usize,
    nic: &Nic,
) {
    let queues = if machine.nic == NicModel::Virtio { machine.queues } else { 1 };
    let mut netdev = format!("tap,id=net{number},ifname={},script=no,downscript=no", nic.tap);
    let mut device = match machine.nic {
        NicModel::Virtio => format!("virtio-net-{bus},host_mtu={}", nic.mtu),
        NicModel::E1000 => "e1000".to_owned(),
    };
    device.push_str(&format!(",id=nic{number},netdev=net{number},mac={}", nic.mac));
    if bus == "pci" {
        // No network boot: the disk or the kernel is what it starts from.
        device.push_str(",romfile=");
    }
    if queues > 1 {
        netdev.push_str(&format!(",queues={queues}"));
        device.push_str(",mq=on");
        if bus == "pci" {
            device.push_str(&format!(",vectors={}", 2 * queues + 2));
        }
    }
    all.add(&["-netdev", &netdev]);
    all.device(device);
}

fn group_of_kvm(spec: &NodeSpec) -> Result<u32> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata("/dev/kvm").map_err(|e| Error::Unsupported {
        node: spec.node.clone(),
        what: format!("/dev/kvm: {e}"),
    })?;
    Ok(found.gid())
}

#[cfg(test)]
mod tests;
