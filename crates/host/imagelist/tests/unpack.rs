//! Unpacking and converting in the pass of the download: packings, OVA, stream-optimised VMDK; hostile ones too.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]
#![allow(clippy::disallowed_methods, reason = "qemu-img makes what is unpacked here")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha512};
use tokio_util::sync::CancellationToken;
use vnode_imagelist::{
    disk::Format,
    download::{DownloadError, DownloadOptions, Downloader, Job, Unpack, Verified},
};

fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Fetches `packed` from a file, with room for 4 MiB of what is in it.
async fn fetch(folder: &Path, packed: &[u8]) -> Result<(Verified, Option<PathBuf>), DownloadError> {
    let source = folder.join("source");
    fs::write(&source, packed).unwrap();
    let options = DownloadOptions { retries: 0, keep_free: 0, ..DownloadOptions::default() };
    let job = Job {
        name: "image".to_owned(),
        sources: vec![format!("file://{}", source.display())],
        blobs: Vec::new(),
        sha256: None,
        credential: None,
        size: packed.len() as u64,
        sha512: Sha512::digest(packed).iter().map(|b| format!("{b:02x}")).collect(),
        unpack: Some(Unpack { path: folder.join("out"), max_bytes: 4 << 20 }),
    };
    let downloader = Downloader::new(options).unwrap();
    let verified = downloader.fetch(&job, folder, &(), &CancellationToken::new()).await?;
    let out = verified.unpacked.clone().map(|(path, ..)| path);
    Ok((verified, out))
}

/// A zip of files, stored or deflated, with data descriptors or without.
fn zip(files: &[(&str, &[u8])], deflated: bool, descriptor: bool) -> Vec<u8> {
    let mut all = Vec::new();
    let mut central = Vec::new();
    for (name, content) in files {
        let data = if deflated {
            let mut encoder =
                flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        } else {
            content.to_vec()
        };
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let sizes = [crc.sum(), data.len() as u32, content.len() as u32];
        let mut fields =
            vec![20, 0, if descriptor { 8 } else { 0 }, 0, if deflated { 8 } else { 0 }, 0];
        fields.extend([0; 4]);
        for size in sizes {
            fields.extend(if descriptor { 0_u32 } else { size }.to_le_bytes());
        }
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        all.extend(b"PK\x03\x04");
        all.extend(&fields);
        all.extend(name.as_bytes());
        all.extend(&data);
        if descriptor {
            all.extend(b"PK\x07\x08");
            sizes.iter().for_each(|size| all.extend(size.to_le_bytes()));
        }
        central.extend(b"PK\x01\x02\x14\x00");
        central.extend([0; 40]);
        central.extend(name.as_bytes());
    }
    all.extend(&central);
    all.extend(b"PK\x05\x06");
    all.extend([0; 18]);
    all
}

