//! Unpacking: what honest archives become, and what hostile ones do not.
#![allow(clippy::unwrap_used)] // fixtures of tests: a panic is the right report

use std::cell::Cell;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tar::{EntryType, Header};
use vnode_beneath::{
    Devices, Dir, Limits, Mode, Report, RootFileSystem, Scope, UnpackError, Whiteouts, unpack,
};

/// Writes archives that `tar::Builder` would refuse to write.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn member(mut self, kind: EntryType, path: &[u8], link: &[u8], data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_mode(if kind == EntryType::Directory { 0o750 } else { 0o4640 });
        header.set_uid(12);
        header.set_gid(34);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(data[0].into()).unwrap();
            header.set_device_minor(data[1].into()).unwrap();
            header.set_size(0);
            header.set_cksum();
            self.0.extend_from_slice(header.as_bytes());
            return self;
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }
    fn file(self, path: &str, data: &[u8]) -> Self {
        self.member(EntryType::Regular, path.as_bytes(), b"", data)
    }
    fn folder(self, path: &str) -> Self {
        self.member(EntryType::Directory, path.as_bytes(), b"", b"")
    }
    fn symlink(self, path: &str, to: &str) -> Self {
        self.member(EntryType::Symlink, path.as_bytes(), to.as_bytes(), b"")
    }
    fn hard_link(self, path: &str, to: &str) -> Self {
        self.member(EntryType::Link, path.as_bytes(), to.as_bytes(), b"")
    }
    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length.to_string().len() + rest != length {
                length += 1;
            }
            write!(content, "{length} {key}=").unwrap();
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.member(EntryType::XHeader, b"pax", b"", &content)
    }
    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

const ROOT: Mode = Mode::RootFileSystem(RootFileSystem {
    devices: Devices::Skip,
    whiteouts: Whiteouts::Keep,
    owners: true,
});
const LAYER: Mode = Mode::RootFileSystem(RootFileSystem {
    devices: Devices::Skip,
    whiteouts: Whiteouts::Overlay,
    owners: true,
});

/// A folder with a secret beside the root that is unpacked into.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("secret"), "outside").unwrap();
        std::fs::create_dir(outer.path().join("root")).unwrap();
        Self(outer)
    }
    fn root(&self) -> std::path::PathBuf {
        self.0.path().join("root")
    }
    fn unpack(&self, archive: &[u8], limits: &Limits, mode: Mode) -> Result<Report, UnpackError> {
        let dir = Dir::open_ambient(self.root(), Scope::Beneath).unwrap();
        let result = unpack(archive, &dir, limits, mode, &|| false);
        assert_eq!(std::fs::read(self.0.path().join("secret")).unwrap(), b"outside");
        let beside: Vec<_> = std::fs::read_dir(self.0.path()).unwrap().collect();
        assert_eq!(beside.len(), 2, "something was made outside: {beside:?}");
        result
    }
    fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root().join(path)).unwrap()
    }
}

fn root_only() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: owners, devices and trusted attributes need root");
    }
    root
}

fn refused(archive: Vec<u8>, mode: Mode) -> String {
    let e = Place::new().unpack(&archive, &Limits::default(), mode).unwrap_err();
    assert!(matches!(e, UnpackError::Refused { .. }), "{e:?}");
    e.to_string()
}

