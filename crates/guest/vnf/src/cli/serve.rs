//! `vnode-agent vnf serve`.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Write},
    net::SocketAddr,
    os::fd::{FromRawFd, OwnedFd},
    path::Path,
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use vnode_action::{Spec, Stream};

use super::args::Serve;
use crate::{
    client,
    core::Settings,
    error::{Failure, Result},
    legacy,
    manager::Manager,
    service,
    verbs::Request,
};

/// The descriptor on which a service started in the background tells that it serves.
const STARTED: i32 = 3;
/// How long an end waits for scripts that run.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(state: &Path, options: Serve) -> Result<u8> {
    if options.detach {
        return detach(state);
    }
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .try_init();
    if let Err(error) = log {
        // Whoever embeds us logs in its own way.
        tracing::debug!(%error, "the log was started before");
    }
    raise_descriptors();
    vnode_operation::fault::arm(&options.fault)
        .map_err(|error| Failure::internal("arm faults", &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_stack_size(512 << 10)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .map_err(|error| Failure::internal("start", &error))?;
    let served = runtime.block_on(serve(state, &options));
    runtime.shutdown_background();
    served.map(|()| 0)
}

async fn serve(state: &Path, options: &Serve) -> Result<()> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::internal("listen to signals", &error));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let settings = Settings {
        signatures: options.signatures,
        keys: options.keys.clone(),
        allow_root: !options.no_root,
        allow_downgrade: options.allow_downgrade,
        poll: options.poll,
        log_secrets: options.log_secrets,
        repair: options.repair,
        ..Settings::new(state)
    };
    // Before anything is taken over, which a refusal would let go of again.
    let mut old = None;
    if options.legacy {
        let address = options.legacy_listen;
        if !address.is_loopback() && !options.legacy_anywhere {
            return Err(Failure::invalid(format!(
                "{address} is beyond this machine, and the old protocol knows no user; --legacy-anywhere does it all \
                 the same"
            )));
        }
        let (requests, packages) = options.legacy_ports;
        let wanted = legacy::Options {
            requests: SocketAddr::new(address, requests),
            packages: SocketAddr::new(address, packages),
            process: options.legacy_process.clone(),
            root: options.legacy_root.clone().unwrap_or_else(|| state.join("files")),
        };
        old = Some(legacy::bind(wanted).await?);
    }
    let manager = Manager::open(settings).await?;
    let stop = CancellationToken::new();
    if let Some(old) = old {
        old.serve(&manager, &stop);
    }
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
    });
    let started = options.started;
    service::serve(&manager, stop, || {
        if let Some(number) = started {
            tell(number);
        }
        tracing::info!(state = %state.display(), "serving");
    })
    .await?;
    manager.close(PATIENCE).await
}

#[expect(unsafe_code, reason = "a descriptor is given to us by its number")]
fn tell(number: i32) {
    // SAFETY: our parent passed this descriptor for us alone; nothing else here knows the number.
    let mut pipe = File::from(unsafe { OwnedFd::from_raw_fd(number) });
    if let Err(error) = pipe.write_all(b"1") {
        tracing::warn!(%error, "nobody waits for the start");
    }
}

/// One descriptor for each process that is watched: as many as the hard limit allows.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(65_536, |hard| hard.min(65_536));
    if limit.current.is_some_and(|soft| soft < wanted)
        && let Err(error) =
            setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
    {
        tracing::debug!(%error, "few descriptors");
    }
}

/// Starts ourselves apart, with the same options, and waits until that serves.
fn detach(state: &Path) -> Result<u8> {
    if client::ask(state, &Request::Info, None, |_| true).is_ok() {
        return Ok(0);
    }
    let failed = |error: std::io::Error| Failure::internal("start the service", &error);
    let program = std::env::current_exe().map_err(failed)?;
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| failed(error.into()))?;
    std::fs::create_dir_all(state).map_err(failed)?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(state.join("service.log"))
        .map_err(failed)?;
    let arguments: Vec<OsString> =
        std::env::args_os().skip(1).filter(|word| word != "--detach").collect();
    let spec = Spec::new([program.into_os_string()])
        .envs(std::env::vars_os())
        .folder("/")
        .pass(STARTED, theirs)
        .stderr(Stream::Fd(log.into()));
    let spec = arguments.iter().fold(spec, Spec::arg).arg(format!("--started={STARTED}"));
    vnode_action::spawn_detached(spec)
        .map_err(|error| Failure::internal("start the service", &error))?;
    let mut told = [0];
    match File::from(ours).read(&mut told) {
        Ok(1) => Ok(0),
        _ => {
            let log = state.join("service.log");
            Err(Failure::refused(format!("the service did not start; see `{}`", log.display())))
        }
    }
}
