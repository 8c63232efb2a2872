//! `cargo xtask lab`: the first lab, from nothing to working and back; and the benchmarks.

use crate::dist;
use crate::programs;
use crate::setup::{self, For};
use crate::shell::{self, command, root_command};

pub(crate) fn run() -> Result<(), String> {
    setup::run(For::Lab)?;
    println!("building vnode");
    programs::build(&["--quiet"])?;
    let vnode = shell::target().join("debug/vnode").display().to_string();
    let file = "examples/first/lab.clab.yml";
    let step = |args: &[&str]| {
        println!("\n$ vnode {}", args.join(" "));
        shell::show(root_command(&vnode, args))
    };
    step(&["up", file])?;
    let shown = (|| {
        step(&["ps"])?;
        for line in first_pings()? {
            let args: Vec<&str> = line.split_whitespace().collect();
            step(&args)?;
        }
        Ok(())
    })();
    // Taken down whatever the pings said.
    step(&["down", file])?;
    shown
}

/// The commands that show the lab working: those in the comments of its file that run something in a node.
fn first_pings() -> Result<Vec<String>, String> {
    let path = shell::root().join("examples/first/lab.clab.yml");
    let text = std::fs::read_to_string(&path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let comments = text.lines().filter_map(|l| l.strip_prefix('#'));
    let lines: Vec<String> = comments
        .filter_map(|l| l.split_once("vnode exec "))
        .map(|(_, rest)| format!("exec {rest}"))
        .collect();
    if lines.is_empty() {
        Err(format!("{} says no `vnode exec ...` to try", path.display()))
    } else {
        Ok(lines)
    }
}

pub(crate) fn bench() -> Result<(), String> {
    setup::run(For::Bench)?;
    programs::run()?;
    shell::show(command("cargo", &["build", "--release", "--locked", "-p", "vnode-bench"]))?;
    // The agent as it is packaged: one static program.
    let agent = dist::build()?;
    let beside = shell::target().join("release/vnode-agent");
    std::fs::copy(&agent, &beside).map_err(|e| format!("cannot copy {}: {e}", agent.display()))?;
    let one_node =
        ["build", "--release", "--locked", "-p", "vnode-driver", "--example", "one_node"];
    shell::show(command("cargo", &one_node))?;
    let program = shell::target().join("release/vnode-bench").display().to_string();
    shell::show(root_command(&program, &[]))
}
