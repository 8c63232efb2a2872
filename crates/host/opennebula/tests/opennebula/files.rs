//! What a file in the cache becomes before it is registered.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::site::{Site, raw, with};

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar archive of files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = b'0';
        header[257..263].copy_from_slice(b"ustar\0");
        header[263..265].copy_from_slice(b"00");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, content) in files {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn ovf(files: &[(&str, &str)], drives: &[&str]) -> String {
    let references: String = files
        .iter()
        .map(|(id, href)| format!("<ovf:File ovf:id=\"f-{id}\" ovf:href=\"{href}\"/>"))
        .collect();
    let disks: String = files
        .iter()
        .map(|(id, _)| format!("<ovf:Disk ovf:diskId=\"{id}\" ovf:fileRef=\"f-{id}\"/>"))
        .collect();
    let items: String = drives
        .iter()
        .map(|id| format!("<ovf:Item><rasd:HostResource>ovf:/disk/{id}</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType></ovf:Item>"))
        .collect();
    format!(
        "<ovf:Envelope xmlns:ovf=\"o\" xmlns:rasd=\"r\"><ovf:References>{references}</ovf:References>\
         <ovf:DiskSection>{disks}</ovf:DiskSection><ovf:VirtualSystem><ovf:VirtualHardwareSection>{items}\
         </ovf:VirtualHardwareSection></ovf:VirtualSystem></ovf:Envelope>"
    )
}

/// The header of an empty qcow2 of 1 MiB, alone.
fn qcow2(backing: bool) -> Vec<u8> {
    let mut head = vec![0; 65536];
    head[..8].copy_from_slice(&[b'Q', b'F', b'I', 0xfb, 0, 0, 0, 3]);
    if backing {
        head[14..16].copy_from_slice(&[2, 0]);
        head[19] = 11;
        head[512..523].copy_from_slice(b"/etc/passwd");
    }
    head[23] = 16;
    head[29] = 0x10;
    head[103] = 104;
    head
}

/// Publishes a file; what the server copied, or the exit code.
#[track_caller]
fn published(content: &[u8], format: &str) -> Result<Vec<u8>, i32> {
    let site = Site::fake();
    site.file(content);
    let event =
        with(site.event("AvailablePostfix", "a1"), &[("VMCATCHER_EVENT_HV_FORMAT", format)]);
    let ran = site.run(&event);
    site.is_clean();
    assert_eq!(crate::site::listing(&site.cache()).len(), 1 + usize::from(site.work().exists()));
    match ran.code {
        Some(0) => Ok(site.kept(site.named().id).content.unwrap()),
        code => {
            assert!(site.images().is_empty());
            Err(code.unwrap())
        }
    }
}

/// As [`published`], when it must be refused before the server is asked anything.
#[track_caller]
fn refused(content: &[u8], format: &str) {
    let site = Site::fake();
    site.file(content);
    let event =
        with(site.event("AvailablePostfix", "a1"), &[("VMCATCHER_EVENT_HV_FORMAT", format)]);
    let ran = site.run(&event);
    ran.ends(2);
    assert!(site.calls().is_empty(), "{}", ran.log);
    site.is_clean();
}

#[test]
fn h13_raw_in_any_letter_case_is_taken_as_it_is() {
    for format in ["RAW", "raw", "Raw"] {
        assert_eq!(published(&raw(b"disk"), format), Ok(raw(b"disk")), "{format}");
        // Without any mark of a disk, its list's word is enough.
        assert_eq!(published(b"no mark at all", format), Ok(b"no mark at all".to_vec()));
    }
}

#[test]
fn h15_formats_are_told_by_content() {
    for format in ["qcow2", "", "whatever", "RAW"] {
        assert_eq!(published(&qcow2(false), format), Ok(qcow2(false)), "{format}");
    }
    // A raw disk without that word, but with a boot sector.
    assert_eq!(published(&raw(b"disk"), ""), Ok(raw(b"disk")));
    // Nothing that is known.
    refused(b"just words", "");
    refused(b"just words", "qcow2");
    refused(b"just words", "vmdk");
    refused(b"", "RAW");
}

#[test]
fn h15_packed_disks_are_unpacked() {
    let disk = raw(b"packed");
    assert_eq!(published(&gzip(&disk), "RAW"), Ok(disk.clone()));
    assert_eq!(published(&gzip(&gzip(&disk)), ""), Ok(disk.clone()));
    assert_eq!(published(&zstd::encode_all(&disk[..], 1).unwrap(), ""), Ok(disk.clone()));
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&disk).unwrap();
    assert_eq!(published(&xz.finish().unwrap(), ""), Ok(disk.clone()));
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&disk).unwrap();
    assert_eq!(published(&bzip2.finish().unwrap(), ""), Ok(disk.clone()));
    assert_eq!(published(&zip(&[("any name", &disk)]), ""), Ok(disk.clone()));
    assert_eq!(published(&gzip(&tar(&[("a.raw", &disk), ("readme", b"x")])), ""), Ok(disk.clone()));
    assert_eq!(published(&gzip(&qcow2(false)), ""), Ok(qcow2(false)));
    // Cut in the middle: told by the file, not by the cloud.
    let cut = gzip(&disk);
    assert_eq!(published(&cut[..cut.len() / 2], ""), Err(2));
}

