//! Archives that must be refused (BX-01 to BX-43, BX-56 to BX-66, BX-80) and that must be taken (PK).

#[path = "archives/cms.rs"]
mod cms;
mod common;
#[path = "archives/full.rs"]
mod full;
#[path = "archives/manifests.rs"]
mod manifests;
#[path = "archives/outer.rs"]
mod outer;

use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path};

use common::{LIFECYCLE, SCRIPT, Tar, Zipped, file_of, gzip, open, refused, zip};
use vnode_beneath::{Dir, Scope};
use vnode_vnfpkg::{Code, Form, Limits, Package, Trust};

fn unpacked(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let file = file_of(bytes);
    let package = Package::open(&file, &Limits::default(), &Trust::default()).expect("it is taken");
    let dir = Dir::open_ambient(folder.path(), Scope::Beneath).expect("it is there");
    package.unpack(&file, &dir).expect("it unpacks");
    folder
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn pk_05_one_tree_however_it_is_packed() {
    let tar = Tar::package().end();
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("zstd");
    zstd.write_all(&tar).expect("memory");
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&tar).expect("memory");
    let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz.write_all(&tar).expect("memory");
    let zip = zip(&[
        Zipped::new("lifecycle.json", LIFECYCLE.as_bytes()),
        Zipped::new("start.sh", SCRIPT),
    ]);
    let all = [
        gzip(&tar),
        [gzip(&tar[..700]), gzip(&tar[700..])].concat(),
        zstd.finish().expect("memory"),
        xz.finish().expect("memory"),
        bz.finish().expect("memory"),
        zip,
    ];
    let plain = open(&tar).expect("it is taken");
    for packed in all {
        let package = open(&packed).unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(package.tree_digest, plain.tree_digest, "{:?}", package.packing);
    }
}

#[test]
fn pk_06_to_pk_11_layouts_modes_and_owners() {
    let dotted = Tar::default()
        .entry(b"./", b'5', 0o755, "", b"")
        .file("./lifecycle.json", LIFECYCLE.as_bytes())
        .file("./start.sh", SCRIPT)
        .end();
    let plain = open(&Tar::package().end()).expect("it is taken").tree_digest;
    assert_eq!(open(&dotted).expect("PK-06").tree_digest, plain);
    let folder = Tar::default()
        .entry(b"fw/", b'5', 0o700, "", b"")
        .file("fw/lifecycle.json", LIFECYCLE.as_bytes())
        .file("fw/start.sh", SCRIPT)
        .end();
    assert_eq!(open(&folder).expect("PK-07").tree_digest, plain);
    let place = unpacked(&folder);
    assert!(place.path().join("lifecycle.json").is_file(), "the folder is stripped");
    // PK-08 to PK-11: a script in a folder nobody listed, without an execute bit, and one without `#!`.
    let nested = LIFECYCLE.replace("start.sh", "scripts/a.sh");
    let nested = Tar::of(&nested)
        .entry(b"scripts/a.sh", b'0', 0o400, "", b"true\n")
        .file("data.bin", &[0, 1, 2])
        .end();
    let place = unpacked(&nested);
    assert_eq!(mode(&place.path().join("scripts")), 0o755);
    assert_eq!(mode(&place.path().join("scripts/a.sh")), 0o555);
    assert_eq!(mode(&place.path().join("data.bin")), 0o444);
}

#[test]
fn pk_14_pk_15_links_inside() {
    let archive = Tar::package()
        .file("lib.so.1", b"one")
        .entry(b"lib.so", b'2', 0o777, "lib.so.1", b"")
        .entry(b"copy", b'1', 0o644, "lib.so.1", b"")
        .end();
    let place = unpacked(&archive);
    assert_eq!(fs::read_link(place.path().join("lib.so")).expect("a link"), Path::new("lib.so.1"));
    assert_eq!(fs::read(place.path().join("copy")).expect("a file"), b"one");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        fs::metadata(place.path().join("copy")).expect("a file").nlink(),
        1,
        "an independent copy"
    );
}

