//! Debian's kernel: where it is, how it is unpacked, and which modules go in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Modules the tests need, by name; what a kernel has built in, or lacks, is left out.
const MODULES: &[&str] = &[
    // libcrc32c asks for the algorithm by name only, which modules.dep does not show.
    "crc32c_generic",
    "virtio_pci",
    "virtio_console",
    "virtio_rng",
    "veth",
    "bridge",
    "dummy",
    "ifb",
    "8021q",
    "vxlan",
    "macvlan",
    "tun",
    "sch_netem",
    "sch_tbf",
    "sch_htb",
    "sch_ingress",
    "sch_prio",
    "sch_fq_codel",
    "sch_codel",
    "sch_pie",
    "sch_red",
    "cls_u32",
    "cls_bpf",
    "cls_matchall",
    "act_mirred",
    "act_police",
    "act_gact",
    "nf_tables",
    "nf_conntrack",
    "nf_nat",
    "nft_chain_nat",
    "nft_ct",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_reject_inet",
    "nft_numgen",
    "nft_fib_inet",
    "nft_hash",
    "nft_limit",
    "nft_log",
    "nft_meta_bridge",
    "nft_reject_bridge",
    "nf_conntrack_bridge",
    "overlay",
];

/// One installed or unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    version: String,
    image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// The newest kernel whose image and modules are both there: of the machine, or unpacked by `make test`
    /// from Debian's package into `guest/kernel` of the target directory.
    pub(super) fn find() -> Result<Kernel, String> {
        for top in [PathBuf::from("/")].into_iter().chain(crate::tools::kernel()) {
            let mut versions: Vec<String> = std::fs::read_dir(top.join("boot"))
                .into_iter()
                .flatten()
                .filter_map(|e| {
                    Some(e.ok()?.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned())
                })
                .collect();
            versions.sort();
            for version in versions.into_iter().rev() {
                let modules = top.join("lib/modules").join(&version);
                if modules.join("modules.dep").exists() {
                    let image = top.join("boot").join(format!("vmlinuz-{version}"));
                    return Ok(Kernel { version, image, modules });
                }
            }
        }
        Err("no Debian kernel: neither the package linux-image-amd64 nor an unpacked one"
            .to_owned())
    }

    /// The kernel as a plain ELF file, unpacked once: under emulation its own unpacking costs three seconds a boot.
    pub(super) fn vmlinux(&self, cache: &Path) -> PathBuf {
        let path = cache.join(format!("vmlinux-{}", self.version));
        if path.exists() {
            return path;
        }
        let image = std::fs::read(&self.image).expect("found before");
        let start = image
            .windows(6)
            .position(|w| w == b"\xfd7zXZ\0")
            .expect("Debian's kernel is packed with xz");
        let payload = cache.join("payload.xz");
        std::fs::write(&payload, &image[start..]).expect("the target directory is writable");
        let partial = cache.join("vmlinux.partial");
        // What follows the stream in the image makes xz complain at its end; the ELF file is whole by then.
        Command::new("xz")
            .args(["--single-stream", "--decompress", "--stdout"])
            .arg(&payload)
            .stdout(std::fs::File::create(&partial).expect("the target directory is writable"))
            .stderr(Stdio::null())
            .status()
            .expect("xz starts");
        let start = std::fs::read(&partial).expect("just written");
        assert!(start.starts_with(b"\x7fELF"), "xz could not unpack {}", self.image.display());
        std::fs::rename(&partial, &path).expect("the target directory is writable");
        path
    }

    /// The module files to load for a guest of the tests, which wants `more` besides.
    pub(super) fn module_files(&self, more: &[&str]) -> Vec<PathBuf> {
        self.files_of(&[MODULES, more].concat())
    }

    /// The files of these modules, each after those it depends on.
    pub(super) fn files_of(&self, modules: &[&str]) -> Vec<PathBuf> {
        let text = std::fs::read_to_string(self.modules.join("modules.dep")).expect("found before");
        let name = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            file.split('.').next().unwrap_or(file).replace('-', "_")
        };
        let lines: BTreeMap<String, (&str, Vec<&str>)> = text
            .lines()
            .filter_map(|l| l.split_once(':'))
            .map(|(path, needs)| (name(path), (path, needs.split_whitespace().collect())))
            .collect();
        let mut order: Vec<&str> = Vec::new();
        for wanted in modules {
            let Some((path, needs)) = lines.get(*wanted) else { continue };
            // modules.dep lists all that is needed, the deepest last.
            for path in needs.iter().rev().chain([path]) {
                if !order.contains(path) {
                    order.push(path);
                }
            }
        }
        order.into_iter().map(|p| self.modules.join(p)).collect()
    }
}
