//! Archives: whatever is in them, nothing is made outside the root, and the bounds hold.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use vnode_beneath::{Devices, Dir, Limits, Mode, RootFileSystem, Scope, Whiteouts, unpack};

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    entries: 64,
    depth: 8,
    path_length: 1024,
    name_length: 255,
    folder_paths: 64 << 10,
    extension_bytes: 16 << 10,
};

fn place() -> &'static PathBuf {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let shm = PathBuf::from("/dev/shm");
        let below = std::env::var_os("VNODE_FUZZ_DIR").map(PathBuf::from);
        let below = below.unwrap_or(if shm.is_dir() { shm } else { std::env::temp_dir() });
        let place = below.join(format!("vnode-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&place).expect("a folder to unpack into");
        place
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, archive)) = data.split_first() else { return };
    let mode = match choice % 4 {
        0 => Mode::Files,
        n => Mode::RootFileSystem(RootFileSystem {
            devices: if n == 1 { Devices::Refuse } else { Devices::Skip },
            whiteouts: if n == 3 { Whiteouts::Overlay } else { Whiteouts::Keep },
            // As anybody but root, owners cannot be set, and that is an error worth meeting too.
            owners: n != 2,
        }),
    };
    let outer = Dir::open_ambient(place(), Scope::Beneath).expect("it was made");
    outer.mkdir("root", 0o700).expect("the last run was removed");
    let root = outer.open_dir("root").expect("it was made");
    if let Ok(report) = unpack(archive, &root, &LIMITS, mode, &|| false) {
        assert!(report.entries <= LIMITS.entries && report.bytes <= LIMITS.bytes);
    }
    drop(root);
    assert_eq!(outer.list(10).expect("it can be listed"), ["root"], "made outside the root");
    outer.remove_tree("root").expect("whatever was unpacked can be removed");
});
