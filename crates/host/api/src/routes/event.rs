//! Events as server-sent events. A client that falls behind is let go, and comes back with the number of the
//! last event it saw.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::IntoParams;
use vnode_event::{Ended, Event, Filter};

use super::stream::room;
use crate::error::{Code, Problem};
use crate::extract::Params;
use crate::state::Api;

/// Messages that wait for a client before it counts as slow.
const BUFFER: usize = 256;
/// Time a slow client gets to take one.
const PATIENCE: Duration = Duration::from_secs(10);
/// A comment is sent after so much silence, so that both ends see a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which events, and from where.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventParams {
    /// Go on with what happens from now on; otherwise the stream ends with the last event.
    #[serde(default)]
    pub follow: bool,
    /// Only events above this number; 0 is from the oldest kept. Absent: with `follow` only new ones, else all.
    pub after: Option<u64>,
    /// Only those whose kind begins so, e.g. `node.`.
    #[serde(default)]
    pub kind: String,
    /// Only those whose subject begins so, e.g. `lab/first/`.
    #[serde(default)]
    pub subject: String,
}

/// What happened, oldest first; each message's `id` is its number. `Last-Event-ID` goes on from there.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventParams),
    responses((status = 200, description = "`text/event-stream`; data is one event as JSON", body = str)))]
pub(crate) async fn stream(
    State(api): State<Api>,
    headers: HeaderMap,
    Params(params): Params<EventParams>,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Problem> {
    let last = match headers.get("last-event-id") {
        Some(value) => {
            let number = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
            Some(number.ok_or_else(|| {
                Problem::new(Code::Usage, "`Last-Event-ID` is not the number of an event")
            })?)
        }
        None => None,
    };
    let permit = room(&api)?;
    let filter = Filter { subject_prefix: params.subject, kind_prefix: params.kind };
    let (sender, receiver) = mpsc::channel(BUFFER);
    let after = last.or(params.after);
    tokio::spawn(async move {
        let _permit = permit;
        let stop = api.stop.clone();
        let pumped = async {
            if params.follow {
                live(&api, after, filter, &sender).await;
            } else {
                kept(&api, after.unwrap_or(0), filter, &sender).await;
            }
        };
        tokio::select! {
            () = pumped => {}
            () = stop.cancelled() => {}
            () = sender.closed() => {}
        }
    });
    Ok(sse(receiver))
}

/// The messages of a channel as an answer that is kept alive.
pub(crate) fn sse(
    mut receiver: mpsc::Receiver<Message>,
) -> Sse<impl Stream<Item = Result<Message, Infallible>>> {
    let messages =
        futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|m| m.map(Ok)));
    Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// A message of this kind with these data.
pub(crate) fn told(kind: &str, value: &impl Serialize) -> Message {
    // Plain data with string keys: it has a JSON form.
    Message::default().event(kind).data(serde_json::to_string(value).unwrap_or_default())
}

/// Hands a message to the client; false when it is gone or too slow.
pub(crate) async fn hand(sender: &mpsc::Sender<Message>, message: Message) -> bool {
    match sender.send_timeout(message, PATIENCE).await {
        Ok(()) => true,
        Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
            tracing::debug!("a client that reads too slowly is let go");
            false
        }
        Err(mpsc::error::SendTimeoutError::Closed(_)) => false,
    }
}

async fn live(api: &Api, after: Option<u64>, filter: Filter, sender: &mpsc::Sender<Message>) {
    let mut events = api.host.events().subscribe_to(after, filter.clone());
    loop {
        match events.next().await {
            Ok(event) => {
                if !hand(sender, message(&event)).await {
                    return;
                }
            }
            // Events went by while the client took its time: they are in the store.
            Err(Ended::Lagged { after }) => {
                events = api.host.events().subscribe_to(Some(after), filter.clone());
            }
            Err(Ended::Closed) => return,
            Err(Ended::Read(error)) => return problem(&error, sender).await,
            Err(error) => return tracing::warn!(%error, "the event stream ended"),
        }
    }
}

async fn kept(api: &Api, mut after: u64, filter: Filter, sender: &mpsc::Sender<Message>) {
    loop {
        let page = match api.host.events().read(after, BUFFER, &filter).await {
            Ok(page) => page,
            Err(error) => return problem(&error, sender).await,
        };
        let Some(last) = page.last() else { return };
        after = last.seq;
        for event in &page {
            if !hand(sender, message(event)).await {
                return;
            }
        }
    }
}

async fn problem(error: &vnode_event::Error, sender: &mpsc::Sender<Message>) {
    let problem = Problem::from_error(Code::Failed, error);
    tracing::error!(error = %problem, "cannot read events");
    let json = serde_json::to_string(&problem).expect("a problem has a JSON form");
    hand(sender, Message::default().event("problem").data(json)).await;
}

fn message(event: &Event) -> Message {
    // An event came from JSON or goes into the store as JSON: it has that form.
    let json = serde_json::to_string(event).unwrap_or_default();
    Message::default().id(event.seq.to_string()).event("event").data(json)
}
