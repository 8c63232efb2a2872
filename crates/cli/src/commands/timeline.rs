//! `vnode timeline`

use clap::Subcommand;
use hyper::Method;
use vnode_lifecycle::view::TimelineView;

use crate::client::segment;
use crate::output::table::Rows;
use crate::{Context, Result, topology};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The lab whose timeline is meant.
#[derive(Debug, clap::Args)]
struct Of {
    /// Topology file, or the lab's name
    #[arg(value_name = "FILE|LAB")]
    lab: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a lab's `events`, which of them have happened, and the clock
    Show(Of),
    /// Stop the clock; what is due later waits for `resume`
    Pause(Of),
    /// Let the clock go on where it stood
    Resume(Of),
    /// End the timeline; what has not happened does not happen
    Stop(Of),
    /// Begin from the beginning; links stay as they are
    Start(Of),
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let (of, verb) = match args.command {
        Command::Show(of) => (of, None),
        Command::Pause(of) => (of, Some("pause")),
        Command::Resume(of) => (of, Some("resume")),
        Command::Stop(of) => (of, Some("stop")),
        Command::Start(of) => (of, Some("start")),
    };
    let path = format!("/v1/labs/{}/timeline", segment(&topology::lab_name(&of.lab)?));
    let mut client = context.client().await?;
    let view: Option<TimelineView> = match verb {
        None => Some(client.get(&path).await?),
        Some(verb) => client.act(Method::POST, &format!("{path}/{verb}")).await?,
    };
    match view {
        Some(view) if context.output.json => context.output.json(&view).map(|()| 0),
        Some(view) if verb.is_none() || !context.output.quiet => print(&view, context),
        _ => Ok(0),
    }
}

fn print(view: &TimelineView, context: &Context) -> Result {
    context.output.note(&format!("{}: {} at {}", view.lab, view.state, seconds(view.clock_us)));
    let mut rows = Rows::new(&["AT", "LINK", "END", "DO", "SET", "STATE"]);
    for event in &view.events {
        let set: Vec<String> =
            event.set.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let state = match (event.happened, view.state.as_str()) {
            (true, _) => "happened",
            (false, "stopped") => "dropped",
            (false, _) => "due",
        };
        rows.add(vec![
            seconds(event.at_us),
            event.link.clone(),
            event.end.clone().unwrap_or_default(),
            event.action.clone(),
            set.join(" "),
            state.into(),
        ]);
    }
    rows.print(&context.output)?;
    Ok(0)
}

/// Microseconds as seconds, without the zeros that say nothing.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_short() {
        assert_eq!(seconds(2_500_000), "2.5s");
        assert_eq!(seconds(0), "0s");
        assert_eq!(seconds(100_000_001), "100.000001s");
    }
}