#[test]
fn an_honest_root_file_system_keeps_owner_mode_time_and_links() {
    if !root_only() {
        return;
    }
    let archive = Archive::default()
        .folder("./")
        .folder("./bin/")
        .file("./bin/su", b"program")
        .symlink("./sh", "/bin/su")
        .hard_link("./bin/other", "./bin/su")
        .member(EntryType::Fifo, b"./pipe", b"", b"")
        .member(EntryType::Char, b"./dev/null", b"", &[1, 3])
        .end();
    for packed in [archive.clone(), gzip(&archive), zstd::encode_all(&archive[..], 3).unwrap()] {
        let place = Place::new();
        let report = place.unpack(&packed, &Limits::default(), ROOT).unwrap();
        let su = std::fs::metadata(place.root().join("bin/su")).unwrap();
        assert_eq!((su.uid(), su.gid(), su.mode() & 0o7777), (12, 34, 0o4640));
        assert_eq!((su.mtime(), su.nlink(), su.len()), (1_000_000_000, 2, 7));
        let bin = std::fs::metadata(place.root().join("bin")).unwrap();
        assert_eq!((bin.mode() & 0o7777, bin.mtime()), (0o750, 1_000_000_000));
        assert_eq!(std::fs::read_link(place.root().join("sh")).unwrap(), Path::new("/bin/su"));
        assert!(std::fs::metadata(place.root().join("pipe")).unwrap().file_type().is_fifo());
        assert_eq!((report.entries, report.bytes, report.devices_skipped), (7, 7, 1));
        assert_eq!(std::fs::metadata(place.root()).unwrap().mode() & 0o777, 0o750);
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn absolute_paths_stay_below_the_root_and_climbing_ones_are_refused() {
    let place = Place::new();
    let archive = Archive::default()
        .file("/absolute", b"1")
        .file("a/../beside", b"2")
        .hard_link("linked", "/absolute")
        .end();
    place.unpack(&archive, &Limits::default(), ROOT).unwrap();
    assert_eq!(place.read("absolute"), b"1");
    assert_eq!(place.read("beside"), b"2");
    assert_eq!(place.read("linked"), b"1");
    for path in ["../../secret", "a/../../../secret2"] {
        let archive = Archive::default().file(path, b"3").end();
        let e = Place::new().unpack(&archive, &Limits::default(), ROOT).unwrap_err();
        assert!(e.to_string().contains("leads out"), "{path}: {e}");
    }
}

#[test]
fn nothing_is_written_through_a_link_that_leads_out() {
    // A link to the folder above, then a file below the link; and a link in place of the file itself.
    for target in ["..", "/", "../..", "/proc/self/cwd"] {
        let place = Place::new();
        let archive = Archive::default()
            .symlink("out", target)
            .file("out/secret", b"overwritten")
            .symlink("secret3", "../secret")
            .file("secret3", b"replaced the link")
            .end();
        match place.unpack(&archive, &Limits::default(), ROOT) {
            // Taken from the root, as after chroot.
            Ok(_) => assert_eq!(place.read("secret3"), b"replaced the link"),
            Err(e) => assert!(matches!(e, UnpackError::Dir { .. }), "{e:?}"),
        }
    }
    let place = Place::new();
    let archive = Archive::default()
        .symlink("link", "../secret")
        .hard_link("copy", "link")
        .file("copy", b"x")
        .end();
    place.unpack(&archive, &Limits::default(), ROOT).unwrap();
    assert_eq!(place.read("copy"), b"x");
}

#[test]
fn a_hard_link_leads_only_to_what_the_archive_brought() {
    for target in ["missing", "../secret", "/etc/passwd", "a/b", "."] {
        let archive = Archive::default().folder("a").hard_link("link", target).end();
        let e = Place::new().unpack(&archive, &Limits::default(), ROOT).unwrap_err();
        let refused = target == "../secret" && matches!(e, UnpackError::Refused { .. });
        assert!(refused || matches!(e, UnpackError::DanglingHardLink { .. }), "{target}: {e:?}");
    }
    // A link made first, to lead the hard link out.
    let archive = Archive::default().symlink("up", "..").hard_link("stolen", "up/secret").end();
    let e = Place::new().unpack(&archive, &Limits::default(), ROOT).unwrap_err();
    assert!(matches!(e, UnpackError::DanglingHardLink { .. }), "{e:?}");
}

#[test]
fn plain_files_mode_refuses_all_that_is_odd() {
    let a = Archive::default;
    assert!(refused(a().file("/x", b"").end(), Mode::Files).contains("absolute"));
    assert!(refused(a().file("a/../x", b"").end(), Mode::Files).contains(".."));
    assert!(refused(a().symlink("x", "/etc").end(), Mode::Files).contains("leads out"));
    assert!(refused(a().symlink("x", "../y").end(), Mode::Files).contains("leads out"));
    assert!(refused(a().file("x", b"").file("x", b"").end(), Mode::Files).contains("same path"));
    refused(a().member(EntryType::Char, b"x", b"", &[1, 3]).end(), Mode::Files);
    refused(a().member(EntryType::Fifo, b"x", b"", b"").end(), Mode::Files);
    let place = Place::new();
    let archive = a().file("d/x", b"1").symlink("l", "d/x").end();
    place.unpack(&archive, &Limits::default(), Mode::Files).unwrap();
    let x = std::fs::metadata(place.root().join("l")).unwrap();
    assert_eq!(x.permissions().mode() & 0o7777, 0o640, "setuid is dropped");
    assert_eq!(x.uid(), rustix::process::geteuid().as_raw());
}

#[test]
fn devices_are_refused_skipped_or_made_as_told_and_never_0_0() {
    if !root_only() {
        return;
    }
    let mode = |devices| {
        Mode::RootFileSystem(RootFileSystem { devices, whiteouts: Whiteouts::Keep, owners: true })
    };
    let archive = || Archive::default().member(EntryType::Block, b"disk", b"", &[8, 1]).end();
    refused(archive(), mode(Devices::Refuse));
    let place = Place::new();
    place.unpack(&archive(), &Limits::default(), mode(Devices::Create)).unwrap();
    let disk = std::fs::metadata(place.root().join("disk")).unwrap();
    assert!(disk.file_type().is_block_device());
    assert_eq!(disk.rdev(), rustix::fs::makedev(8, 1));
    for devices in [Devices::Create, Devices::Skip] {
        refused(
            Archive::default().member(EntryType::Char, b"w", b"", &[0, 0]).end(),
            mode(devices),
        );
    }
}

#[test]
fn bounds_hold() {
    let limits = Limits {
        bytes: 1000,
        entries: 10,
        depth: 5,
        path_length: 90,
        name_length: 20,
        folder_paths: 40,
        extension_bytes: 4096,
    };
    let too_much = |archive: Vec<u8>, what: &str| {
        let e = Place::new().unpack(&archive, &limits, ROOT).unwrap_err();
        assert!(e.to_string().contains(what), "{what}: {e} {e:?}");
    };
    let a = Archive::default;
    too_much(a().file("a", &[1; 600]).file("b", &[1; 600]).end(), "1000 bytes");
    too_much((0..11).fold(a(), |a, n| a.file(&format!("f{n}"), b"")).end(), "10 entries");
    too_much(a().file("a/b/c/d/e/f", b"").end(), "5 folders");
    let folders = |a: Archive| a.folder("twenty-bytes-of-name").folder("twenty-bytes-of-nam2");
    Place::new().unpack(&folders(a()).folder("twenty-bytes-of-name").end(), &limits, ROOT).unwrap();
    too_much(folders(a()).folder("b").end(), "40 bytes of folders' paths");
    too_much(folders(a()).file("b/c", b"").end(), "40 bytes of folders' paths");
    // Folders that are only implied count too.
    too_much((0..4).fold(a(), |a, n| a.file(&format!("{n}/x/y/f"), b"")).end(), "10 entries");
    too_much(a().file(&"n".repeat(21), b"").end(), "one name");
    too_much(a().file(&format!("{0}/{0}/{0}/{0}/{0}", "n".repeat(19)), b"").end(), "90 bytes");
    too_much(a().symlink("l", &"n".repeat(95)).end(), "link's target");
    // A long name of a gigabyte must not be read into memory.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 30);
    header.set_cksum();
    let e = Place::new().unpack(header.as_bytes(), &limits, ROOT).unwrap_err();
    assert!(format!("{e:?}").contains("ExtensionTooLarge"), "{e:?}");
}

#[test]
fn bombs_are_cut_off() {
    let limits = Limits { bytes: 1 << 20, entries: 100, ..Limits::default() };
    // 64 MiB of zeros after the end mark, and inside a file, packed small.
    let mut zeros = Archive::default().file("a", b"x").end();
    zeros.resize(64 << 20, 0);
    for packed in [gzip(&zeros), zstd::encode_all(&zeros[..], 3).unwrap()] {
        assert!(packed.len() < 1 << 20);
        let e = Place::new().unpack(&packed, &limits, ROOT).unwrap_err();
        assert!(matches!(e, UnpackError::TooMuch { what: "bytes", .. }), "{e:?}");
    }
    // A sparse file that claims 8 EiB and stores nothing.
    let archive = Archive::default()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"big"),
            ("GNU.sparse.realsize", b"9223372036854775807"),
        ])
        .file("x", &{
            let mut map = b"0\n".to_vec();
            map.resize(512, 0);
            map
        })
        .end();
    let e = Place::new().unpack(&archive, &limits, ROOT).unwrap_err();
    assert!(matches!(e, UnpackError::TooMuch { what: "bytes", .. }), "{e:?}");
}

