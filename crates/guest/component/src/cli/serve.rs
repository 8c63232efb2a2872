//! `component serve`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::{Error, Serve, args::Schema};
use crate::daemon::{self, Options, SchemaUse};

pub(super) async fn run(serve: Serve) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&serve.log)
        .map_err(|error| Error::Usage(format!("`--log {}` is no level: {error}", serve.log)))?;
    // That a line of the log cannot be written is no reason to fail a request.
    let log = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // The program may have a log of its own already, and then that is the one.
    let _ = log.with_ansi(io::stderr().is_terminal()).try_init();
    let mut options = Options::new(serve.bus.address, serve.instance_dir);
    options.yang = serve.yang.folders;
    options.components = serve.component_dir;
    options.reconnect = serve.reconnect;
    options.strict_compat = serve.strict_compat;
    options.schema = match serve.schema_service {
        Schema::Auto => SchemaUse::Auto,
        Schema::Always => SchemaUse::Always,
        Schema::Never => SchemaUse::Never,
    };
    if let Some(scripts) = serve.scripts {
        options.scripts = usize::from(scripts);
    }
    daemon::run(options).await.map_err(Error::Daemon)
}
