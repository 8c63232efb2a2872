//! The command line. Help texts and man pages come from here.

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::command::{native, openstack::agentupdate};

/// Answers whoever manages this machine, over whatever channel there is, in its language.
///
/// The agent reads /etc/vnode/agent.toml and /etc/vnode/agent.d/*.toml. Without them it listens on the unix
/// socket /run/vnode/agent.sock and the virtio port org.vnode.agent.0 (our own form), on the virtio port
/// org.qemu.guest_agent.0 (QEMU's form), and on XenStore (OpenStack's form), each as soon as its device is there.
///
/// Called as `qemu-ga` it takes that program's options; called as `nova-agent` it is `run` with that program's.
#[derive(Debug, Parser)]
#[command(
    name = "vnode-agent",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 done, 1 usage or configuration, 2 nothing found (with `--once`), 3 internal error. \
                  `vnode-agent init` ends with the program's own."
)]
pub struct Cli {
    /// Early boot: apply what the config drive, the NoCloud seed or XenStore tells, once for each instance, and end
    #[arg(long)]
    pub once: bool,

    /// With `--once`: apply it again, though this instance has had it
    #[arg(long, requires = "once")]
    pub again: bool,

    /// With `--once`: print what would be applied, and change nothing
    #[arg(long, requires = "once")]
    pub plan: bool,

    /// With `--once`: the folder whose files are changed, instead of `/`
    #[arg(
        long,
        requires = "once",
        value_name = "FOLDER",
        default_value = "/",
        hide_default_value = true
    )]
    pub root: PathBuf,

    /// The configuration file, instead of /etc/vnode/agent.toml
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve all channels until TERM; HUP reads the configuration again
    Run(Run),
    /// The same in the background: ends when the daemon serves, or with the reason why it does not
    Daemon(Run),
    /// Explain the configuration: each channel, its exchange, parser and commands; name every fault with its place
    Check {
        /// The configuration file, instead of /etc/vnode/agent.toml
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Behave as QEMU's guest agent; takes its options (`vnode-agent qemu-ga --help`)
    #[command(name = "qemu-ga", disable_help_flag = true, disable_version_flag = true)]
    QemuGa {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        options: Vec<OsString>,
    },
    /// Small management features as scripts on the bus: serve them, ask them, write new ones
    Component(vnode_component::cli::Args),
    /// Network functions as packages of scripts: push, instantiate, watch, operate
    Vnf(vnode_vnf::cli::Args),
    /// Be a container's init: start PROGRAM, reap what it leaves, pass signals on, end with its exit code
    Init {
        /// Run the agent beside it, and start it again when it ends
        #[arg(long)]
        serve: bool,
        /// The agent's configuration file, instead of /etc/vnode/agent.toml
        #[arg(long, short, value_name = "FILE", requires = "serve")]
        config: Option<PathBuf>,
        /// Run PROGRAM as this user, USER[:GROUP] by name or number
        #[arg(long, short, value_name = "USER")]
        user: Option<String>,
        /// The program and its arguments, after `--`; with `--serve` there may be none, and TERM is the end
        #[arg(last = true, required_unless_present = "serve", value_name = "PROGRAM")]
        program: Vec<OsString>,
    },
    /// Put a checked new version in the agent's place and restart it; `agentupdate` runs this apart from the agent
    #[command(name = agentupdate::FINISH, hide = true)]
    FinishUpdate {
        new: PathBuf,
        binary: PathBuf,
        /// The program that restarts the agent
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        restart: Vec<String>,
    },
    /// Keep a detached program's streams and its exit status; `exec` starts one for each
    #[command(name = native::KEEP, hide = true)]
    KeepExec { folder: PathBuf },
}

/// `vnode-agent run`. The short options are nova-agent's.
#[derive(Debug, Default, clap::Args)]
pub struct Run {
    /// The configuration file, instead of /etc/vnode/agent.toml
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Stay in the foreground, as `run` always does; a program started as `nova-agent` does not without it
    #[arg(long, short)]
    pub nofork: bool,

    /// Write the process id to this file, and remove it at the end
    #[arg(long, short, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,

    /// Write the log to this file, made with mode 0600; `-` is standard error
    #[arg(long, short = 'o', value_name = "FILE")]
    pub logfile: Option<PathBuf>,

    /// How much is logged: error, warn, info, debug, trace; Python's names are taken too
    #[arg(long, short, value_name = "LEVEL")]
    pub level: Option<String>,

    /// Print nothing at start and stop
    #[arg(long, short)]
    pub quiet: bool,

    /// The descriptor on which the parent waits to hear of the start
    #[arg(long, hide = true)]
    pub started: Option<i32>,

    /// nova-agent's Python configuration: not read
    #[arg(hide = true)]
    pub python: Vec<OsString>,
}