#[test]
fn truncation_at_any_byte_is_an_error() {
    let archive = Archive::default().folder("d").file("d/f", &[7; 700]).symlink("l", "d").end();
    for packed in [archive.clone(), gzip(&archive), zstd::encode_all(&archive[..], 3).unwrap()] {
        // A plain archive may lack its second empty block.
        let whole = if packed.len() == archive.len() { packed.len() - 512 } else { packed.len() };
        // Every byte of the packed ones; of the plain one a step that meets every part of a block.
        let step = if packed.len() == archive.len() { 37 } else { 1 };
        for length in (0..whole).step_by(step) {
            let result = Place::new().unpack(&packed[..length], &Limits::default(), Mode::Files);
            assert!(result.is_err(), "cut at {length} of {}", packed.len());
        }
    }
    assert!(Place::new().unpack(&vec![b'x'; 4096], &Limits::default(), ROOT).is_err());
    for magic in [&b"\xfd7zXZ\0..."[..], b"BZh9...", b"PK\x03\x04..."] {
        let e = Place::new().unpack(magic, &Limits::default(), ROOT).unwrap_err();
        let cause = std::error::Error::source(&std::error::Error::source(&e).unwrap())
            .map(|e| e.to_string());
        assert!(cause.unwrap().contains("pack it again"));
    }
}

