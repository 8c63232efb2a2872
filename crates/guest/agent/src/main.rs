//! The `vnode-agent` program.

fn main() -> std::process::ExitCode {
    eprintln!("vnode-agent: no channel is built into this version yet");
    std::process::ExitCode::FAILURE
}
