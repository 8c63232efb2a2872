//! guest-set-user-password, by the system's own `chpasswd`, so that its rules and its hash are the system's; where there
//! is no such program, in the shadow file itself.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use vnode_action::{Spec, Stdin};
use zeroize::Zeroizing;

use super::{Args, CommandError, Guest, base64};
use crate::{
    command::openstack::password,
    context::{Context, Resource},
};

/// How long `chpasswd` may take.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::later("guest-set-user-password", set).changes(Resource::Accounts)]
}

fn set(context: &Context, mut args: Args) -> BoxFuture<'_, Result<Value, CommandError>> {
    Box::pin(async move {
        let user = args.text("username")?;
        let password = args.text("password")?;
        let crypted = args.boolean("crypted")?;
        args.finish()?;
        let password = base64::decode(&password)?;
        if user.contains(['\n', ':', '\0']) {
            return Err(CommandError::invalid("forbidden characters in username"));
        }
        if password.contains(&b'\n') || password.contains(&0) {
            return Err(CommandError::invalid("forbidden characters in raw password"));
        }
        let password = Zeroizing::new(password);
        let line = [user.as_bytes(), b":", &password, b"\n"].concat();
        let mut spec = Spec::new(["chpasswd"]).stdin(Stdin::Bytes(line)).time_limit(LIMIT);
        if crypted {
            spec = spec.arg("-e");
        }
        if !context.is_live() {
            spec = spec.arg("-R").arg(context.root_path());
        }
        match context.run(spec).await {
            Ok(output) if output.success() => Ok(json!({})),
            Err(vnode_action::Error::NotFound { .. }) => {
                let password = str::from_utf8(&password)
                    .map_err(|_| CommandError::invalid("forbidden characters in raw password"))?;
                // A hash with a separator would change other fields of the line.
                if crypted && password.contains(':') {
                    return Err(CommandError::invalid("forbidden characters in raw password"));
                }
                if crypted {
                    password::set_hash(context, &user, password).await?;
                } else {
                    password::in_file(context, &user, password).await?;
                }
                Ok(json!({}))
            }
            // What it printed is not told: it may repeat what it was given.
            Ok(_) | Err(_) => {
                Err(CommandError::failed("child process has failed to set user password"))
            }
        }
    })
}
