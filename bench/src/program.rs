//! Floors, compiled here, and a shell that runs one command after the other without being started anew each time.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use vnode_testkit::{Host, built_program};

/// Compiles `bench/floor/NAME.c` into the host's directory.
pub(crate) fn floor(host: &Host, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("floor").join(format!("{name}.c"));
    let program = host.dir().join(name);
    let status = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&program)
        .arg(&source)
        .status()
        .expect("cc is installed");
    assert!(status.success(), "{} does not compile", source.display());
    program
}

/// Runs a program in the host and reads the numbers of its lines.
pub(crate) fn numbers(host: &Host, program: &Path, args: &[&str]) -> Vec<Vec<f64>> {
    let output = host.run(&program.display().to_string(), args).ok();
    let line = |l: &str| l.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    output.stdout.lines().map(line).collect()
}

/// Processor time a process has had, seconds: `utime` and `stime`, fields 14 and 15 of proc(5)'s `stat`.
pub(crate) fn busy(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, which may hold anything, and what is before it are cut.
    let fields: Vec<&str> =
        text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// A shell in the host. Commands of ours and of peers are started by the same small process, so that what is compared is
/// what they do.
pub(crate) struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Shell {
    /// `prelude` is run first, in a mount namespace of the shell's own.
    pub(crate) fn start(host: &Host, prelude: &str) -> Shell {
        let mut command = host.command("unshare");
        command.args(["-m", "sh", "-c", &format!("{prelude}\nexec sh")]);
        command.env("VNODE_STATE_DIR", host.state_dir());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut shell = Shell { child, stdin, stdout };
        shell.time("true");
        shell
    }

    /// Runs one line; milliseconds until it has ended. Panics when it fails.
    pub(crate) fn time(&mut self, line: &str) -> f64 {
        let start = Instant::now();
        writeln!(self.stdin, "{line} >/dev/null </dev/null; echo \"@$?\"")
            .expect("the shell reads");
        self.stdin.flush().expect("the shell reads");
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).expect("the shell answers");
        let time = start.elapsed().as_secs_f64() * 1e3;
        assert_eq!(answer.trim(), "@0", "`{line}` failed");
        time
    }

    /// Runs `vnode` with these arguments, as a user does who is in the host already: [`Host::vnode`] enters it first, with
    /// a move into each of its control groups, which takes the kernel longer than a small command of ours.
    pub(crate) fn vnode(&mut self, args: &str) -> f64 {
        self.time(&format!("{} {args}", built_program("vnode").display()))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it ends with its host at the latest
        let _ = self.child.wait();
    }
}
