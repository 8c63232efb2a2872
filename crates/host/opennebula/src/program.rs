//! `vmcatcher_eventHndl_ON`: an event handler for vmcatcher, in the place of the original of this name.
//!
//! It reads its environment and nothing else; its options, its log and the first three of its exit codes are the
//! original's. 0: done, or nothing to do. 1: options or settings. 2: the file. 3: a variable is missing. 4: the cloud,
//! which is as it was; run it again.

mod log;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    client::{Client, Session},
    cloud::Cloud,
    event::{Event, Kind},
    publish::OpenNebula,
    settings::Settings,
};

/// The name it is called by: a link to `vnode`.
pub const NAME: &str = "vmcatcher_eventHndl_ON";
/// Settings that are read when there are any.
const SETTINGS: &str = "/etc/vnode/opennebula.toml";
/// What the server's own tools speak to when nobody says otherwise.
pub(crate) const ENDPOINT: &str = "http://localhost:2633/RPC2";
/// Longest file with a user and a password, bytes.
const MAX_SECRET: u64 = 64 << 10;

/// vmcatcher's event handler for OpenNebula.
#[derive(Debug, Parser)]
#[command(name = NAME, version, about, long_about = None)]
#[command(
    after_help = "The event is in the environment, as vmcatcher_cache sets it: vmcatcher_cache -x vmcatcher_eventHndl_ON\n\
Exit codes: 0 done, 1 options or settings, 2 the file, 3 a variable is missing, 4 the cloud (as it was; run it again)"
)]
struct Arguments {
    /// File the log goes to, instead of the error output [env: VMCHNDL_ON_LOG_FILE]
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Python logging file: its root level is heeded [env: VMCHNDL_ON_LOG_CONF]
    #[arg(short = 'l', long = "logcfg", value_name = "FILE")]
    log_settings: Option<PathBuf>,
    /// Log errors only
    #[arg(short, long)]
    quiet: bool,
    /// Accepted and ignored, as by the original
    #[arg(short = 'g', value_name = "N")]
    ignored: Option<String>,
    /// Settings, TOML; /etc/vnode/opennebula.toml when it is there [env: VMCHNDL_ON_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What the program may use of its environment.
#[derive(Debug)]
struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(own, _)| own == name)?;
        value.to_str().filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let (_, value) = self.0.iter().find(|(own, _)| own == name)?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }

    /// For programs that are asked: names and values that are text.
    fn to_pass(&self) -> Vec<(String, String)> {
        let text = |(name, value): &(OsString, OsString)| {
            Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
        };
        self.0.iter().filter_map(text).collect()
    }
}

/// Whether a program called `argv0` is this one.
fn is_called(argv0: &OsString) -> bool {
    Path::new(argv0).file_name().is_some_and(|name| name == NAME)
}

/// Runs as the event handler when this process is called by its name; gives its exit code then. For `main`.
pub fn dispatch(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Option<u8> {
    let mut arguments = arguments.into_iter().peekable();
    arguments.peek().is_some_and(is_called).then(|| main(arguments, environment))
}

/// The program: its arguments, the name first, its environment, its exit code. Called once, by `main`.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is there to be told when the output is closed.
            drop(error.print());
            return u8::from(error.use_stderr());
        }
    };
    let environment = Environment(environment.into_iter().collect());
    match run(&arguments, &environment) {
        Ok(code) => code,
        Err(text) => {
            tracing::error!("{text}");
            // Where there is no log yet.
            if !tracing::event_enabled!(tracing::Level::ERROR) {
                eprintln!("{NAME}: {text}");
            }
            1
        }
    }
}

fn run(arguments: &Arguments, environment: &Environment) -> Result<u8, String> {
    let log_settings =
        arguments.log_settings.clone().or_else(|| environment.path("VMCHNDL_ON_LOG_CONF"));
    let output = arguments.output.clone().or_else(|| environment.path("VMCHNDL_ON_LOG_FILE"));
    log::begin(output.as_deref(), log_settings.as_deref(), arguments.quiet)?;
    let event = Event::new(environment.0.iter().cloned());
    let Some(kind) = event.type_name() else {
        tracing::warn!("VMCATCHER_EVENT_TYPE is not set: nothing to do");
        return Ok(0);
    };
    tracing::debug!("event {kind}: {}", event.shown());
    let settings = settings(arguments, environment)?;
    if event.kind() == Kind::Other && !is_unfinished(&event, &settings) {
        tracing::debug!("{kind} is of no concern here");
        return Ok(0);
    }
    // What the event itself lacks is told before a server is asked for.
    if event.kind() != Kind::Other
        && let Err(error) = event.identifier().and_then(|_| event.cache_folder())
    {
        tracing::error!("{error}");
        return Ok(3);
    }
    let cloud = cloud(&settings, environment)?;
    let site = OpenNebula::new(cloud, settings, environment.to_pass());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    Ok(runtime.block_on(follow(&site, &event)))
}