#[test]
fn h14_h18_the_descriptors_disk_is_taken() {
    let (boot, data) = (raw(b"boot"), raw(b"data"));
    let text = ovf(&[("d1", "a-data.img"), ("d2", "z-boot.img")], &["d2", "d1"]);
    let files: [(&str, &[u8]); 3] =
        [("m.ovf", text.as_bytes()), ("a-data.img", &data), ("z-boot.img", &boot)];
    for format in ["OVA", "ova", "Ova"] {
        assert_eq!(published(&tar(&files), format), Ok(boot.clone()), "{format}");
    }
    assert_eq!(published(&zip(&files), ""), Ok(boot));
}

#[test]
fn h18_without_a_descriptor_names_decide() {
    let (one, two) = (raw(b"one"), raw(b"two"));
    assert_eq!(published(&tar(&[("readme", b"x"), ("x-disk1.raw", &one)]), "OVA"), Ok(one.clone()));
    assert_eq!(published(&tar(&[("readme", b"x"), ("any.img", &one)]), "OVA"), Ok(one.clone()));
    refused(&tar(&[("a.img", &one), ("b.img", &two)]), "OVA");
    refused(&tar(&[("readme", b"x"), ("another", b"y")]), "OVA");
    refused(&tar(&[]), "OVA");
    // A descriptor whose disk is not there.
    let text = ovf(&[("d1", "gone.img")], &["d1"]);
    refused(&tar(&[("m.ovf", text.as_bytes()), ("other.img", &one)]), "OVA");
}

#[test]
fn h19_of_several_disks_the_boot_disk_else_the_first_by_name_is_taken() {
    let (one, two) = (raw(b"one"), raw(b"two"));
    let files: [(&str, &[u8]); 2] = [("b-disk1.raw", &two), ("a-disk1.raw", &one)];
    assert_eq!(published(&tar(&files), "OVA"), Ok(one.clone()));
    let text = ovf(&[("x", "a-disk1.raw"), ("y", "b-disk1.raw")], &["y", "x"]);
    let mut files = files.to_vec();
    files.push(("m.ovf", text.as_bytes()));
    assert_eq!(published(&tar(&files), "OVA"), Ok(two.clone()));
}

#[test]
fn h20_a_disk_in_a_sub_folder_is_found_by_the_descriptor() {
    let disk = raw(b"deep");
    let text = ovf(&[("d", "disks/one.raw")], &["d"]);
    let files: [(&str, &[u8]); 2] = [("./vm/m.ovf", text.as_bytes()), ("vm/disks/one.raw", &disk)];
    assert_eq!(published(&tar(&files), "OVA"), Ok(disk));
}

#[test]
fn h17_an_ova_that_is_no_tar_is_refused() {
    refused(&vec![0; 8192], "OVA");
    refused(&raw(b"x"), "ova");
    refused(&qcow2(false), "OVA");
    refused(b"", "OVA");
}