#[test]
fn pk_16_long_names_of_both_kinds() {
    let long = format!("{}/{}", "d".repeat(99), "n".repeat(100));
    let pax = Tar::package().pax(&[("path", &long)]).file("short", b"x").end();
    let gnu = Tar::package()
        .entry(b"././@LongLink", b'L', 0, "", format!("{long}\0").as_bytes())
        .file("short", b"x")
        .end();
    for archive in [pax, gnu] {
        assert!(open(&archive).expect("it is taken").files().any(|(path, _)| path == long));
    }
}

#[test]
fn pk_17_to_pk_20_names_and_unknown_keys() {
    for name in ["a".repeat(64), "b".to_owned(), "123".to_owned()] {
        let archive = Tar::of(&LIFECYCLE.replace("\"fw\"", &format!("\"{name}\"")))
            .file("start.sh", SCRIPT)
            .end();
        assert_eq!(open(&archive).expect("it is taken").descriptor.name, name);
    }
    for process in ["averyveryverylongnameindeed", "a.b*"] {
        let archive = Tar::of(&LIFECYCLE.replace("\"fwd\"", &format!("\"{process}\"")))
            .file("start.sh", SCRIPT)
            .end();
        assert_eq!(
            open(&archive).expect("it is taken").descriptor.process.expect("one").name,
            process
        );
    }
    let archive =
        Tar::of(&LIFECYCLE.replacen('{', "{\"vdu\":[],", 1)).file("start.sh", SCRIPT).end();
    assert!(open(&archive).expect("it is taken").warnings[0].contains("vdu"));
    let none = r#"{"name":"fw","VNFprocess":"fwd","lifecycle_event":[]}"#;
    assert!(open(&Tar::of(none).end()).expect("PK-04").warnings[0].starts_with("no-events"));
}

#[test]
fn pk_22_open_batons_form() {
    let vnfd = r#"{"name":"my-vnf","vendor":"x","version":"1.0","type":"server","endpoint":"e",
        "configurations":{"name":"c","configurationParameters":[{"confKey":"port","value":"80"}]},
        "lifecycle_event":[{"event":"INSTANTIATE","lifecycle_events":["install.sh -v"]},{"event":"START","lifecycle_events":["start.sh"]}]}"#;
    let archive = Tar::default()
        .file("Metadata.yaml", b"name: x\n")
        .file("vnfd.json", vnfd.as_bytes())
        .file("scripts/install.sh", SCRIPT)
        .file("scripts/start.sh", SCRIPT)
        .end();
    let package = open(&archive).expect("it is taken");
    assert_eq!(package.form, Form::OpenBaton);
    assert_eq!(
        (package.descriptor.name.as_str(), package.descriptor.version.as_deref()),
        ("myvnf", Some("1.0.0"))
    );
    assert_eq!(package.descriptor.mode, vnode_vnfpkg::Mode::Managed);
    assert_eq!(package.descriptor.scripts(vnode_vnfpkg::Event::Instantiate)[0].args, ["-v"]);
    assert_eq!(package.descriptor.parameters["port"].default.as_deref(), Some("80"));
}

