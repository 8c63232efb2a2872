//! The original's log: `time;LEVEL; vmcatcher_eventHndl_ON; function -- message`.

use std::{fmt, fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::Path, sync::Mutex};

use jiff::Zoned;
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Longest file of Python's logging, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Begins the log, in a file or on the error output.
pub(super) fn begin(
    output: Option<&Path>,
    settings: Option<&Path>,
    quiet: bool,
) -> Result<(), String> {
    let mut level = if quiet { LevelFilter::ERROR } else { LevelFilter::DEBUG };
    if let Some(path) = settings {
        let text = crate::files::text(path, MAX_BYTES)
            .map_err(|error| format!("logging settings {} not found: {error}", path.display()))?;
        if let Some(chosen) = root_level(&text) {
            level = chosen;
        }
    }
    // Only what this program says: a library's debugging may show what it sends.
    let filter = tracing_subscriber::EnvFilter::new(format!("off,vnode={level}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).event_format(Line);
    let begun =
        match output {
            Some(path) => {
                let file =
                    OpenOptions::new().create(true).append(true).mode(0o640).open(path).map_err(
                        |error| format!("cannot open the log {}: {error}", path.display()),
                    )?;
                builder.with_writer(Mutex::new(file)).try_init()
            }
            None => builder.with_writer(std::io::stderr).try_init(),
        };
    begun.map_err(|error| format!("no log: {error}"))
}

/// The level of Python's `[logger_root]`.
fn root_level(text: &str) -> Option<LevelFilter> {
    let mut in_root = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_root = line == "[logger_root]";
        } else if in_root
            && let Some((key, value)) = line.split_once(['=', ':'])
            && key.trim().eq_ignore_ascii_case("level")
        {
            return match value.trim() {
                "DEBUG" | "NOTSET" => Some(LevelFilter::DEBUG),
                "INFO" => Some(LevelFilter::INFO),
                "WARNING" | "WARN" => Some(LevelFilter::WARN),
                "ERROR" | "CRITICAL" | "FATAL" => Some(LevelFilter::ERROR),
                _ => None,
            };
        }
    }
    None
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        let level = match *meta.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        let time = Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f").to_string();
        let function = meta.target().rsplit("::").next().unwrap_or_default();
        let mut text = Text::default();
        event.record(&mut text);
        // One line for one message: what a server says must not begin a line of its own.
        let text = format!("{}{}", text.message, text.fields).replace(['\n', '\r'], " ");
        writeln!(writer, "{time};{level}; {}; {function} -- {text}", super::NAME)
    }
}

/// The message, then the fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.push_str(&format!(" {}={value:?}", field.name()));
        }
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.fields.push_str(&format!(" {}={value}", field.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h04_the_level_of_pythons_root_logger_is_heeded() {
        let text = "[loggers]\nkeys=root\n[logger_a]\nlevel=ERROR\n[logger_root]\nlevel=WARNING\n";
        assert_eq!(root_level(text), Some(LevelFilter::WARN));
        assert_eq!(root_level("[logger_a]\nlevel=ERROR\n"), None);
    }
}
