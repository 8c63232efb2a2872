//! Manifests, ours and ETSI's, in a package that is fine but for them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "vnf/package.rs"]
mod package;

/// A member of a tar archive.
fn member(into: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut block = [0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    into.extend(block);
    into.extend(data);
    into.resize(into.len().next_multiple_of(512), 0);
}

fuzz_target!(|data: &[u8]| {
    for names in [&["MANIFEST"][..], &["TOSCA-Metadata/TOSCA.meta", "x.mf"]] {
        let mut bytes = Vec::new();
        member(
            &mut bytes,
            "lifecycle.json",
            br#"{"name":"a","VNFprocess":"p","lifecycle_event":[]}"#,
        );
        for name in names {
            member(&mut bytes, name, data);
        }
        bytes.extend([0; 1024]);
        package::open(&bytes);
    }
});