#[test]
fn bx_01_to_bx_10_what_is_no_archive_or_half_of_one() {
    let tar = Tar::package().end();
    assert_eq!(refused(b""), Code::Empty);
    let noise: Vec<u8> =
        (0..1u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert_eq!(refused(&noise), Code::Format);
    assert_eq!(refused(SCRIPT), Code::Format);
    let packed = gzip(&tar);
    assert_eq!(refused(&packed[..packed.len() / 2]), Code::Truncated);
    assert_eq!(refused(&tar[..1100]), Code::Truncated);
    let mut wrong = packed.clone();
    let at = wrong.len() - 6;
    wrong[at] ^= 1;
    assert_eq!(refused(&wrong), Code::Checksum);
    let mut wrong = tar.clone();
    wrong[150] ^= 1;
    assert_eq!(refused(&wrong), Code::Checksum);
    assert_eq!(
        refused(&[tar.clone(), Tar::package().file("evil.sh", SCRIPT).end()].concat()),
        Code::Trailing
    );
    assert_eq!(refused(&[packed.clone(), vec![7; 10 << 10]].concat()), Code::Trailing);
    assert_eq!(refused(&gzip(&packed)), Code::Format);
}

#[test]
fn bx_11_to_bx_15_bx_28_bx_29_paths() {
    let names: &[&[u8]] = &[
        b"../evil",
        b"a/../../evil",
        b"a/../b",
        b"/etc/cron.d/x",
        b"a\nb",
        b"a\x01b",
        b"a\\b",
        b"C:\\x",
        b"blank ",
    ];
    for name in names {
        assert_eq!(
            refused(&Tar::package().entry(name, b'0', 0o644, "", b"x").end()),
            Code::Path,
            "{name:?}"
        );
    }
    assert_eq!(
        refused(&Tar::package().pax(&[("path", "../evil")]).file("fine", b"x").end()),
        Code::Path
    );
    assert_eq!(
        refused(&Tar::package().entry(b"\xff\xfe", b'0', 0o644, "", b"x").end()),
        Code::NameEncoding
    );
}

#[test]
fn bx_16_to_bx_21_links() {
    let link = |name: &str, to: &str| Tar::package().entry(name.as_bytes(), b'2', 0o777, to, b"");
    assert_eq!(refused(&link("l", "/etc").end()), Code::Link);
    assert_eq!(refused(&link("l", "../../etc").end()), Code::Link);
    let chain =
        link("l", "sub").entry(b"sub", b'2', 0o777, "/etc", b"").file("l/passwd", b"x").end();
    assert_eq!(refused(&chain), Code::Link);
    let through = Tar::package()
        .entry(b"d", b'5', 0o755, "", b"")
        .entry(b"l", b'2', 0o777, "d", b"")
        .file("l/x", b"x")
        .end();
    assert_eq!(refused(&through), Code::Link, "nothing is written through a link");
    let before = mode(Path::new("/etc"));
    assert_eq!(refused(&link("d", "/etc").entry(b"d", b'5', 0o777, "", b"").end()), Code::Link);
    assert_eq!(mode(Path::new("/etc")), before);
    assert_eq!(refused(&link("a", "b").entry(b"b", b'2', 0o777, "a", b"").end()), Code::Link);
    assert_eq!(refused(&link("a", "gone").end()), Code::Link);
    let hard = |to: &str| {
        Tar::package()
            .entry(b"s", b'2', 0o777, "start.sh", b"")
            .entry(b"h", b'1', 0o644, to, b"")
            .file("later", b"x")
    };
    for target in ["/etc/shadow", "s", "later"] {
        assert_eq!(refused(&hard(target).end()), Code::Link, "{target}");
    }
}

#[test]
fn bx_22_bx_23_types_and_modes() {
    for flag in [b'3', b'4', b'6', b'?', b'S', b'M'] {
        assert_eq!(
            refused(&Tar::package().entry(b"x", flag, 0o644, "", b"").end()),
            Code::Type,
            "{flag}"
        );
    }
    assert_eq!(
        refused(&Tar::package().pax(&[("GNU.sparse.major", "1")]).file("x", b"").end()),
        Code::Type
    );
    assert_eq!(
        refused(&Tar::package().pax(&[("SCHILY.xattr.user.x", "1")]).file("x", b"").end()),
        Code::Type
    );
    let socket = zip(&[Zipped { mode: 0o140_644, ..Zipped::new("s", b"") }]);
    assert_eq!(refused(&socket), Code::Type);
    for mode in [0o4755, 0o2755, 0o1755] {
        assert_eq!(refused(&Tar::package().entry(b"x", b'0', mode, "", SCRIPT).end()), Code::Mode);
    }
}

#[test]
fn bx_24_to_bx_27_the_same_path_twice() {
    for (first, second) in
        [("start.sh", "start.sh"), ("a", "a/b"), ("Start.sh", "start.sh"), ("x/a", "X/b")]
    {
        let archive =
            Tar::of(LIFECYCLE).file(first, SCRIPT).file(second, b"#!/bin/sh\nfalse\n").end();
        assert_eq!(refused(&archive), Code::Duplicate, "{first} {second}");
    }
    assert_eq!(refused(&Tar::package().file("a/b", b"x").file("a", b"x").end()), Code::Duplicate);
    assert_eq!(
        refused(&Tar::package().file("./lifecycle.json", LIFECYCLE.as_bytes()).end()),
        Code::Duplicate
    );
}

#[test]
fn bx_30_bx_31_pk_25_counts_and_depths() {
    let many = |count: usize| {
        let mut archive = Tar::package();
        for number in 2..count {
            archive = archive.file(&format!("f{number}"), b"");
        }
        archive.end()
    };
    assert!(open(&many(4096)).is_ok(), "PK-25");
    assert_eq!(refused(&many(4097)), Code::TooMany);
    assert_eq!(refused(&gzip(&many(20_000))), Code::TooMany);
    assert_eq!(refused(&Tar::package().file(&("d/".repeat(16) + "f"), b"x").end()), Code::TooDeep);
    assert_eq!(
        refused(&Tar::package().pax(&[("path", &"c".repeat(129))]).file("x", b"").end()),
        Code::Path
    );
    let long = [&"p".repeat(127)[..], &"q".repeat(127)[..], "r"].join("/");
    assert_eq!(refused(&Tar::package().pax(&[("path", &long)]).file("x", b"").end()), Code::Path);
}

#[test]
fn bx_32_to_bx_34_bombs() {
    // The table's sizes in proportion: 1 MiB stands for 1 GiB.
    let limits = Limits { total_bytes: 1 << 20, ratio_from: 64 << 10, ..Limits::default() };
    let zeros = vec![0; (1 << 20) + 1];
    let tar = Tar::package().entry(b"zeros", b'0', 0o644, "", &zeros).end();
    let code = |bytes: &[u8]| {
        Package::open(&file_of(bytes), &limits, &Trust::default()).expect_err("a bomb").code()
    };
    assert_eq!(code(&gzip(&tar)), Code::Bomb);
    let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bz.write_all(&Tar::package().entry(b"zeros", b'0', 0o644, "", &zeros[..1 << 20]).end())
        .expect("memory");
    assert_eq!(code(&bz.finish().expect("memory")), Code::Bomb, "BX-33: by its ratio");
    // A frame that asks for a window of 2^31 bytes, and an xz block with a dictionary of 1 GiB.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    assert_eq!(code(&window), Code::Bomb);
    let mut header = liblzma_header(SCRIPT).to_vec();
    header[16] = 38; // dictionary size: 2^31
    let crc = {
        let mut crc = flate2::Crc::new();
        crc.update(&header[12..20]);
        crc.sum()
    };
    header[20..24].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(code(&header), Code::Bomb);
}

/// A stream header and the header of a first block, of the smallest archive.
fn liblzma_header(content: &[u8]) -> [u8; 24] {
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(content).expect("memory");
    xz.finish().expect("memory")[..24].try_into().expect("it is longer")
}

#[test]
fn bx_35_to_bx_37_zip_that_says_two_things() {
    let package = || {
        vec![Zipped::new("lifecycle.json", LIFECYCLE.as_bytes()), Zipped::new("start.sh", SCRIPT)]
    };
    let mut renamed = package();
    renamed.push(Zipped { local_name: Some("b.sh"), ..Zipped::new("a.sh", SCRIPT) });
    assert_eq!(refused(&zip(&renamed)), Code::Ambiguous);
    let mut sized = package();
    sized.push(Zipped { local_size: Some(3), ..Zipped::new("a.sh", SCRIPT) });
    assert_eq!(refused(&zip(&sized)), Code::Ambiguous);
    let mut secret = package();
    secret.push(Zipped { flags: 1, ..Zipped::new("a.sh", SCRIPT) });
    assert_eq!(refused(&zip(&secret)), Code::Encrypted);
    // Two names for one core.
    let mut overlap = zip(&package());
    let list = overlap.windows(4).position(|window| window == b"PK\x01\x02").expect("a list");
    let second = list + 46 + "lifecycle.json".len();
    overlap[second + 42..second + 46].copy_from_slice(&0u32.to_le_bytes());
    assert_eq!(refused(&overlap), Code::Ambiguous);
    assert_eq!(refused(&[b"MZ stub".to_vec(), zip(&package())].concat()), Code::Format);
    assert_eq!(refused(&[zip(&package()), b"tail".to_vec()].concat()), Code::Trailing);
}

#[test]
fn bx_38_bx_39_sizes_and_orders_that_lie() {
    assert_eq!(
        refused(&Tar::package().pax(&[("size", "0")]).file("x", b"abc").end()),
        Code::Ambiguous
    );
    let both = Tar::package()
        .pax(&[("path", "one")])
        .entry(b"././@LongLink", b'L', 0, "", b"two\0")
        .file("x", b"")
        .end();
    assert_eq!(refused(&both), Code::Ambiguous);
    let huge = Tar::package().header(b"huge", b'0', 0o644, "", 8 << 30).raw(&[1; 1024]).end();
    assert!(matches!(refused(&huge), Code::Size | Code::Truncated));
    // As much as a header can say, on top of what came before it.
    let most = Tar::package().file("x", b"x").header(b"most", b'0', 0o644, "", u64::MAX).end();
    assert!(matches!(refused(&most), Code::Size | Code::Truncated | Code::Format));
}

#[test]
fn bx_40_to_bx_43_size_and_descriptor_place() {
    let limits = Limits { archive_bytes: 1000, ..Limits::default() };
    let large = Package::open(&file_of(&Tar::package().end()), &limits, &Trust::default());
    assert_eq!(large.expect_err("too large").code(), Code::Size);
    assert_eq!(refused(&Tar::default().file("start.sh", SCRIPT).end()), Code::NoDescriptor);
    let folder = Tar::default()
        .entry(b"lifecycle.json", b'5', 0o755, "", b"")
        .file("start.sh", SCRIPT)
        .end();
    assert_eq!(refused(&folder), Code::NoDescriptor);
    let link = Tar::default()
        .file("other.json", LIFECYCLE.as_bytes())
        .entry(b"lifecycle.json", b'2', 0o777, "other.json", b"")
        .file("start.sh", SCRIPT)
        .end();
    assert_eq!(refused(&link), Code::Link);
    let two = Tar::default()
        .file("a/lifecycle.json", LIFECYCLE.as_bytes())
        .file("b/start.sh", SCRIPT)
        .end();
    assert_eq!(refused(&two), Code::NoDescriptor);
}

#[test]
fn bx_56_to_bx_61_scripts() {
    let of =
        |script: &str| Tar::of(&LIFECYCLE.replace("start.sh", script)).file("start.sh", SCRIPT);
    let gone = open(&Tar::of(r#"{"name":"fw","VNFprocess":"p","lifecycle_event":[{"event":"START","lifecycle_events":["a","b"]},{"event":"TERMINATE","lifecycle_events":["c"]}]}"#).end());
    let gone = gone.expect_err("refused");
    assert_eq!((gone.code(), gone.problems.len()), (Code::ScriptMissing, 3), "all at once");
    let arguments = open(&of("start.sh --fast").end()).expect_err("refused");
    assert_eq!(arguments.code(), Code::ScriptMissing);
    assert!(arguments.to_string().contains("args"));
    for path in ["../../bin/sh", "/bin/sh", "a/../start.sh"] {
        assert_eq!(refused(&of(path).end()), Code::ScriptPath, "{path}");
    }
    assert_eq!(refused(&of("dir").entry(b"dir/", b'5', 0o755, "", b"").end()), Code::ScriptType);
    assert_eq!(refused(&of("lifecycle.json").end()), Code::ScriptType);
    assert_eq!(refused(&of("empty").file("empty", b"").end()), Code::ScriptType);
    assert_eq!(refused(&of("crlf").file("crlf", b"#!/bin/sh\r\ntrue\r\n").end()), Code::ScriptCrlf);
    assert_eq!(refused(&of("rel").file("rel", b"#!bin/sh\ntrue\n").end()), Code::ScriptInterpreter);
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[18] = 0x15; // 64 bit PowerPC
    assert_eq!(refused(&of("elf").file("elf", &elf).end()), Code::ScriptType);
}

#[test]
fn an_archive_that_changes_between_the_passes_is_not_written() {
    let file = file_of(&Tar::package().file("more", b"x").end());
    let package = Package::open(&file, &Limits::default(), &Trust::default()).expect("it is taken");
    let other = file_of(&Tar::package().file("evil", b"x").end());
    let folder = tempfile::tempdir().expect("a folder");
    let dir = Dir::open_ambient(folder.path(), Scope::Beneath).expect("it is there");
    assert_eq!(package.unpack(&other, &dir).expect_err("refused").code(), Code::ArchiveChanged);
}
