//! What clients have asked for, told as events.

use serde::Deserialize;
use serde_json::json;

use super::{Ended, failed, read};
use crate::audit::{Audit, Options};

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Request {
    /// The number of the last one that is known.
    after: u64,
    /// Goes on until it is cancelled.
    follow: bool,
}

streamed!(
    Events,
    "events",
    "Tells the last events of the agent, and those to come.",
    |context, value, io| {
        let mut request: Request = read(if value.is_null() { json!({}) } else { value })?;
        // Wrong settings are told of here: nobody else could.
        let _options: Options = context.options("events")?;
        let audit = context.state::<Audit>();
        loop {
            let (events, last) = audit.after(request.after);
            for event in &events {
                io.outbox.progress(event).await.map_err(|error| failed("answer", error))?;
            }
            // The agent may have started anew, and counts from 1.
            request.after = last;
            if !request.follow {
                return Ok(Ended::Response(json!({ "last": last })));
            }
            audit.beyond(last).await;
        }
    }
);