#[test]
fn h16_h21_hostile_archives_and_disks_are_refused() {
    let disk = raw(b"x");
    // Members that lead out are no members; nothing is written but the one disk.
    for name in ["../../x-disk1.raw", "/tmp/x-disk1.raw"] {
        refused(&tar(&[(name, &disk), ("readme", b"x")]), "OVA");
    }
    let text = ovf(&[("d", "../../etc/passwd")], &["d"]);
    refused(&tar(&[("m.ovf", text.as_bytes()), ("a.raw", &disk)]), "OVA");
    let bomb = "<!DOCTYPE a [<!ENTITY a \"b\">]><Envelope>&a;</Envelope>";
    refused(&tar(&[("m.ovf", bomb.as_bytes()), ("a.raw", &disk)]), "OVA");
    let many: Vec<(String, &[u8])> = (0..101).map(|n| (format!("f{n}"), &b""[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(n, c)| (n.as_str(), *c)).collect();
    refused(&tar(&many), "OVA");
    // Disks that refer to other files: at once, and when they come out of a packing.
    refused(&qcow2(true), "qcow2");
    refused(&qcow2(true), "RAW");
    refused(b"# Disk DescriptorFile\nversion=1\nRW 1 FLAT \"/etc/passwd\" 0\n", "vmdk");
    assert_eq!(published(&gzip(&qcow2(true)), ""), Err(2));
    assert_eq!(published(&tar(&[("a-disk1.qcow", &qcow2(true))]), "OVA"), Err(2));
    // Packed without end.
    let mut deep = disk;
    for _ in 0..6 {
        deep = gzip(&deep);
    }
    assert_eq!(published(&deep, ""), Err(2));
}

#[test]
fn w05_a_bomb_is_cut_off() {
    let site = Site::fake();
    site.file(&gzip(&vec![0; 8 << 20]));
    site.settings("max-virtual-size = 1000000\n");
    let ran = site.run(&site.event("AvailablePostfix", "a1"));
    ran.ends(2);
    assert!(ran.log.contains("max-virtual-size"), "{}", ran.log);
    site.is_clean();
    let site = Site::fake();
    site.file(&raw(b"x"));
    site.settings("max-virtual-size = 1000\n");
    site.run(&site.event("AvailablePostfix", "a1")).ends(2);
    assert!(site.calls().is_empty());
}

#[test]
fn a_link_in_the_place_of_the_file_is_refused() {
    let site = Site::fake();
    let target = site.folder.path().join("secret");
    std::fs::write(&target, raw(b"x")).unwrap();
    std::os::unix::fs::symlink(&target, site.cache().join(&site.id)).unwrap();
    site.run(&site.event("AvailablePostfix", "a1")).ends(2);
    std::fs::remove_file(site.cache().join(&site.id)).unwrap();
    std::fs::create_dir(site.cache().join(&site.id)).unwrap();
    site.run(&site.event("AvailablePostfix", "a1")).ends(2);
    assert!(site.calls().is_empty());
}

fn qemu_img() -> Option<PathBuf> {
    let found = ["/usr/bin/qemu-img", "/usr/local/bin/qemu-img"].map(PathBuf::from);
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        println!("skipped: qemu-img is not there (package qemu-utils)");
    }
    found
}

fn converted(program: &Path, disk: &[u8], format: &str, options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::write(&from, disk).unwrap();
    let ran = Command::new(program)
        .args(["convert", "-f", "raw", "-O", format])
        .args(options)
        .args([&from, &to])
        .status()
        .unwrap();
    assert!(ran.success());
    std::fs::read(&to).unwrap()
}

#[test]
fn h15_h23_foreign_disks_are_converted_and_work_files_removed() {
    let Some(program) = qemu_img() else { return };
    let mut disk = raw(b"foreign");
    disk.resize(1 << 20, 0);
    let vmdk = converted(&program, &disk, "vmdk", &["-o", "subformat=streamOptimized"]);
    let vdi = converted(&program, &disk, "vdi", &[]);
    assert_eq!(published(&vmdk, "vmdk"), Ok(disk.clone()));
    assert_eq!(published(&vdi, "vdi"), Ok(disk.clone()));
    assert_eq!(published(&gzip(&vdi), ""), Ok(disk.clone()));
    let text = ovf(&[("d", "m-disk1.vmdk")], &["d"]);
    let ova = tar(&[("m.ovf", text.as_bytes()), ("m-disk1.vmdk", &vmdk)]);
    assert_eq!(published(&ova, "OVA"), Ok(disk));
    let site = Site::fake();
    site.file(&vdi);
    site.settings("convert-to = \"qcow2\"\n");
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    let content = site.kept(site.named().id).content.unwrap();
    assert!(content.starts_with(b"QFI\xfb"));
}

#[test]
fn h22_a_conversion_that_fails_ends_with_2_and_leaves_nothing() {
    let Some(program) = qemu_img() else { return };
    let vdi = converted(&program, &raw(b"x"), "vdi", &[]);
    let site = Site::fake();
    site.file(&vdi);
    for failing in ["/bin/false", "/nowhere/qemu-img"] {
        site.settings(&format!("qemu-img = \"{failing}\"\n"));
        let ran = site.run(&site.event("AvailablePostfix", "a1"));
        ran.ends(2);
        assert!(ran.log.contains("qemu-utils"), "{}", ran.log);
        assert!(site.images().is_empty());
        site.is_clean();
    }
}
