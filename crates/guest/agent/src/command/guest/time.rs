//! guest-get-time, guest-set-time, guest-get-timezone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use jiff::{Timestamp, tz::TimeZone};
use rustix::time::{ClockId, Timespec};
use serde_json::{Value, json};
use vnode_action::Spec;

use super::{Args, CommandError, Guest, reason};
use crate::context::Context;

/// How long the hardware clock may take.
const RTC_LIMIT: Duration = Duration::from_secs(20);

pub(super) fn commands() -> Vec<Guest> {
    vec![
        Guest::now("guest-get-time", get),
        Guest::later("guest-set-time", set),
        Guest::now("guest-get-timezone", timezone),
    ]
}

fn nanoseconds(time: SystemTime) -> Result<i64, CommandError> {
    let since = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()),
        Err(before) => i64::try_from(before.duration().as_nanos()).map(|nanos| -nanos),
    };
    since.map_err(|_| CommandError::failed("Failed to get time: it does not fit"))
}

fn get(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    Ok(nanoseconds(context.now())?.into())
}

/// Sets the system's clock and with it the hardware's; without a time, the system's from the hardware's.
fn set(context: &Context, mut args: Args) -> BoxFuture<'_, Result<Value, CommandError>> {
    Box::pin(async move {
        let time = args.opt_int("time")?;
        args.finish()?;
        if let Some(time) = time {
            if time < 0 {
                return Err(CommandError::invalid(format!("Invalid time {time}")));
            }
            let value = Timespec { tv_sec: time / 1_000_000_000, tv_nsec: time % 1_000_000_000 };
            rustix::time::clock_settime(ClockId::Realtime, value).map_err(|error| {
                CommandError::failed(format!(
                    "Failed to set time to guest: {}",
                    reason(&error.into())
                ))
            })?;
        }
        let (way, what) = match time {
            Some(_) => ("-w", "hardware clock to system time"),
            None => ("-s", "system time to hardware clock"),
        };
        let spec = Spec::new(["hwclock", way]).time_limit(RTC_LIMIT);
        match context.run(spec).await {
            Ok(output) if output.success() => Ok(json!({})),
            // The system's clock is set; a machine without a hardware clock keeps it as well as it can.
            Err(vnode_action::Error::NotFound { .. }) if time.is_some() => Ok(json!({})),
            Ok(_) => Err(CommandError::failed(format!("hwclock failed to set {what}"))),
            Err(error) => {
                Err(CommandError::failed(format!("hwclock failed to set {what}: {error}"))
                    .with_source(error))
            }
        }
    })
}

fn timezone(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let bytes = context.root().read_to_limit("etc/localtime", 1 << 20).ok();
    let zone =
        bytes.and_then(|bytes| TimeZone::tzif("local", &bytes).ok()).unwrap_or(TimeZone::UTC);
    let now = Timestamp::try_from(context.now())
        .map_err(|error| CommandError::failed("the clock is out of range").with_source(error))?;
    let info = zone.to_offset_info(now);
    Ok(json!({ "zone": info.abbreviation(), "offset": info.offset().seconds() }))
}