/// A stream-optimised VMDK of grains of 64 KiB, in the order given.
fn vmdk(disk: &[u8], order: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let sector = |n: u64| n.to_le_bytes();
    let mut all = vec![0; 512];
    all[..4].copy_from_slice(b"KDMV");
    all[4] = 3;
    all[8..12].copy_from_slice(&0x3_0001_u32.to_le_bytes());
    all[12..20].copy_from_slice(&sector(disk.len().div_ceil(512) as u64));
    all[20..28].copy_from_slice(&sector(128));
    all[28..36].copy_from_slice(&sector(1));
    all[36..44].copy_from_slice(&sector(2));
    all[44..48].copy_from_slice(&512_u32.to_le_bytes());
    all[56..64].copy_from_slice(&u64::MAX.to_le_bytes());
    all[64..72].copy_from_slice(&sector(128));
    all[77] = 1;
    let mut descriptor = format!(
        "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\nRW {} SPARSE \"x.vmdk\"\n",
        disk.len() / 512
    )
    .into_bytes();
    descriptor.resize(1024, 0);
    all.extend(&descriptor);
    all.resize(128 * 512, 0);
    for grain in order {
        let plain = &disk[grain * 65536..disk.len().min((grain + 1) * 65536)];
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        let packed = encoder.finish().unwrap();
        all.extend(sector(grain as u64 * 128));
        all.extend((packed.len() as u32).to_le_bytes());
        all.extend(&packed);
        all.resize(all.len().next_multiple_of(512), 0);
    }
    // A grain table of one sector, then the end.
    let mut marker = [0; 512];
    marker[0] = 1;
    marker[12] = 1;
    all.extend(marker);
    all.extend([0; 512]);
    all.extend([0; 512]);
    all
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // As a hostile writer would: `set_path` refuses such names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn the_file_in_every_packing_comes_out_in_the_same_pass() {
    let mut disk = bytes(300_000);
    disk.extend(vec![0; 1 << 20]);
    disk.extend(bytes(1000));
    let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz2.write_all(&disk).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&disk).unwrap();
    for (name, packed) in [
        ("bz2", bz2.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zip", zip(&[("a.img", &disk)], true, false)),
        ("zip with descriptors", zip(&[("a.img", &disk)], true, true)),
        ("zip, stored", zip(&[("a.img", &disk)], false, false)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (verified, out) = fetch(folder.path(), &packed).await.unwrap();
        assert_eq!(fs::read(&verified.path).unwrap(), packed, "{name}: what was signed stays");
        let out = out.unwrap_or_else(|| panic!("{name}: nothing came out"));
        assert!(fs::read(&out).unwrap() == disk, "{name}");
        use std::os::unix::fs::MetadataExt as _;
        assert!(
            fs::metadata(&out).unwrap().blocks() * 512 < 1 << 20,
            "{name}: zeros are not written"
        );
    }
}

#[tokio::test]
async fn a_zip_of_two_files_a_cut_one_and_a_stored_one_without_length_are_refused() {
    let disk = bytes(100_000);
    let folder = tempfile::tempdir().unwrap();
    for (packed, why) in [
        (zip(&[("a", &disk), ("b", &disk)], true, true), "more than one file"),
        (zip(&[("a", &disk)], false, true), "without saying how long"),
        (zip(&[("a/", b"")], true, false), "begins with a folder"),
        (zip(&[("a", &disk)], true, false)[..50_000].to_vec(), ""),
    ] {
        let error = fetch(folder.path(), &packed).await.unwrap_err();
        assert!(matches!(error, DownloadError::Unpack { .. }), "{error}");
        assert!(vnode_protocol::chain(&error).contains(why), "{}", vnode_protocol::chain(&error));
        assert!(!folder.path().join("out").exists());
    }
}

#[tokio::test]
async fn a_stream_optimised_vmdk_becomes_a_raw_disk_in_an_ova_too() {
    let mut disk = bytes(3 * 65536);
    disk.resize(1 << 20, 0);
    disk[(1 << 20) - 1] = 7;
    let vmdk_of = vmdk(&disk, [2, 0, 1, 15]);
    let ovf: &[u8] = b"<Envelope/>";
    for packed in [
        vmdk_of.clone(),
        tar(&[("x.ovf", ovf), ("x-disk1.vmdk", &vmdk_of), ("x.mf", b"")]),
        tar(&[("x.ovf", ovf), ("disks/x.vmdk", &vmdk_of)]),
        zip(&[("x.vmdk", &vmdk_of)], true, false),
        {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(&tar(&[("x.ovf", ovf), ("x.vmdk", &vmdk_of)])).unwrap();
            gz.finish().unwrap()
        },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (verified, out) = fetch(folder.path(), &packed).await.unwrap();
        assert_eq!(verified.unpacked.unwrap().2.format, Format::Raw);
        assert!(fs::read(out.unwrap()).unwrap() == disk);
    }
}

#[tokio::test]
async fn w02_w04_w05_hostile_archives_and_disks_are_refused() {
    let disk = vec![1; 65536];
    let good = vmdk(&disk, [0]);
    let ovf: &[u8] = b"<Envelope/>";
    let change = |at: usize, with: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + with.len()].copy_from_slice(with);
        bad
    };
    let many: Vec<(String, &[u8])> = (0..120).map(|n| (format!("f{n}"), ovf)).collect();
    let mut members = vec![("x.ovf", ovf)];
    members.extend(many.iter().map(|(name, content)| (name.as_str(), *content)));
    let mut link = tar::Builder::new(tar(&[("x.ovf", ovf)])[..1024].to_vec());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    link.append_link(&mut header, "x.vmdk", "/etc/shadow").unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("leave its folder", tar(&[("x.ovf", ovf), ("../x.vmdk", &good)])),
        ("leave its folder", tar(&[("x.ovf", ovf), ("/etc/x.vmdk", &good)])),
        ("no plain file", link.into_inner().unwrap()),
        ("more than one disk", tar(&[("x.ovf", ovf), ("a.vmdk", &good), ("$(id).vmdk", &good)])),
        ("more than 100 members", tar(&members)),
        // Its size: 16 TiB.
        ("unpacks to more", change(12, &(1_u64 << 35).to_le_bytes())),
        // The place of its first grain, after the header of 64 KiB.
        ("outside of its disk", change(65536, &(1_u64 << 40).to_le_bytes())),
        ("too long", change(65536 + 8, &u32::MAX.to_le_bytes())),
        ("refers to another file", change(512 + 32, b"parentCID=00000001")),
        ("", good[..good.len() - 2000].to_vec()),
    ];
    for (why, packed) in cases {
        let folder = tempfile::tempdir().unwrap();
        let error = fetch(folder.path(), &packed).await.expect_err(why);
        let text = vnode_protocol::chain(&error);
        assert!(text.contains(why), "{text}");
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["source"], "{why}");
    }
}

/// An independent judge: what QEMU's own tool packs is unpacked to the same disk.
#[tokio::test]
async fn what_qemu_img_writes_is_read_as_qemu_img_means_it() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("disk.raw");
    let mut disk = bytes(200_000);
    disk.resize(3 << 20, 0);
    disk[2 << 20] = 9;
    fs::write(&raw, &disk).unwrap();
    let out = folder.path().join("disk.vmdk");
    let made = std::process::Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"])
        .args([&raw, &out])
        .output();
    match made {
        Ok(made) if made.status.success() => {}
        other => {
            println!("skipped: qemu-img does not work here: {other:?}");
            return;
        }
    }
    let work = tempfile::tempdir().unwrap();
    let (_, unpacked) = fetch(work.path(), &fs::read(&out).unwrap()).await.unwrap();
    assert!(fs::read(unpacked.unwrap()).unwrap() == disk);
}
