//! What a program that was run to its end has said.

use serde_json::Value;

/// Exit code and both streams of a finished program.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit code, or 128 plus the signal that ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub(crate) fn new(command: String, output: std::process::Output) -> Output {
        use std::os::unix::process::ExitStatusExt;
        let code =
            output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { command, code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Passes the output on when the program succeeded; panics with all it said otherwise.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.exits(0)
    }

    /// Passes the output on when the exit code is `code`; panics with all the program said otherwise.
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        assert!(
            self.code == code,
            "`{}` exited {} and not {code}\nstdout: {}\nstderr: {}",
            self.command,
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }

    /// The standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("`{}` printed no JSON ({error}): {}", self.command, self.stdout)
        })
    }

    /// Both streams, for a search in what was said.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}
