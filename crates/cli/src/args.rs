//! The command line. Help texts, man pages and completions all come from here.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands;

/// Runs labs of virtual nodes on this host.
///
/// A lab is described by a topology file in containerlab's YAML. `vnode up FILE` brings it up, `vnode ps`
/// shows it, `vnode exec NODE -- PROGRAM` and `vnode shell NODE` go into a node, `vnode link set` changes
/// what its links do to frames, `vnode down FILE` takes it away without a trace.
///
/// NODE is a node's name where that is unique on the host, else LAB/NODE. A daemon owns the state of the
/// host; it is started when a command needs it and none runs.
#[derive(Debug, Parser)]
#[command(
    name = "vnode",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 partly done, 4 deadline passed. \
                  `vnode exec` and `vnode shell` end with the program's own."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Folder of all state
    ///
    /// Two daemons with two folders live side by side.
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        env = "VNODE_STATE_DIR",
        default_value = "/var/lib/vnode",
        hide_env_values = true
    )]
    pub state_dir: PathBuf,

    /// Print JSON: one document, or one line each for what streams
    #[arg(long, global = true)]
    pub json: bool,

    /// Print nothing but results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,

    /// Talk to the daemon of another host, over TLS
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        env = "VNODE_HOST",
        hide_env_values = true
    )]
    pub host: Option<String>,

    /// Token for `--host`; `vnode token create` makes one
    #[arg(long, global = true, value_name = "TOKEN", env = "VNODE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// Certificates to check that host's with; the system's own when absent
    #[arg(long, global = true, value_name = "FILE", env = "VNODE_CA", hide_env_values = true)]
    pub ca: Option<PathBuf>,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring a lab up
    Up(commands::up::Args),
    /// Take a lab down
    Down(commands::down::Args),
    /// Make a running lab what its file says, changing only what differs
    Apply(commands::apply::Args),
    /// Read a topology file and report what is wrong with it
    Check(commands::check::Args),
    /// List nodes
    #[command(visible_alias = "ls")]
    Ps(commands::ps::Args),
    /// Show everything known of a node or a lab
    Inspect(commands::inspect::Args),
    /// Run a program in a node
    Exec(commands::exec::Args),
    /// Open a shell in a node
    #[command(visible_alias = "sh")]
    Shell(commands::shell::Args),
    /// Attach to a node's console; Ctrl-] leaves it
    Console(commands::console::Args),
    /// Show what a node's first process printed
    Logs(commands::logs::Args),
    /// Copy files into or out of a node
    Cp(commands::cp::Args),
    /// Ask the agent in a node
    Agent(commands::agent::Args),
    /// Manage the components in a node: `vnode-agent component`, run inside it
    Component(commands::tool::Args),
    /// Write packages of network functions, and manage those in a node
    Vnf(commands::vnf::Args),
    /// Make a node that stands alone
    Create(commands::create::Args),
    /// Boot a node
    #[command(visible_alias = "start")]
    Boot(commands::boot::Args),
    /// Halt a node; its disk, links and addresses stay
    #[command(visible_alias = "stop")]
    Halt(commands::halt::Args),
    /// Reboot a node; its links and addresses stay
    #[command(visible_alias = "restart")]
    Reboot(commands::reboot::Args),
    /// Stop a node's processes where they are
    Pause(commands::pause::Args),
    /// Let a paused node go on
    Resume(commands::pause::Args),
    /// Keep a virtual machine's memory with its disk and end it; the next boot goes on from there
    Save(commands::save::Save),
    /// Let a virtual machine go on from the memory that was saved
    Restore(commands::save::Restore),
    /// Take a picture of a virtual machine's screen
    Screenshot(commands::save::Screenshot),
    /// Destroy a node and its disk
    Destroy(commands::destroy::Args),
    /// Print a node's state in one word
    State(commands::state::Args),
    /// Wait until a node has come so far, or has failed
    Wait(commands::wait::Args),
    /// Mount a stopped node's root on this host and print the folder, or run a program on it
    ///
    /// With PROGRAM the root is there as long as that runs: `vnode mount r1 -- sh -c 'cp keys "$VNODE_ROOT/etc/"'`.
    Mount(commands::mount::Mount),
    /// Unmount what `mount` mounted
    Unmount(commands::mount::Unmount),
    /// Show links and change what they do to frames
    Link(commands::link::Args),
    /// Keep copies of a stopped node's disk, and go back to them
    Snapshot(commands::snapshot::Args),
    /// Show, pause, resume or stop a lab's timeline
    Timeline(commands::timeline::Args),
    /// Capture an interface's frames as pcap on standard output
    Capture(commands::capture::Args),
    /// Draw a topology
    Graph(commands::graph::Args),
    /// Write a topology back, resolved, or as containerlab takes it
    Export(commands::export::Args),
    /// Make a topology file of a file of Emulab, netlab, Kathará or CORE, or of a domain of libvirt, and print it
    Import(commands::import::Args),
    /// Show what happened
    Events(commands::events::Args),
    /// Show and cancel operations
    #[command(visible_alias = "operation")]
    Op(commands::op::Args),
    /// Manage images
    Image(commands::image::Args),
    /// Say what this machine can do, what not, and how to mend it
    Doctor(commands::doctor::Args),
    /// Remove what a crash or a foreign hand left behind
    Clean(commands::clean::Args),
    /// Run, stop or look at the daemon
    Daemon(commands::daemon::Args),
    /// Manage tokens for access over TCP
    Token(commands::token::Args),
    /// Print a completion script for a shell
    Completion(commands::completion::Args),
    /// Write the man pages into a folder
    Man(commands::man::Args),
    /// Print the versions of this program and of the daemon
    Version(commands::version::Args),
    /// Print names for completion scripts
    #[command(name = "__complete", hide = true)]
    Complete(commands::completion::Names),
}

#[cfg(test)]
mod tests;
