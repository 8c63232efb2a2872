//! `vnode events`

use vnode_api::{Code, Problem};
use vnode_event::Event;

use crate::client::query;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on with what happens from now on
    #[arg(long, short)]
    follow: bool,
    /// Only events with a number above this
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// Only those of this lab
    #[arg(long)]
    lab: Option<String>,
    /// Only those whose kind begins so, e.g. `node.`
    #[arg(long, default_value = "")]
    kind: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    let path = format!(
        "/v1/events{}",
        query(&[
            ("follow", Some(args.follow.to_string())),
            ("after", args.after.map(|after| after.to_string())),
            ("kind", (!args.kind.is_empty()).then_some(args.kind)),
            ("subject", args.lab.map(|lab| format!("lab/{lab}"))),
        ])
    );
    let mut messages = client.events(&path).await?;
    while let Some(message) = messages.next().await? {
        let unreadable = |error: serde_json::Error| {
            Problem::from_error(Code::Failed, &error).in_front("cannot read the daemon's message")
        };
        match message.event.as_str() {
            "event" if context.output.json => context.output.line(&message.data)?,
            "event" => {
                let event: Event = serde_json::from_str(&message.data).map_err(unreadable)?;
                context.output.line(&line(&event))?;
            }
            "problem" => return Err(serde_json::from_str(&message.data).map_err(unreadable)?),
            _ => {}
        }
    }
    Ok(0)
}

/// Time, kind, subject, then what else is known.
fn line(event: &Event) -> String {
    let mut text = format!("{:.3} {} {}", event.time, event.kind, event.subject);
    match &event.data {
        serde_json::Value::Null => {}
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    serde_json::Value::Null => {}
                    serde_json::Value::String(value) => text.push_str(&format!(" {key}={value:?}")),
                    value => text.push_str(&format!(" {key}={value}")),
                }
            }
        }
        other => text.push_str(&format!(" {other}")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_its_data_holds() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "seq": 1, "time": "2026-11-21T12:00:00Z", "kind": "node.exited",
            "subject": "lab/l/node/a", "data": {"code": 1, "text": "a\nb", "none": null},
        }))
        .unwrap();
        assert_eq!(
            line(&event),
            "2026-11-21T12:00:00.000Z node.exited lab/l/node/a code=1 text=\"a\\nb\""
        );
    }
}
