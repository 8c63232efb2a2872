//! Which accelerator works here. A device file proves nothing: nested or paravirtual KVM opens, and boots no guest. So a
//! machine of a few instructions is run on it.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vnode_action::{CancellationToken, ExitStatus, Spec};

/// QEMU's program.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
/// A probe that is not over by then has hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// What machines run on here, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerators {
    /// QEMU's version; `None`: it is not installed.
    pub qemu: Option<String>,
    pub kvm: bool,
    /// Why `kvm` is as it is.
    pub reason: String,
}

/// Finds out by running it; some tens of milliseconds, more where KVM hangs. `folder` is for the probe's files.
pub(crate) async fn probe(folder: &Path) -> Accelerators {
    let no = |qemu: Option<String>, reason: String| Accelerators { qemu, kvm: false, reason };
    let cancel = CancellationToken::new();
    let asked = Spec::new([PROGRAM, "--version"]).capture(4096).time_limit(PATIENCE);
    let version = match vnode_action::run(asked, &cancel).await {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.split_whitespace().nth(3).unwrap_or("unknown").to_owned()
        }
        Ok(_) | Err(_) => {
            return no(
                None,
                format!("`{PROGRAM}` is not installed: apt-get install qemu-system-x86"),
            );
        }
    };
    if !Path::new("/dev/kvm").exists() {
        return no(Some(version), "there is no /dev/kvm".to_owned());
    }
    let image = folder.join("kvm-probe");
    if let Err(error) = std::fs::write(&image, boot_sector()) {
        return no(Some(version), format!("the probe cannot be written: {error}"));
    }
    let drive = format!("file={},format=raw,if=floppy,readonly=on", image.display());
    let asked = Spec::new([PROGRAM, "-nodefaults", "-no-user-config", "-display", "none"])
        .arg("-machine")
        .arg("pc,accel=kvm")
        .arg("-cpu")
        .arg("host")
        .arg("-m")
        .arg("16")
        .arg("-device")
        .arg("isa-debug-exit,iobase=0x501,iosize=1")
        .arg("-drive")
        .arg(drive)
        .arg("-boot")
        .arg("a")
        .arg("-no-reboot")
        .capture(4096)
        .time_limit(PATIENCE);
    let ran = vnode_action::run(asked, &cancel).await;
    // It is made again at each start of the daemon.
    let _ = std::fs::remove_file(&image);
    match ran {
        // isa-debug-exit ends QEMU with twice the value written, and one.
        Ok(output) if output.status == ExitStatus::Code(i32::from(TOKEN) * 2 + 1) => Accelerators {
            qemu: Some(version),
            kvm: true,
            reason: "a probe booted on KVM".to_owned(),
        },
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let line = text.lines().next().unwrap_or("no reason is given");
            no(Some(version), format!("a probe on /dev/kvm failed: {line}"))
        }
        Err(error) => no(Some(version), format!("a probe on /dev/kvm boots nothing: {error}")),
    }
}

/// What the probe writes to the port that ends it.
const TOKEN: u8 = 0x2a;

/// Goes to protected mode, where half-working KVMs stop, and writes [`TOKEN`] to port 0x501.
fn boot_sector() -> Vec<u8> {
    let mut code: Vec<u8> = vec![
        0xfa, // cli
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0x0f, 0x01, 0x16, 0x40, 0x7c, // lgdt [0x7c40]
        0x0f, 0x20, 0xc0, // mov eax, cr0
        0x0c, 0x01, // or al, 1
        0x0f, 0x22, 0xc0, // mov cr0, eax
        0xea, 0x20, 0x7c, 0x08, 0x00, // jmp 0x08:0x7c20
    ];
    code.resize(0x20, 0x90);
    code.extend([
        0xb0, TOKEN, // mov al, TOKEN
        0x66, 0xba, 0x01, 0x05, // mov dx, 0x501
        0xee, // out dx, al
        0xf4, 0xeb, 0xfd, // hlt; jmp to it
    ]);
    code.resize(0x40, 0);
    // Descriptor of the table at 0x7c48: a null entry and flat code.
    code.extend([0x0f, 0x00, 0x48, 0x7c, 0x00, 0x00, 0, 0]);
    code.extend([0; 8]);
    code.extend([0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0]);
    code.resize(510, 0);
    code.extend([0x55, 0xaa]);
    // A floppy of the least size that QEMU takes for one.
    code.resize(1_474_560, 0);
    code
}