async fn follow(site: &OpenNebula, event: &Event) -> u8 {
    let cancellation = CancellationToken::new();
    let ending = cancellation.clone();
    // Whoever runs us ends us by TERM when it takes too long: what was begun is undone then.
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return tracing::warn!("signals cannot be waited for");
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("told to end: undoing what was begun");
        ending.cancel();
    });
    match site.follow(event, &cancellation).await {
        Ok(done) => {
            tracing::info!("{done:?}");
            0
        }
        Err(error) => {
            tracing::error!("{}", vnode_protocol::chain(&error));
            error.exit_code()
        }
    }
}

/// Whether an earlier run left something to be undone.
fn is_unfinished(event: &Event, settings: &Settings) -> bool {
    let cache = event.cache_folder().ok().map(|cache| cache.join("templates"));
    let work = settings.work.clone().or(cache);
    let entries = work.and_then(|work| std::fs::read_dir(work.join(".journal")).ok());
    entries.is_some_and(|mut entries| entries.next().is_some())
}

fn settings(arguments: &Arguments, environment: &Environment) -> Result<Settings, String> {
    let chosen = arguments.config.clone().or_else(|| environment.path("VMCHNDL_ON_CONFIG"));
    let path = match chosen {
        Some(path) => path,
        None if Path::new(SETTINGS).exists() => PathBuf::from(SETTINGS),
        None => return Ok(Settings::default()),
    };
    Settings::read(&path).map_err(|error| vnode_protocol::chain(&error))
}

/// The server and the session, as the server's own tools find them: `ONE_XMLRPC` and `ONE_AUTH`, `~/.one`.
fn cloud(settings: &Settings, environment: &Environment) -> Result<Cloud, String> {
    let home = environment.path("HOME");
    let endpoint_file = home.as_ref().map(|home| home.join(".one/one_endpoint"));
    let endpoint = settings
        .endpoint
        .clone()
        .or_else(|| environment.text("ONE_XMLRPC"))
        .or_else(|| first_line(&endpoint_file?).ok().filter(|line| !line.is_empty()))
        .unwrap_or_else(|| ENDPOINT.to_owned());
    let auth = settings
        .auth_file
        .clone()
        .or_else(|| environment.path("ONE_AUTH"))
        .or_else(|| home.map(|home| home.join(".one/one_auth")))
        .ok_or("neither ONE_AUTH nor HOME is set: where is the file with `user:password`?")?;
    open(&endpoint, &auth, settings)
}

/// A cloud at `endpoint`, with the session in the file `auth`.
///
/// # Errors
/// A sentence, when the file cannot be read or the address is none.
pub fn open(endpoint: &str, auth: &Path, settings: &Settings) -> Result<Cloud, String> {
    let session = Zeroizing::new(
        first_line(auth).map_err(|error| format!("cannot read {}: {error}", auth.display()))?,
    );
    if !session.contains(':') {
        return Err(format!("{} does not hold `user:password`", auth.display()));
    }
    let limit = Duration::from_secs(settings.call_limit);
    let client = Client::new(endpoint.trim(), Session::new(session.as_str()), limit)
        .map_err(|error| vnode_protocol::chain(&error))?;
    Ok(Cloud::new(client))
}

fn first_line(path: &Path) -> std::io::Result<String> {
    let text = Zeroizing::new(crate::files::text(path, MAX_SECRET)?);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_called_by_its_name_wherever_the_link_is() {
        for (name, is) in [
            ("vmcatcher_eventHndl_ON", true),
            ("/usr/local/bin/vmcatcher_eventHndl_ON", true),
            ("vnode", false),
            ("vmcatcher_cache", false),
            ("", false),
        ] {
            assert_eq!(is_called(&name.into()), is, "{name}");
        }
        assert_eq!(dispatch(["vnode".into()], []), None);
        assert_eq!(dispatch([], []), None);
        assert_eq!(dispatch([NAME.into(), "--version".into()], []), Some(0));
    }
}