#[test]
fn sparse_files_of_both_kinds_get_their_holes() {
    let place = Place::new();
    let mut data = b"2\n0\n3\n100000\n4\n".to_vec();
    data.resize(512, 0);
    data.extend_from_slice(b"abcwxyz");
    let archive = Archive::default()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.name", b"new-kind"),
            ("GNU.sparse.realsize", b"200000"),
        ])
        .file("GNUSparseFile.1/new-kind", &data)
        .end();
    place.unpack(&archive, &Limits::default(), ROOT).unwrap();
    let mut whole = vec![0; 200_000];
    whole[..3].copy_from_slice(b"abc");
    whole[100_000..100_004].copy_from_slice(b"wxyz");
    assert_eq!(place.read("new-kind"), whole);

    // What GNU tar itself writes.
    std::fs::write(place.0.path().join("root/old-kind"), b"").unwrap();
    let file = std::fs::File::options().write(true).open(place.root().join("old-kind")).unwrap();
    for n in 0..40 {
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", n * 1_000_000).unwrap();
    }
    file.set_len(50_000_000).unwrap();
    drop(file);
    for format in ["gnu", "posix"] {
        #[allow(
            clippy::disallowed_methods,
            reason = "a test fixture; the crate itself starts nothing"
        )]
        let tar = std::process::Command::new("tar")
            .args(["--sparse", "--format", format, "-cf", "-", "old-kind"])
            .current_dir(place.root())
            .output();
        let Ok(tar) = tar else {
            println!("skipped: no tar program");
            return;
        };
        let other = Place::new();
        other.unpack(&tar.stdout, &Limits::default(), ROOT).unwrap();
        assert!(place.read("old-kind") == other.read("old-kind"), "{format}");
        let blocks = std::fs::metadata(other.root().join("old-kind")).unwrap().blocks();
        assert!(blocks < 2000, "{format}: holes were filled, {blocks} blocks");
    }
}

#[test]
fn long_names_of_both_kinds_are_read() {
    let place = Place::new();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let archive = Archive::default()
        .member(EntryType::GNULongName, b"././@LongLink", b"", format!("{long}\0").as_bytes())
        .file("cut", b"gnu")
        .pax(&[("path", "pax-é".as_bytes()), ("mtime", b"123.5")])
        .file("cut", b"pax")
        .end();
    place.unpack(&archive, &Limits::default(), ROOT).unwrap();
    assert_eq!(place.read(&long), b"gnu");
    assert_eq!(place.read("pax-é"), b"pax");
    assert_eq!(std::fs::metadata(place.root().join("pax-é")).unwrap().mtime(), 123);
}

