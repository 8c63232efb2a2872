//! `component serve`.

use super::{Error, Serve, args::Schema};
use crate::daemon::{self, Options, SchemaUse};

pub(super) async fn run(serve: Serve) -> Result<(), Error> {
    let mut options = Options::new(serve.bus.address, serve.instance_dir);
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
