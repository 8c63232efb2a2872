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
    if let Some(why) = paravirtual(Path::new("/sys/module")) {
        return no(Some(version), why);
    }
    match boots(folder, "kvm", "host").await {
        Ok(()) => Accelerators {
            qemu: Some(version),
            kvm: true,
            reason: "a probe booted on KVM".to_owned(),
        },
        Err(why) => no(Some(version), format!("a probe on /dev/kvm boots nothing: {why}")),
    }
}

/// Why KVM is none for kernels as they are: without the processor's own virtualisation, its paravirtual module (`kvm_pvm`)
/// runs the probe's few instructions, and of a usual kernel nothing after its decompression.
fn paravirtual(modules: &Path) -> Option<String> {
    let there = |name: &str| modules.join(name).is_dir();
    (there("kvm_pvm") && !there("kvm_intel") && !there("kvm_amd")).then(|| {
        "KVM is the paravirtual kvm_pvm here, which boots only kernels made for it".to_owned()
    })
}

/// Runs the probe's machine; why it did not come to its end.
async fn boots(folder: &Path, accelerator: &str, cpu: &str) -> Result<(), String> {
    let image = folder.join(format!("{accelerator}-probe"));
    std::fs::write(&image, boot_sector()).map_err(|e| format!("it cannot be written: {e}"))?;
    let drive = format!("file={},format=raw,if=floppy,readonly=on", image.display());
    let machine = format!("pc,accel={accelerator}");
    let asked = Spec::new(["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"])
        .arg("-machine")
        .arg(machine)
        .arg("-cpu")
        .arg(cpu)
        .arg("-m")
        .arg("16")
        .arg("-display")
        .arg("none")
        .arg("-device")
        .arg("isa-debug-exit,iobase=0x501,iosize=1")
        .arg("-drive")
        .arg(drive)
        .arg("-boot")
        .arg("a")
        .capture(4096)
        .time_limit(PATIENCE);
    let ran = vnode_action::run(asked, &CancellationToken::new()).await;
    // It is made again at each start of the daemon.
    let _ = std::fs::remove_file(&image);
    match ran {
        // isa-debug-exit ends QEMU with twice the value written, and one.
        Ok(output) if output.status == ExitStatus::Code(i32::from(TOKEN) * 2 + 1) => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let line = text.lines().last().unwrap_or("it ended without a word");
            Err(line.to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// What the probe writes to the port that ends it.
const TOKEN: u8 = 0x2a;

/// Goes to protected and then to long mode, as every kernel does and where half-working KVMs stop, and writes [`TOKEN`] to
/// port 0x501.
fn boot_sector() -> Vec<u8> {
    /// Where in the sector each part lies; it is loaded at 0x7c00.
    const PROTECTED: usize = 0x20;
    const LONG: usize = 0xa0;
    const TABLE: usize = 0xc0;
    let mut code: Vec<u8> = vec![
        0xfa, // cli
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0x0f, 0x01, 0x16, 0xc0, 0x7c, // lgdt [0x7cc0]
        0x0f, 0x20, 0xc0, // mov eax, cr0
        0x0c, 0x01, // or al, 1
        0x0f, 0x22, 0xc0, // mov cr0, eax
        0xea, 0x20, 0x7c, 0x08, 0x00, // jmp 0x08:0x7c20
    ];
    code.resize(PROTECTED, 0x90);
    code.extend([
        0x66, 0xb8, 0x18, 0x00, // mov ax, 0x18
        0x8e, 0xd8, // mov ds, ax
        0x8e, 0xc0, // mov es, ax
        // Page tables at 0x1000: the first two megabytes, as they are.
        0xbf, 0x00, 0x10, 0x00, 0x00, // mov edi, 0x1000
        0x31, 0xc0, // xor eax, eax
        0xb9, 0x00, 0x0c, 0x00, 0x00, // mov ecx, 3072
        0xfc, // cld
        0xf3, 0xab, // rep stosd
        0xc7, 0x05, 0x00, 0x10, 0x00, 0x00, 0x03, 0x20, 0x00,
        0x00, // mov dword [0x1000], 0x2003
        0xc7, 0x05, 0x00, 0x20, 0x00, 0x00, 0x03, 0x30, 0x00,
        0x00, // mov dword [0x2000], 0x3003
        0xc7, 0x05, 0x00, 0x30, 0x00, 0x00, 0x83, 0x00, 0x00,
        0x00, // mov dword [0x3000], 0x83
        0xb8, 0x00, 0x10, 0x00, 0x00, // mov eax, 0x1000
        0x0f, 0x22, 0xd8, // mov cr3, eax
        0x0f, 0x20, 0xe0, // mov eax, cr4
        0x0c, 0x20, // or al, 0x20: PAE
        0x0f, 0x22, 0xe0, // mov cr4, eax
        0xb9, 0x80, 0x00, 0x00, 0xc0, // mov ecx, 0xc0000080: EFER
        0x0f, 0x32, // rdmsr
        0x0d, 0x00, 0x01, 0x00, 0x00, // or eax, 0x100: LME
        0x0f, 0x30, // wrmsr
        0x0f, 0x20, 0xc0, // mov eax, cr0
        0x0d, 0x01, 0x00, 0x00, 0x80, // or eax, 0x80000001
        0x0f, 0x22, 0xc0, // mov cr0, eax
        0xea, 0xa0, 0x7c, 0x00, 0x00, 0x10, 0x00, // jmp 0x10:0x7ca0
    ]);
    code.resize(LONG, 0x90);
    code.extend([
        0xb0, TOKEN, // mov al, TOKEN
        0x66, 0xba, 0x01, 0x05, // mov dx, 0x501
        0xee, // out dx, al
        0xf4, 0xeb, 0xfd, // hlt; jmp to it
    ]);
    code.resize(TABLE, 0);
    // The table's size and place; then nothing, code of 32 bits, of 64 bits, and data.
    code.extend([0x1f, 0x00, 0xc8, 0x7c, 0x00, 0x00, 0, 0]);
    code.extend([0; 8]);
    code.extend([0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0]);
    code.extend([0xff, 0xff, 0, 0, 0, 0x9a, 0xaf, 0]);
    code.extend([0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0]);
    code.resize(510, 0);
    code.extend([0x55, 0xaa]);
    // A floppy of the least size that QEMU takes for one.
    code.resize(1_474_560, 0);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paravirtual_kvm_alone_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let module = |name: &str| std::fs::create_dir(dir.path().join(name)).unwrap();
        assert_eq!(paravirtual(dir.path()), None);
        module("kvm");
        module("kvm_pvm");
        assert!(paravirtual(dir.path()).unwrap().contains("kvm_pvm"));
        module("kvm_amd");
        assert_eq!(paravirtual(dir.path()), None, "the probe decides");
    }

    #[tokio::test]
    async fn the_probe_comes_to_its_end_where_machines_work() {
        let dir = tempfile::tempdir().unwrap();
        match boots(dir.path(), "tcg", "max").await {
            Ok(()) => {}
            Err(why) if why.contains("no program") => {
                println!("skipped: qemu-system-x86_64 is not installed");
            }
            Err(why) => panic!("{why}"),
        }
    }
}