#[test]
fn attributes_are_kept_but_none_that_steer_an_overlay() {
    if !root_only() {
        return;
    }
    // Capability set with a line end and a zero in it: cap_net_raw=ep, version 2.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, b'\n', 0, 0, 0, 0, 0, 0, 0];
    let place = Place::new();
    let archive = Archive::default()
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.note", b"kept"),
            ("SCHILY.xattr.security.selinux", b"left out"),
        ])
        .file("ping", b"program")
        .end();
    let report = place.unpack(&archive, &Limits::default(), ROOT).unwrap();
    let get = |name: &str| {
        let mut value = [0; 64];
        let n = rustix::fs::getxattr(place.root().join("ping"), name, &mut value[..]).unwrap();
        value[..n].to_vec()
    };
    assert_eq!(get("security.capability"), capability);
    assert_eq!(get("user.note"), b"kept");
    assert_eq!(report.attributes_skipped, 1);
    for name in ["trusted.overlay.redirect", "trusted.overlay.opaque", "user.overlay.opaque"] {
        let archive =
            Archive::default().pax(&[(&format!("SCHILY.xattr.{name}"), b"/etc")]).folder("d").end();
        refused(archive, LAYER);
    }
}

#[test]
fn whiteouts_become_what_an_overlay_understands() {
    if !root_only() {
        return;
    }
    let place = Place::new();
    let archive = Archive::default()
        .file("a/.wh.gone", b"")
        .file("b/.wh..wh..opq", b"")
        .file("b/new", b"1")
        // Replaced in the same layer, in both orders, by a file and by a folder.
        .file(".wh.f1", b"")
        .file("f1", b"new")
        .file("f2", b"new")
        .file(".wh.f2", b"")
        .file(".wh.d1", b"")
        .folder("d1")
        .file("d1/x", b"new")
        .folder("d2")
        .file("d2/x", b"new")
        .file(".wh.d2", b"")
        .file(".wh.d3", b"")
        .file("d3/x", b"new")
        .file(".wh..wh.plnk", b"")
        .end();
    place.unpack(&archive, &Limits::default(), LAYER).unwrap();
    let whiteout = |path: &str| {
        let meta = std::fs::symlink_metadata(place.root().join(path)).unwrap();
        meta.file_type().is_char_device() && meta.rdev() == 0
    };
    let opaque = |path: &str| {
        let mut value = [0; 8];
        rustix::fs::getxattr(place.root().join(path), "trusted.overlay.opaque", &mut value[..])
            .is_ok_and(|n| &value[..n] == b"y")
    };
    assert!(whiteout("a/gone"));
    assert!(opaque("b") && !opaque("a"));
    assert_eq!((place.read("f1"), place.read("f2")), (b"new".to_vec(), b"new".to_vec()));
    for folder in ["d1", "d2", "d3"] {
        assert!(opaque(folder), "{folder}");
        assert_eq!(place.read(&format!("{folder}/x")), b"new");
    }
    let names: Vec<_> =
        std::fs::read_dir(place.root()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|n| !n.as_bytes().starts_with(b".wh.")), "{names:?}");
    for name in [".wh.", ".wh..", ".wh..."] {
        refused(Archive::default().file(name, b"").end(), LAYER);
    }
}

#[test]
fn folders_that_were_only_implied_are_reported() {
    let place = Place::new();
    let archive =
        Archive::default().file("a/b/c", b"").folder("a").file("d/e", b"").file("d", b"").end();
    let report = place.unpack(&archive, &Limits::default(), ROOT).unwrap();
    assert_eq!(report.implied_folders, [Path::new("a/b")]);
}

#[test]
fn cancellation_ends_it() {
    let archive = Archive::default().file("a", &[0; 1 << 20]).file("b", b"").end();
    let place = Place::new();
    let dir = Dir::open_ambient(place.root(), Scope::Beneath).unwrap();
    let asked = Cell::new(0);
    let e = unpack(&archive[..], &dir, &Limits::default(), Mode::Files, &|| {
        asked.set(asked.get() + 1);
        asked.get() > 3
    });
    assert!(matches!(e, Err(UnpackError::Cancelled)), "{e:?}");
    assert!(!place.root().join("b").exists());
}
