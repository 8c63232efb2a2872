//! How far an operation is: a bar on a terminal, a line now and then in a pipe, nothing with `--json`.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vnode_api::Code;
use vnode_api::message::Ended;
use vnode_operation::{OperationState, Summary};

use super::Output;

/// Shows one operation.
pub(crate) struct Progress {
    way: Way,
    output: Output,
    /// Tenth of the work last told in a pipe.
    told: Option<u64>,
}

enum Way {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    pub(crate) fn new(output: &Output) -> Self {
        let way = if output.json || output.quiet {
            Way::Nothing
        } else if output.error_terminal {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg:.40!}");
            // The template is a constant of this program; without it the bar looks plain.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            Way::Bar(bar)
        } else {
            Way::Lines
        };
        Self { way, output: *output, told: None }
    }

    pub(crate) fn show(&mut self, summary: &Summary) {
        match &self.way {
            Way::Bar(bar) => {
                bar.set_prefix(format!("{} {}", summary.kind, summary.subject));
                bar.set_length(summary.progress.total);
                bar.set_position(summary.progress.done);
                bar.set_message(summary.progress.text.clone());
            }
            Way::Lines => {
                let tenth = (summary.progress.done * 10).checked_div(summary.progress.total);
                if tenth != self.told && tenth.is_some_and(|tenth| tenth > 0) {
                    self.told = tenth;
                    let (done, total) = (summary.progress.done, summary.progress.total);
                    self.output
                        .note(&format!("{} {}: {done}/{total}", summary.kind, summary.subject));
                }
            }
            Way::Nothing => {}
        }
    }

    /// A line beside the progress.
    pub(crate) fn say(&self, text: &str) {
        match &self.way {
            Way::Bar(bar) => bar.println(text),
            Way::Lines | Way::Nothing => self.output.note(text),
        }
    }

    /// Takes the bar away and says how it ended.
    pub(crate) fn end(&mut self, ended: &Ended) {
        let summary = &ended.summary;
        if let Way::Bar(bar) = &self.way {
            bar.finish_and_clear();
        }
        if matches!(self.way, Way::Nothing) {
            return;
        }
        let state = serde_json::to_value(summary.state).unwrap_or_default();
        let state = match &ended.problem {
            // What is about one thing has failed, whatever the operation calls it.
            Some(problem) if summary.state == OperationState::Partly => match problem.code {
                Code::PartlyDone => "partly",
                _ => "failed",
            },
            _ => state.as_str().unwrap_or_default(),
        };
        let took = summary.ended.map(|ended| ended.duration_since(summary.started));
        let took = took.map(|took| format!(" in {:.2} s", took.as_secs_f64())).unwrap_or_default();
        let (kind, subject) = (&summary.kind, &summary.subject);
        self.output.note(&format!("{kind} {subject}: {state}{took}"));
    }
}
