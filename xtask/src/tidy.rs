//! `cargo xtask tidy`: the rules of this repository that the compiler does not know.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::shell::{self, command};

/// Which crate may depend on which, inside the workspace (ARCHITECTURE.md). `base` stands for all base crates.
const ARROWS: &[(&str, &[&str])] = &[
    ("vnode-protocol", &[]),
    ("vnode-store", &["vnode-protocol"]),
    ("vnode-beneath", &[]),
    ("vnode-vnfpkg", &["vnode-beneath", "vnode-raw"]),
    ("vnode-vnfauthor", &["vnode-vnfpkg"]),
    ("vnode-raw", &[]),
    ("vnode-idle", &[]),
    ("vnode-processes", &[]),
    ("vnode-action", &["vnode-protocol", "vnode-raw"]),
    ("vnode-event", &["vnode-store", "vnode-action"]),
    ("vnode-operation", &["vnode-store", "vnode-event", "vnode-protocol"]),
    ("vnode-topology", &["base"]),
    ("vnode-image", &["base"]),
    ("vnode-network", &["base"]),
    ("vnode-netserve", &["base", "vnode-network"]),
    ("vnode-monitor", &["base"]),
    ("vnode-guest", &["base"]),
    ("vnode-driver", &["base", "vnode-image", "vnode-network", "vnode-monitor", "vnode-guest"]),
    (
        "vnode-qemu",
        &["base", "vnode-driver", "vnode-image", "vnode-network", "vnode-guest", "vnode-monitor"],
    ),
    ("vnode-libvirt", &["base", "vnode-driver", "vnode-network", "vnode-guest"]),
    (
        "vnode-lifecycle",
        &[
            "base",
            "vnode-qemu",
            "vnode-libvirt",
            "vnode-driver",
            "vnode-guest",
            "vnode-image",
            "vnode-imagelist",
            "vnode-network",
            "vnode-netserve",
            "vnode-topology",
            "vnode-monitor",
        ],
    ),
    ("vnode-api", &["base", "vnode-lifecycle", "vnode-nfv", "vnode-imagelist", "vnode-topology"]),
    (
        "vnode-cli",
        &[
            "base",
            "vnode-api",
            "vnode-lifecycle",
            "vnode-topology",
            "vnode-image",
            "vnode-opennebula",
            "vnode-imagelist",
            "vnode-qemu",
            "vnode-libvirt",
            "vnode-driver",
            "vnode-network",
        ],
    ),
    ("vnode-front", &[]),
    ("vnode-xenstore", &["base"]),
    ("vnode-netconf", &["base"]),
    ("vnode-component", &["base"]),
    ("vnode-vnf", &["base"]),
    ("vnode-agent", &["base", "vnode-xenstore", "vnode-netconf", "vnode-component", "vnode-vnf"]),
    ("vnode-nfv", &["base", "vnode-image"]),
    ("vnode-imagelist", &["base", "vnode-image"]),
    ("vnode-opennebula", &["base", "vnode-image", "vnode-imagelist"]),
    ("vnode-testkit", &["base"]),
    ("vnode-tests", &["base", "vnode-testkit", "vnode-topology"]),
    ("vnode-bench", &["base", "vnode-testkit"]),
    (
        "vnode-fuzz",
        &[
            "base",
            "vnode-agent",
            "vnode-component",
            "vnode-guest",
            "vnode-image",
            "vnode-imagelist",
            "vnode-netconf",
            "vnode-netserve",
            "vnode-opennebula",
            "vnode-topology",
            "vnode-vnf",
            "vnode-xenstore",
        ],
    ),
    ("xtask", &[]),
];
const BASE: &[&str] = &[
    "vnode-store",
    "vnode-protocol",
    "vnode-beneath",
    "vnode-raw",
    "vnode-idle",
    "vnode-action",
    "vnode-event",
    "vnode-operation",
    "vnode-vnfpkg",
    "vnode-vnfauthor",
    "vnode-processes",
];
/// Folders whose code may start programs: the crate made for it, and what is no part of the product.
const STARTERS: &[&str] = &["crates/base/action/", "crates/testkit/", "tests/", "bench/", "xtask/"];
/// Lines of code above which a file should be cut in two.
const LONG: usize = 500;

pub(crate) fn run() -> Result<(), String> {
    let mut faults = arrows()?;
    let files = shell::read(command(
        "git",
        &["ls-files", "-z", "--", "*.rs", "*.toml", "*.md", "*.sh", "*.yml"],
    ))?;
    for name in files.split('\0').filter(|n| !n.is_empty()) {
        let path = shell::root().join(name);
        // A file deleted in the work tree and not yet in the index is no fault of its text.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        faults.extend(faults_of(name, &path, &text));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(format!("{} faults:\n  {}", faults.len(), faults.join("\n  ")))
    }
}

fn arrows() -> Result<Vec<String>, String> {
    let text = shell::read(command(
        "cargo",
        &["metadata", "--no-deps", "--format-version", "1", "--locked"],
    ))?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata has no packages")?;
    let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
    let ours: Vec<String> = packages.iter().map(name).collect();
    let mut faults = Vec::new();
    for package in packages {
        let from = name(package);
        let Some((_, allowed)) = ARROWS.iter().find(|(n, _)| *n == from) else {
            faults.push(format!(
                "crate {from} has no arrows in xtask/src/tidy.rs: add it, and to ARCHITECTURE.md"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = name(dependency);
            // What only tests use may point anywhere: it is not in the product.
            if !ours.contains(&to) || dependency["kind"] == "dev" {
                continue;
            }
            let base = allowed.contains(&"base") && BASE.contains(&to.as_str());
            if !base && !allowed.contains(&to.as_str()) {
                faults.push(format!("crate {from} must not depend on {to} (ARCHITECTURE.md)"));
            }
        }
    }
    Ok(faults)
}

fn faults_of(name: &str, path: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let code = Path::new(name).extension().is_some_and(|e| e == "rs");
    let tests = is_test_file(name);
    let mut in_tests = false;
    let mut lines = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let mut fault = |what: &str| faults.push(format!("{name}:{number}: {what}"));
        if line.contains('\u{feff}') || line.ends_with('\r') {
            fault("byte order mark or carriage return");
        }
        if !code {
            continue;
        }
        in_tests |= line.trim_start().starts_with("#[cfg(test)]");
        if !in_tests {
            lines += 1;
        }
        let bare = line.split("//").next().unwrap_or(line);
        if (bare.contains(concat!("todo", "!(")) || bare.contains(concat!("unimplemented", "!(")))
            && name != "xtask/src/tidy.rs"
        {
            fault("unfinished code");
        }
        let starts = bare.contains(concat!("Command", "::new("));
        if starts
            && !tests
            && !in_tests
            && !STARTERS.iter().any(|s| name.starts_with(s))
            && !is_clap(text)
        {
            fault("only vnode-action starts programs");
        }
    }
    if code && !tests && lines > LONG {
        println!(
            "long: {} has {lines} lines before its tests",
            path.strip_prefix(shell::root()).unwrap_or(path).display()
        );
    }
    faults
}

/// Whether `Command` in this file is the command line parser's.
fn is_clap(text: &str) -> bool {
    text.contains("clap::") && !text.contains("process::Command")
}

fn is_test_file(name: &str) -> bool {
    let path = PathBuf::from(name);
    name.split('/').any(|part| part == "tests" || part == "benches")
        || path.file_name().is_some_and(|f| f == "tests.rs")
}
