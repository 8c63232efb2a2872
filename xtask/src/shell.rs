//! Running programs, with the output of long ones in files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout").to_owned()
}

/// The target directory cargo uses for this checkout.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Whether we are root; where we are not, what needs it is called through `sudo`.
pub(crate) fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:\t0\t")))
}

/// A command in the checkout, without standard input.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// The same as root.
pub(crate) fn root_command(program: &str, args: &[&str]) -> Command {
    if is_root() { command(program, args) } else { command("sudo", &[&[program], args].concat()) }
}

/// Runs a command to its end with its output on ours.
pub(crate) fn show(mut command: Command) -> Result<(), String> {
    let text = describe(&command);
    let status = command.status().map_err(|e| format!("cannot start `{text}`: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{text}` failed: {status}")) }
}

/// Runs a command with both streams in `log`; on failure the end of the log is part of the error.
pub(crate) fn log(mut command: Command, name: &str) -> Result<(), String> {
    let text = describe(&command);
    let path = log_path(name);
    let file = File::create(&path).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    let second = file.try_clone().map_err(|e| e.to_string())?;
    let started = Instant::now();
    let status = command.stdout(file).stderr(second).status();
    let status = status.map_err(|e| format!("cannot start `{text}`: {e}"))?;
    println!("{name}: {:.0} s", started.elapsed().as_secs_f64());
    if status.success() {
        return Ok(());
    }
    let all = std::fs::read(&path).unwrap_or_default();
    let all = String::from_utf8_lossy(&all).into_owned();
    let lines: Vec<&str> = all.lines().collect();
    let tail = lines[lines.len().saturating_sub(150)..].join("\n");
    Err(format!("`{text}` failed: {status}; the end of {}:\n{tail}", path.display()))
}

/// Where the output of a step goes.
pub(crate) fn log_path(name: &str) -> PathBuf {
    let dir = target().join("ci");
    // A failure to make it shows when the file is made.
    let _ = std::fs::create_dir_all(&dir);
    dir.join(format!("{name}.log"))
}

/// Standard output of a command that has to succeed.
pub(crate) fn read(mut command: Command) -> Result<String, String> {
    let text = describe(&command);
    let out = command.output().map_err(|e| format!("cannot start `{text}`: {e}"))?;
    if !out.status.success() {
        return Err(format!("`{text}` failed: {}", String::from_utf8_lossy(&out.stderr)));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Whether a program is on the search path or in the system's directories.
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|dir| dir.join(name).is_file())
}

fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}
