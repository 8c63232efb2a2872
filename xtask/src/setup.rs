//! Installing what a task needs from Debian's packages, and only what is missing.

use crate::shell::{self, command, root_command};
use crate::tools;

/// What to set up for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    Lab,
    Test,
    Bench,
}

/// The first lab: `ping` is the host's own, seen inside the nodes; libssl-dev and pkg-config are for signed image lists.
const LAB: &[&str] = &["gcc", "libc6-dev", "libssl-dev", "pkg-config", "iputils-ping", "iproute2"];
const TEST: &[&str] = &[
    "nftables",
    "busybox-static",
    "crun",
    "docker-registry",
    "qemu-system-x86",
    "qemu-utils",
    "ovmf",
    "e2fsprogs",
    "fuse2fs",
    "xz-utils",
    "kmod",
    "procps",
    "util-linux",
    "binutils",
    "tcpdump",
    "iperf3",
    "curl",
    "ca-certificates",
    "python3-pip",
    "xenstore-utils",
    "dnsmasq-base",
    "frr",
    "nano",
    "dbus",
    "libglib2.0-bin",
    "cmake",
    "libpcre2-dev",
    "libvirt0",
];
const BENCH: &[&str] = &[
    "crun",
    "busybox-static",
    "mininet",
    "bridge-utils",
    "python3",
    "dbus",
    "cmake",
    "libpcre2-dev",
];

pub(crate) fn run(what: For) -> Result<(), String> {
    let mut wanted = LAB.to_vec();
    match what {
        For::Lab => {}
        For::Test => wanted.extend(TEST),
        For::Bench => wanted.extend(BENCH),
    }
    // pip is wanted as a program: the machine may have another Python than Debian's.
    if shell::has_program("pip3") {
        wanted.retain(|p| *p != "python3-pip");
    }
    let mut missing = Vec::new();
    for package in wanted {
        if !is_installed(package)? {
            missing.push(package);
        }
    }
    let need_kernel = what == For::Test && !has_kernel();
    let need_tools = what != For::Lab && !tools::are_there();
    if !missing.is_empty() || need_kernel || need_tools {
        update()?;
    }
    install(&missing)?;
    if need_kernel {
        unpack_kernel()?;
    }
    if need_tools {
        tools::unpack()?;
    }
    if what == For::Test
        && !tools::python_is_there()
        && let Err(error) = tools::python()
    {
        println!("some clients are not there for the tests: {error}");
    }
    Ok(())
}

fn is_installed(package: &str) -> Result<bool, String> {
    let out =
        command("dpkg-query", &["--show", "--showformat=${db:Status-Status}", package]).output();
    let out = out.map_err(|e| format!("cannot start dpkg-query (is this Debian?): {e}"))?;
    Ok(out.stdout == b"installed")
}

pub(crate) fn update() -> Result<(), String> {
    shell::log(root_command("apt-get", &["update"]), "apt-update")
}

/// Installs packages; a second try helps when a mirror was in the middle of an update.
fn install(packages: &[&str]) -> Result<(), String> {
    if packages.is_empty() {
        return Ok(());
    }
    println!("installing {}", packages.join(" "));
    let args = [&["install", "-y", "--no-install-recommends"], packages].concat();
    let apt = || {
        let mut apt = root_command("apt-get", &args);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        shell::log(apt, "apt-install")
    };
    apt().or_else(|first| {
        println!("once more, because: {first}");
        update()?;
        apt()
    })
}

/// Whether a Debian kernel with its modules is there for the guest tier: installed, or unpacked by us.
fn has_kernel() -> bool {
    [std::path::PathBuf::from("/"), shell::target().join("guest/kernel")].iter().any(|top| {
        let images = std::fs::read_dir(top.join("boot")).into_iter().flatten().flatten();
        let mut versions = images
            .filter_map(|e| Some(e.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned()));
        versions.any(|v| top.join("lib/modules").join(v).join("modules.dep").exists())
    })
}

/// Unpacks Debian's kernel package into the target directory. It is not installed: the guest tier only reads it, and
/// installing would make an initial RAM disk and change what this machine boots.
fn unpack_kernel() -> Result<(), String> {
    let depends = shell::read(command("apt-cache", &["depends", "linux-image-amd64"]))?;
    let package = depends
        .lines()
        .find_map(|l| l.trim().strip_prefix("Depends: "))
        .filter(|p| p.starts_with("linux-image-"))
        .ok_or("linux-image-amd64 names no kernel package")?;
    let dir = shell::target().join("guest");
    let kernel = dir.join("kernel");
    std::fs::create_dir_all(&kernel)
        .map_err(|e| format!("cannot make {}: {e}", kernel.display()))?;
    println!("unpacking {package} for the guest tier");
    let mut download = command("apt-get", &["download", "-o", "APT::Sandbox::User=root", package]);
    download.current_dir(&dir);
    shell::log(download, "apt-download")?;
    let mut archives =
        std::fs::read_dir(&dir).map_err(|e| e.to_string())?.flatten().map(|e| e.path());
    let archive = archives
        .find(|p| p.extension().is_some_and(|e| e == "deb"))
        .ok_or("apt-get download left no package")?;
    let text = |path: &std::path::Path| path.display().to_string();
    shell::log(
        command("dpkg-deb", &["--extract", &text(&archive), &text(&kernel)]),
        "kernel-unpack",
    )?;
    std::fs::remove_file(&archive)
        .map_err(|e| format!("cannot remove {}: {e}", archive.display()))?;
    let version = package.trim_start_matches("linux-image-");
    shell::log(command("/sbin/depmod", &["-b", &text(&kernel), version]), "kernel-depmod")
}
