//! `cargo xtask opennebula`: the publisher's cases against the stand-in server, or against a real one.

use crate::shell::{self, command};

/// Runs them; `rest` is `--live URL [--auth FILE]`, or nothing.
pub(crate) fn run(rest: &[&str]) -> Result<(), String> {
    let mut tests = command("cargo", &["test", "--locked", "-p", "vnode-opennebula"]);
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let name = match *word {
            "--live" => "VNODE_ONE_LIVE",
            "--auth" => "ONE_AUTH",
            other => return Err(format!("`{other}` is not understood; --live URL, --auth FILE")),
        };
        let value = words.next().ok_or_else(|| format!("after {word} comes its value"))?;
        tests.env(name, value);
    }
    if rest.contains(&"--live")
        && !rest.contains(&"--auth")
        && std::env::var_os("ONE_AUTH").is_none()
    {
        return Err("--auth FILE, or ONE_AUTH, names the file with `user:password`".to_owned());
    }
    shell::show(tests)
}
