//! `vnode-monitor`: the spawner, and the monitors it forks.
//!
//! Started by the daemon only: descriptor 3 is a SEQPACKET socket on which it is told which monitors to fork
//! (see `vnode_monitor::wire::Spawn`). It ends at the end of that connection; the monitors do not.

mod child;
mod console;
mod fail;
mod log;
mod loopback;
mod monitor;
mod record;
mod spawner;

use std::os::fd::{FromRawFd, OwnedFd};

fn main() {
    // SAFETY: descriptor 3 is handed over by the daemon and nothing else in this program has it.
    // That it is open and a socket is checked by the first use.
    let socket = unsafe { OwnedFd::from_raw_fd(3) };
    if rustix::net::sockopt::socket_type(&socket) != Ok(rustix::net::SocketType::SEQPACKET) {
        eprintln!("vnode-monitor: started by the vnode daemon, not by hand");
        std::mem::forget(socket);
        std::process::exit(2);
    }
    spawner::run(socket);
}
