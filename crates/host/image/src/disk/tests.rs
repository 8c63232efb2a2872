use super::*;

fn qcow2_header(version: u32) -> Vec<u8> {
    let mut head = vec![0; 4096];
    head[..4].copy_from_slice(b"QFI\xfb");
    head[4..8].copy_from_slice(&version.to_be_bytes());
    head[20..24].copy_from_slice(&16_u32.to_be_bytes());
    head[24..32].copy_from_slice(&(5_u64 << 40).to_be_bytes());
    head[100..104].copy_from_slice(&104_u32.to_be_bytes());
    head
}

#[test]
fn qcow2_alone_is_taken_with_its_64_bit_size() {
    for version in [2, 3] {
        let disk = probe(&qcow2_header(version)).unwrap();
        assert_eq!(disk, Disk { format: Format::Qcow2, virtual_size: Some(5 << 40) });
    }
}

#[test]
fn w06_qcow2_that_refers_to_files_is_refused() {
    let mut backing = qcow2_header(3);
    backing[15] = 200;
    assert!(matches!(probe(&backing), Err(DiskError::Refers { .. })));
    let mut only_size = qcow2_header(2);
    only_size[19] = 4;
    assert!(matches!(probe(&only_size), Err(DiskError::Refers { .. })));
    let mut data_file = qcow2_header(3);
    data_file[79] = 4;
    assert!(matches!(probe(&data_file), Err(DiskError::Refers { .. })));
    let mut named = qcow2_header(3);
    named[104..108].copy_from_slice(&0x6803_f857_u32.to_be_bytes());
    named[111] = 5;
    named[120..124].copy_from_slice(b"DATA");
    named[127] = 9;
    assert!(matches!(probe(&named), Err(DiskError::Refers { .. })), "behind another extension");
    let mut unknown = qcow2_header(3);
    unknown[72] = 1;
    assert!(matches!(probe(&unknown), Err(DiskError::Header { .. })));
    for cut in 4..104 {
        assert!(probe(&qcow2_header(3)[..cut]).is_err(), "cut at {cut}");
    }
}

fn vmdk_header(descriptor: &str) -> Vec<u8> {
    let mut head = vec![0; 4096];
    head[..4].copy_from_slice(b"KDMV");
    head[4] = 3;
    head[12..20].copy_from_slice(&2048_u64.to_le_bytes());
    head[28..36].copy_from_slice(&1_u64.to_le_bytes());
    head[36..44].copy_from_slice(&2_u64.to_le_bytes());
    head[512..512 + descriptor.len()].copy_from_slice(descriptor.as_bytes());
    head
}

const ALONE: &str = "# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\nRW 2048 SPARSE \"a.vmdk\"\n";

#[test]
fn w06_vmdk_stands_alone_or_is_refused() {
    let disk = probe(&vmdk_header(ALONE)).unwrap();
    assert_eq!(disk, Disk { format: Format::Vmdk, virtual_size: Some(1 << 20) });
    for bad in [
        ALONE.replace("SPARSE \"a.vmdk\"", "FLAT \"/etc/shadow\" 0"),
        ALONE.replace("a.vmdk", "/etc/shadow"),
        ALONE.replace("a.vmdk", "..\\\\a"),
        ALONE.replace("ffffffff", "12345678"),
        format!("{ALONE}RW 2048 SPARSE \"b.vmdk\"\n"),
        format!("{ALONE}parentFileNameHint=\"x\"\n"),
        ALONE.replace("RW ", "XX "),
    ] {
        assert!(matches!(probe(&vmdk_header(&bad)), Err(DiskError::Refers { .. })), "{bad}");
    }
    let flat = b"# Disk DescriptorFile\nversion=1\nRW 63 FLAT \"/etc/shadow\" 0\n";
    assert!(matches!(probe(flat), Err(DiskError::Refers { .. })));
    assert!(matches!(probe(b"\n #  disk"), Ok(Disk { format: Format::Raw, .. })));
}

#[test]
fn vdi_and_packings() {
    let mut head = vec![0; 1024];
    head[0x40..0x44].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
    head[0x46] = 1;
    head[0x4c] = 1;
    head[0x172] = 1;
    assert_eq!(probe(&head).unwrap(), Disk { format: Format::Vdi, virtual_size: Some(1 << 16) });
    head[0x1a8] = 1;
    assert!(matches!(probe(&head), Err(DiskError::Refers { .. })));
    head[0x1a8] = 0;
    head[0x4c] = 4;
    assert!(matches!(probe(&head), Err(DiskError::Refers { .. })));
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    for (head, format) in [
        (&tar[..], Format::Tar),
        (&[0x1f, 0x8b, 8], Format::Gzip),
        (b"BZh9", Format::Bzip2),
        (b"\xfd7zXZ\0", Format::Xz),
        (&[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd),
        (b"PK\x03\x04", Format::Zip),
        (b"", Format::Raw),
    ] {
        assert_eq!(probe(head).unwrap().format, format);
    }
    for other in [&b"vhdxfile"[..], b"conectix", b"QED\0", b"COWD", b"WithoutFreeSpace"] {
        assert!(matches!(probe(other), Err(DiskError::Unknown { .. })));
    }
}

proptest::proptest! {
    #[test]
    fn no_header_makes_it_panic(magic in 0_usize..5, mut rest in proptest::collection::vec(0_u8.., 0..600)) {
        let magics: [&[u8]; 5] = [b"QFI\xfb\0\0\0\x03", b"KDMV\x01\0\0\0", b"", b"# Disk DescriptorFile", b"QFI\xfb\0\0\0\x02"];
        let mut head = magics[magic].to_vec();
        head.append(&mut rest);
        let _ = probe(&head);
    }
}
