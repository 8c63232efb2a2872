//! The table's sizes as they stand: gibibytes, and a million entries (PK-25, BX-30, BX-32, BX-33).
//!
//! What reads gibibytes to their end takes minutes without optimisation, and is done when `VNODE_TEST_FULL` is set:
//! `VNODE_TEST_FULL=1 cargo test --release -p vnode-vnfpkg --test archives full`.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    time::Instant,
};

use vnode_beneath::{Dir, Scope};
use vnode_vnfpkg::{Code, Limits, Package, Refused, Trust};

use crate::common::{LIFECYCLE, SCRIPT, Tar, gzip};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn asked(case: &str) -> bool {
    let asked = std::env::var_os("VNODE_TEST_FULL").is_some();
    if !asked {
        println!(
            "skipped: {case} in full size takes minutes without optimisation: VNODE_TEST_FULL=1"
        );
    }
    asked
}

/// One file of gzip's members, which are one stream.
fn members<'a>(all: impl IntoIterator<Item = &'a [u8]>) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    for member in all {
        file.write_all(member).expect("it can be written");
    }
    file.seek(SeekFrom::Start(0)).expect("it is a file");
    file
}

fn open(file: &File) -> Result<Package, Refused> {
    Package::open(file, &Limits::default(), &Trust::default())
}

fn code(file: &File) -> Code {
    open(file).expect_err("it is to be refused").code()
}

#[test]
fn pk_25_a_gibibyte_exactly() {
    if !asked("PK-25") {
        return;
    }
    // Compressed some sixtyfold: more than 250 would be a bomb.
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        // Xorshift: nothing that gzip finds shorter words for.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    });
    let mut piece: Vec<u8> = noise.take(16 << 10).collect();
    piece.resize(MIB as usize, 0);
    let packed = gzip(&piece);
    let half = 512 * MIB;
    let rest = GIB - half - LIFECYCLE.len() as u64 - SCRIPT.len() as u64;
    for (more, wanted) in [(0, None), (1, Some(Code::Bomb))] {
        let first = Tar::package().header(b"a", b'0', 0o644, "", half);
        let second = Tar::default().header(b"b", b'0', 0o644, "", rest + more);
        let last = (rest + more) % MIB;
        let end = Tar::default().raw(&piece[..last as usize]).end();
        let (first, second, end) = (gzip(&first.0), gzip(&second.0), gzip(&end));
        let data = |bytes: u64| std::iter::repeat_n(&packed[..], (bytes / MIB) as usize);
        let file = members(
            [&first[..]]
                .into_iter()
                .chain(data(half))
                .chain([&second[..]])
                .chain(data(rest))
                .chain([&end[..]]),
        );
        match wanted {
            Some(wanted) => assert_eq!(code(&file), wanted),
            None => {
                let package = open(&file).unwrap_or_else(|refused| panic!("{refused}"));
                let folder = tempfile::tempdir().expect("a folder");
                let dir = Dir::open_ambient(folder.path(), Scope::Beneath).expect("it is there");
                package.unpack(&file, &dir).expect("it unpacks");
                let size = |name| folder.path().join(name).metadata().expect("it is there").len();
                assert_eq!((size("a"), size("b")), (half, rest));
            }
        }
    }
}

#[test]
fn bx_30_a_million_empty_files() {
    if !asked("BX-30") {
        return;
    }
    let mut file = tempfile::tempfile().expect("a temporary file");
    let mut all = Tar::package();
    for number in 0..1_000_000 {
        all = all.file(&format!("f{number}"), b"");
        if all.0.len() > 8 << 20 {
            file.write_all(&gzip(&all.0)).expect("it can be written");
            all.0.clear();
        }
    }
    file.write_all(&gzip(&all.end())).expect("it can be written");
    file.seek(SeekFrom::Start(0)).expect("it is a file");
    let begun = Instant::now();
    assert_eq!(code(&file), Code::TooMany);
    println!("refused after {:?}, within 2 s by the table", begun.elapsed());
}

#[test]
fn bx_32_a_gibibyte_and_a_byte_of_zeros() {
    let head = gzip(&Tar::package().header(b"zeros", b'0', 0o644, "", GIB + 1).0);
    let zeros = gzip(&vec![0; MIB as usize]);
    let end = gzip(&Tar::default().raw(&[0]).end());
    let all = std::iter::repeat_n(&zeros[..], (GIB / MIB) as usize);
    let file = members([&head[..]].into_iter().chain(all).chain([&end[..]]));
    let size = file.metadata().expect("it is there").len();
    assert!((MIB / 2..2 * MIB).contains(&size), "about 1 MB: {size}");
    assert_eq!(code(&file), Code::Bomb);
}

#[test]
fn bx_33_a_gibibyte_of_bzip2() {
    if !asked("BX-33") {
        return;
    }
    let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    let head = Tar::package().header(b"zeros", b'0', 0o644, "", 500 * MIB);
    packed.write_all(&head.0).expect("memory");
    for _ in 0..GIB / MIB {
        packed.write_all(&[0; MIB as usize]).expect("memory");
    }
    let packed = packed.finish().expect("memory");
    assert!(packed.len() < 2000, "some hundred bytes: {}", packed.len());
    let begun = Instant::now();
    assert_eq!(code(&members([&packed[..]])), Code::Bomb);
    println!("refused after {:?}, within 5 s by the table", begun.elapsed());
}
