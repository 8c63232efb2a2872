//! Machines of the other kinds: a microvm with a config drive, and one that starts by UEFI.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use vnode_driver::{BaseDisk, DiskFormat, Ended, MachineModel, Phase, Ready, Seed, Start};

use crate::bed::{Bed, answers, exec, link, until};
use crate::words;

pub(crate) async fn cases(bed: Arc<Bed>) {
    microvm(&bed).await;
    uefi(&bed).await;
}

async fn microvm(bed: &Bed) {
    let mut spec = bed.spec("micro").await;
    let machine = spec.machine.as_mut().unwrap();
    machine.model = MachineModel::Microvm;
    machine.seed = Seed::ConfigDrive;
    machine.disks = vec![1 << 20];
    let user_data = bed.dir.path().join("user-data");
    std::fs::write(&user_data, "#cloud-config\nfqdn: micro.example\n").unwrap();
    machine.user_data = Some(user_data);
    let vm = bed.create(&spec).await.unwrap();
    let far = link(&*vm, "eth1", "10.9.1.1/24", "10.9.1.2/24");
    vm.boot(&spec).await.unwrap();
    assert_eq!(exec(&*vm, &["hostname"]).await, (0, "micro\n".to_owned()));
    answers(&far, "10.9.1.1");
    // The config drive as cloud-init looks for it, in OpenStack's form.
    let show = "mkdir -p /mnt; for disk in vda vdb; do mount -t vfat -o ro /dev/$disk /mnt 2>/dev/null && break; done; \
                cd /mnt/openstack/latest && cat meta_data.json network_data.json user_data";
    let (code, text) = exec(&*vm, &["sh", "-c", show]).await;
    assert_eq!(code, 0, "{text}");
    for word in ["\"hostname\":\"micro\"", "10.9.1.1", "255.255.255.0", "fqdn: micro.example"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    // A microvm powers off, too, and that is what is told.
    let off = vm.exec(&words(&["poweroff", "-f"])).await;
    let status = until(&*vm, Phase::Stopped).await;
    drop(off);
    assert_eq!(status.last_exit.unwrap().ended, Ended::Poweroff);
}

async fn uefi(bed: &Bed) {
    if !Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").exists() {
        println!("skipped: the package `ovmf` is not installed");
        return;
    }
    let image = bed.dir.path().join("efi.raw");
    system_partition(&image);
    let mut spec = bed.spec("efi").await;
    let machine = spec.machine.as_mut().unwrap();
    machine.start = Start::Uefi;
    machine.ready = Ready::Started;
    machine.memory_bytes = 256 << 20;
    let size_bytes = std::fs::metadata(&image).unwrap().len();
    machine.disk = Some(BaseDisk { image, format: DiskFormat::Raw, size_bytes });
    let vm = bed.create(&spec).await.unwrap();
    vm.boot(&spec).await.unwrap();
    // The firmware finds the program on the disk, and the program turns the machine off.
    let status = until(&*vm, Phase::Stopped).await;
    assert_eq!(status.last_exit.unwrap().ended, Ended::Poweroff);
    let console = std::fs::read(vm.logs().current).unwrap();
    assert!(String::from_utf8_lossy(&console).contains(GREETING), "the program did not run");
}

const GREETING: &str = "started by UEFI";

/// A disk with what firmware looks for on one that can be taken out: `EFI/BOOT/BOOTX64.EFI`.
fn system_partition(path: &Path) {
    let mut file =
        std::fs::File::options().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(8 << 20).unwrap();
    fatfs::format_volume(&mut file, fatfs::FormatVolumeOptions::new()).unwrap();
    let volume = fatfs::FileSystem::new(&mut file, fatfs::FsOptions::new()).unwrap();
    let folder = volume.root_dir().create_dir("EFI").unwrap().create_dir("BOOT").unwrap();
    folder.create_file("BOOTX64.EFI").unwrap().write_all(&program()).unwrap();
}

/// A program for UEFI that writes [`GREETING`] to the first serial line and turns a Q35 off, by hand: a compiler for it would
/// be a package more.
fn program() -> Vec<u8> {
    const CODE_AT: u32 = 0x200;
    const LOADED_AT: u32 = 0x1000;
    let mut code = vec![0x66, 0xba, 0xf8, 0x03]; // mov dx, 0x3f8
    for byte in GREETING.bytes().chain(*b"\r\n") {
        code.extend([0xb0, byte, 0xee]); // mov al, byte; out dx, al
    }
    // Q35's power management as firmware places it: PM1a_CNT at 0x604, sleep enable.
    code.extend([0x66, 0xba, 0x04, 0x06]); // mov dx, 0x604
    code.extend([0x66, 0xb8, 0x00, 0x20]); // mov ax, 0x2000
    code.extend([0x66, 0xef]); // out dx, ax
    code.extend([0xf4, 0xeb, 0xfd]); // hlt; jmp to it
    code.resize(code.len().next_multiple_of(0x200), 0xcc);
    let length = u32::try_from(code.len()).unwrap();

    let mut all = b"MZ".to_vec();
    all.resize(0x3c, 0);
    all.extend(0x40u32.to_le_bytes());
    all.extend(b"PE\0\0");
    // x86-64, one section, no symbols; executable, relocated by nobody because nothing in it has an address.
    all.extend(0x8664u16.to_le_bytes());
    all.extend(1u16.to_le_bytes());
    all.extend([0; 12]);
    all.extend(240u16.to_le_bytes());
    all.extend(0x0222u16.to_le_bytes());
    // The optional header: PE32+, sizes, entry, base of code.
    all.extend(0x020bu16.to_le_bytes());
    all.extend([0, 0]);
    for number in [length, 0, 0, LOADED_AT, LOADED_AT] {
        all.extend(number.to_le_bytes());
    }
    all.extend(0u64.to_le_bytes()); // any base
    all.extend(0x1000u32.to_le_bytes()); // alignment in memory, in the file
    all.extend(0x200u32.to_le_bytes());
    all.extend([0; 16]); // versions, which nobody reads
    for number in [LOADED_AT + length.next_multiple_of(0x1000), CODE_AT, 0] {
        all.extend(number.to_le_bytes());
    }
    all.extend(10u16.to_le_bytes()); // an EFI application
    all.extend([0; 2]);
    all.extend([0; 32]); // stack and heap
    all.extend(0u32.to_le_bytes());
    all.extend(16u32.to_le_bytes());
    all.extend([0; 16 * 8]);
    // The section.
    all.extend(b".text\0\0\0");
    for number in [length, LOADED_AT, length, CODE_AT, 0, 0, 0, 0x6000_0020] {
        all.extend(number.to_le_bytes());
    }
    all.resize(CODE_AT as usize, 0);
    all.extend(code);
    all
}
