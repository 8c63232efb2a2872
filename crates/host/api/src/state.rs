//! What every handler shares.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use vnode_event::{Ended, Filter};
use vnode_idle::Busy;
use vnode_lifecycle::Host;
use vnode_nfv::Nfv;

use crate::error::{Code, Problem};
use crate::functions::Agents;
use crate::metrics::Metrics;
use crate::token::Tokens;

/// Streams (exec, console, events, capture, logs) at once; a further one is refused with `unavailable`.
pub(crate) const MAX_STREAMS: usize = 2048;

/// One daemon's API: handed to every handler.
#[derive(Debug, Clone)]
pub struct Api {
    pub(crate) host: Arc<Host>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) busy: Arc<Busy>,
    pub(crate) stop: CancellationToken,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) started: Instant,
    pub(crate) state_dir: PathBuf,
    pub(crate) functions: Nfv,
}

impl Api {
    /// Goes on with what a crash cut off of network functions. Must be called in a tokio runtime. `stop` ends streams when the daemon stops, and is what `POST /v1/stop` cancels.
    ///
    /// # Errors
    /// What is remembered of network functions cannot be read.
    pub async fn new(
        host: Arc<Host>,
        tokens: Arc<Tokens>,
        stop: CancellationToken,
        state_dir: PathBuf,
    ) -> Result<Self, Problem> {
        let options = vnode_nfv::Options::new(state_dir.join("nfv"));
        let agents = Arc::new(Agents(Arc::clone(&host)));
        let functions = Nfv::open(host.store(), agents, options)
            .await
            .map_err(|problem| Problem::new(Code::Failed, problem.detail))?;
        let metrics = Arc::new(Metrics::new());
        let busy = Arc::new(Busy::default());
        tokio::spawn(observe(
            Arc::clone(&host),
            Arc::clone(&metrics),
            Arc::clone(&busy),
            stop.clone(),
        ));
        Ok(Self {
            host,
            tokens,
            metrics,
            busy,
            stop,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            started: Instant::now(),
            state_dir,
            functions,
        })
    }

    /// What requests and operations do here, for [`vnode_idle::settle`].
    pub fn busy(&self) -> Arc<Busy> {
        Arc::clone(&self.busy)
    }
}

/// Counts operations as they end, told by the event stream. Each of their events is a sign of work.
async fn observe(host: Arc<Host>, metrics: Arc<Metrics>, busy: Arc<Busy>, stop: CancellationToken) {
    let filter = Filter { kind_prefix: "operation.".into(), ..Filter::default() };
    let mut events = host.events().subscribe_to(None, filter.clone());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stop.cancelled() => return,
        };
        match event {
            Ok(event) => {
                let _work = busy.enter();
                // Events of begun operations and of steps are passed over without a look at the engine.
                if matches!(event.kind.as_str(), "operation.started" | "operation.step-failed") {
                    continue;
                }
                let Some(id) = event.operation.as_deref().and_then(|id| id.parse().ok()) else {
                    continue;
                };
                // One that is forgotten already is not counted; nothing hangs on the number.
                if let Ok(status) = host.operations().status(id).await {
                    metrics.ended(&status.summary);
                }
            }
            Err(Ended::Lagged { after }) => {
                events = host.events().subscribe_to(Some(after), filter.clone());
            }
            Err(error) => return tracing::debug!(%error, "operations are counted no more"),
        }
    }
}
