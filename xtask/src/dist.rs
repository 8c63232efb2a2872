//! `cargo xtask dist`: the guest agent for other machines.
//!
//! One static program, a Debian package and an archive with the same files, in `target/dist`. The package is made by
//! `dpkg-deb`; nothing in it depends on the machine or the moment it was made on.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::shell::{self, command};

/// Of all files in a package: the start of 2026.
const MOMENT: &str = "1767225600";

/// Where files of the repository go: source, place, mode.
const FILES: &[(&str, &str, u32)] = &[
    ("packaging/agent/agent.toml", "etc/vnode/agent.toml", 0o644),
    (
        "packaging/agent/systemd/vnode-agent.service",
        "lib/systemd/system/vnode-agent.service",
        0o644,
    ),
    (
        "packaging/agent/systemd/vnode-agent-boot.service",
        "lib/systemd/system/vnode-agent-boot.service",
        0o644,
    ),
    ("packaging/agent/sysvinit/vnode-agent", "etc/init.d/vnode-agent", 0o755),
    ("packaging/agent/openrc/vnode-agent", "usr/share/vnode-agent/openrc/vnode-agent", 0o755),
    ("packaging/agent/freebsd/vnode_agent", "usr/share/vnode-agent/freebsd/vnode_agent", 0o755),
    (
        "packaging/agent/vnode_agent_plugin.py",
        "usr/lib/python3/dist-packages/vnode_agent_plugin.py",
        0o644,
    ),
    ("schemas/vnode-agent.schema.json", "usr/share/vnode-agent/agent.schema.json", 0o644),
    ("docs/reference/agent.md", "usr/share/doc/vnode-agent/agent.md", 0o644),
    ("docs/reference/agent-plugins.md", "usr/share/doc/vnode-agent/agent-plugins.md", 0o644),
    ("docs/reference/component.md", "usr/share/doc/vnode-agent/component.md", 0o644),
    ("LICENSE-MIT", "usr/share/doc/vnode-agent/copyright", 0o644),
];

/// The bus of components and the daemon on it: where to put them depends on what is there already.
const COMPONENT: &[&str] = &[
    "ephemerad-v1.yang",
    "ephemerad.service",
    "net.vyatta.vci.ephemera.component",
    "vnode-component-v1.yang",
    "vyatta-vci-bus.conf",
    "vyatta-vci-bus.service",
    "vyatta-vci-bus.socket",
];

pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let (mut program, mut out) = (None, shell::target().join("dist"));
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().map(PathBuf::from).ok_or(format!("`{word}` needs a path"));
        match *word {
            "--program" => program = Some(value()?),
            "--out" => out = value()?,
            word => return Err(format!("`dist` knows no `{word}`")),
        }
    }
    let program = match program {
        Some(program) => program,
        None => build()?,
    };
    fs::create_dir_all(&out).map_err(|e| format!("cannot make {}: {e}", out.display()))?;
    let staged = out.join("files");
    if staged.exists() {
        fs::remove_dir_all(&staged)
            .map_err(|e| format!("cannot empty {}: {e}", staged.display()))?;
    }
    stage(&program, &staged)?;
    let (version, architecture) = (env!("CARGO_PKG_VERSION"), architecture()?);
    copy(&program, &out.join("vnode-agent"), 0o755)?;
    let archive = out.join(format!("vnode-agent-{version}-{architecture}.tar.gz"));
    shell::show(command(
        "tar",
        &[
            "--create",
            "--gzip",
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            &format!("--mtime=@{MOMENT}"),
            "--directory",
            text(&staged)?,
            "--file",
            text(&archive)?,
            ".",
        ],
    ))?;
    let package = out.join(format!("vnode-agent_{version}_{architecture}.deb"));
    control(&staged, version, architecture)?;
    let mut deb = command(
        "dpkg-deb",
        &["-Zgzip", "--build", "--root-owner-group", text(&staged)?, text(&package)?],
    );
    deb.env("SOURCE_DATE_EPOCH", MOMENT);
    shell::show(deb)?;
    println!("{}\n{}\n{}", out.join("vnode-agent").display(), archive.display(), package.display());
    Ok(())
}

/// The static program: glibc is linked in, and what it would load at run time (name services) is not used.
pub(crate) fn build() -> Result<PathBuf, String> {
    // With a target named, the flag is not for build scripts and macros, which are loaded into the compiler.
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = command(
        "cargo",
        &["build", "--profile", "dist", "--locked", "-p", "vnode-agent", "--target", &machine],
    );
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    shell::log(cargo, "dist-agent")?;
    Ok(shell::target().join(machine).join("dist/vnode-agent"))
}

fn stage(program: &Path, staged: &Path) -> Result<(), String> {
    copy(program, &staged.join("usr/bin/vnode-agent"), 0o755)?;
    for (from, to, mode) in FILES {
        copy(&shell::root().join(from), &staged.join(to), *mode)?;
    }
    let packaging = shell::root().join("crates/guest/component/packaging");
    for name in COMPONENT {
        let to = staged.join("usr/share/vnode-agent/component").join(name);
        copy(&packaging.join(name), &to, 0o644)?;
    }
    let pages = shell::root().join("docs/reference/man-agent");
    for entry in
        fs::read_dir(&pages).map_err(|e| format!("cannot list {}: {e}", pages.display()))?
    {
        let entry = entry.map_err(|e| e.to_string())?;
        copy(&entry.path(), &staged.join("usr/share/man/man8").join(entry.file_name()), 0o644)?;
    }
    for (target, link) in [
        ("vnode-agent", "usr/bin/nova-agent"),
        ("../../../bin/vnode-agent", "usr/lib/vnode/agent/qemu-ga"),
        ("../../../bin/vnode-agent", "usr/lib/vnode/agent/ephemerad"),
        ("../../../bin/vnode-agent", "usr/lib/vnode/agent/activate"),
        ("../../../bin/vnode-agent", "usr/lib/vnode/agent/deactivate"),
    ] {
        let link = staged.join(link);
        folder_of(&link)?;
        symlink(target, &link).map_err(|e| format!("cannot link {}: {e}", link.display()))?;
    }
    for folder in ["etc/vnode/agent.d", "usr/lib/vnode/agent/commands"] {
        let folder = staged.join(folder);
        fs::create_dir_all(&folder)
            .map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    }
    Ok(())
}

fn control(staged: &Path, version: &str, architecture: &str) -> Result<(), String> {
    let size = shell::read(command(
        "du",
        &["--summarize", "--apparent-size", "--block-size=1024", text(staged)?],
    ))?;
    let size = size.split_whitespace().next().unwrap_or("0");
    let from = shell::root().join("packaging/agent/deb");
    let template =
        fs::read_to_string(from.join("control")).map_err(|e| format!("no control file: {e}"))?;
    let control = template
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", size);
    let folder = staged.join("DEBIAN");
    fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    fs::write(folder.join("control"), control).map_err(|e| format!("cannot write control: {e}"))?;
    for (name, mode) in [("postinst", 0o755), ("prerm", 0o755), ("conffiles", 0o644)] {
        copy(&from.join(name), &folder.join(name), mode)?;
    }
    Ok(())
}

/// As Debian names it.
fn architecture() -> Result<&'static str, String> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(format!("Debian's name of the architecture {other} is not known here")),
    }
}

fn folder_of(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), String> {
    folder_of(to)?;
    fs::copy(from, to)
        .map_err(|e| format!("cannot copy {} to {}: {e}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(|e| e.to_string())
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}
