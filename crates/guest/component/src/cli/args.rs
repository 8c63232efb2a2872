//! The command line.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use crate::{bus, daemon};

/// Small management features as scripts on the bus
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub verb: Verb,
}

/// Which bus.
#[derive(Debug, Clone, clap::Args)]
pub struct BusArgs {
    /// Address of the bus
    #[arg(long = "bus", value_name = "ADDRESS", default_value = bus::DEFAULT_ADDRESS, env = "VNODE_COMPONENT_BUS")]
    pub address: String,
    /// Print results and errors as JSON
    #[arg(long)]
    pub json: bool,
}

/// Where YANG modules are.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct YangArgs {
    /// Folder of YANG modules; may be given more than once
    #[arg(
        long = "yang-dir",
        value_name = "DIR",
        env = "VNODE_COMPONENT_YANG",
        value_delimiter = ':'
    )]
    pub folders: Vec<PathBuf>,
}

/// Options of the daemon.
#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// Folder of the instance files
    #[arg(long, value_name = "DIR", default_value = daemon::DEFAULT_FOLDER)]
    pub instance_dir: PathBuf,
    /// Folder of the component files, which say what YANG modules a model has
    #[arg(long, value_name = "DIR", default_value = daemon::DEFAULT_COMPONENTS)]
    pub component_dir: PathBuf,
    #[command(flatten)]
    pub yang: YangArgs,
    /// Come back when the bus does, instead of ending
    #[arg(long)]
    pub reconnect: bool,
    /// Succeed and fail exactly as upstream: empty output fails, a failing Start does not, changed components stop
    #[arg(long)]
    pub strict_compat: bool,
    /// Have the schema service check the input of RPCs; `auto` does where no module is known here
    #[arg(long, value_enum, default_value = "auto")]
    pub schema_service: Schema,
    /// Scripts at one time, of all components [default: 4 for each processor, at least 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub scripts: Option<u16>,
    /// What is logged, on standard error: a level, or a filter of `tracing`
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "VNODE_LOG")]
    pub log: String,
    #[command(flatten)]
    pub bus: BusArgs,
}

/// When the schema service is asked.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Schema {
    /// When it is on the bus
    Auto,
    /// Always; RPCs fail without it, as upstream
    Always,
    Never,
}

/// A component, by upstream's option or simply named.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Name of the component
    #[arg(value_name = "COMPONENT", required_unless_present = "component")]
    pub name: Option<String>,
    /// Name of the component, as upstream's programs take it
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    pub component: Option<String>,
    #[command(flatten)]
    pub bus: BusArgs,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Serve every component of a folder until told to end
    Serve(Serve),
    /// Check definition files, or data against a model
    Check {
        /// Files ending in `.component` or `.instance`; or the name of one model
        #[arg(required = true, value_name = "FILE|MODEL")]
        target: Vec<String>,
        /// JSON for the model; standard input when missing or `-`
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
        #[command(flatten)]
        yang: YangArgs,
        #[command(flatten)]
        bus: BusArgs,
    },
    /// Write a component's unit, bus activation and bus policy files
    Install {
        /// The `.component` file
        file: PathBuf,
        /// Folder that stands for `/`
        #[arg(long, default_value = "/")]
        root: PathBuf,
        /// Name of the unit [default: that of the file]
        #[arg(long)]
        unit: Option<String>,
    },
    /// Remove what `install` wrote
    Remove {
        /// The `.component` file
        file: PathBuf,
        /// Folder that stands for `/`
        #[arg(long, default_value = "/")]
        root: PathBuf,
        /// Name of the unit [default: that of the file]
        #[arg(long)]
        unit: Option<String>,
    },
    /// Write a new component that works: definition, instance, YANG, script, test
    New {
        /// Small letters, digits and `-`
        name: String,
        /// Where its folder is made
        #[arg(long, default_value = ".")]
        folder: PathBuf,
    },
    /// Run a component's Start and claim its names
    Activate(Target),
    /// Run a component's Stop and give its names back
    Deactivate(Target),
    /// List the components the daemon knows
    Ls {
        #[command(flatten)]
        bus: BusArgs,
    },
    /// Show one component, as JSON
    Show {
        component: String,
        #[command(flatten)]
        bus: BusArgs,
    },
    /// Print a model's running configuration
    Get {
        model: String,
        #[command(flatten)]
        bus: BusArgs,
    },
    /// Apply a configuration to a model
    Set {
        model: String,
        /// JSON; standard input when missing or `-`
        data: Option<String>,
        #[command(flatten)]
        bus: BusArgs,
    },
    /// Print a model's operational state
    State {
        model: String,
        #[command(flatten)]
        bus: BusArgs,
    },
    /// Call an RPC
    Rpc {
        /// MODULE:NAME
        rpc: String,
        /// JSON; standard input when `-`, `{}` when missing
        data: Option<String>,
        /// The model that serves it [default: what the daemon says]
        #[arg(long)]
        model: Option<String>,
        /// JSON that says who asks
        #[arg(long, value_name = "JSON", default_value = "{}")]
        metadata: String,
        #[command(flatten)]
        bus: BusArgs,
    },
    /// Send a notification
    Emit {
        /// MODULE:NAME
        notification: String,
        /// JSON; standard input when missing or `-`
        data: Option<String>,
        /// Send it without asking the schema service or the modules of `--yang-dir`
        #[arg(long)]
        unchecked: bool,
        #[command(flatten)]
        yang: YangArgs,
        #[command(flatten)]
        bus: BusArgs,
    },
    /// Print notifications as they come
    Watch {
        /// Only those of this module
        module: Option<String>,
        /// End after so many
        #[arg(long)]
        count: Option<u64>,
        #[command(flatten)]
        bus: BusArgs,
    },
}
