//! What operators of network functions ask for: is a process there, take a file away, do this with a function.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;
use tokio::task::spawn_blocking;
use vnode_vnf::{By, Failure, Request, client};

use super::{failed, file::open_failed, read};
use crate::command::{Class, CommandError};

/// Pieces of a longer answer, at most.
const ITEMS: usize = 2000;

fn refused(failure: Failure) -> CommandError {
    let class = match failure.status {
        400 => return CommandError::invalid(failure.detail),
        404 => Class::NotFound,
        401 | 403 => Class::Denied,
        _ => Class::Failed,
    };
    CommandError::new(class, failure.detail)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessRequest {
    name: String,
    #[serde(default)]
    by: By,
}

native!(Process, "process", "Whether processes of a name run.", |_context, value| {
    let request: ProcessRequest = read(value)?;
    let looked = spawn_blocking(move || vnode_vnf::process_status(&request.name, request.by)).await;
    looked.map_err(|error| failed("look at processes", error))?.map_err(refused)
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteRequest {
    path: String,
}

native!(
    FileDelete,
    "file-delete",
    "Takes a file away, or a folder in which nothing is.",
    |context, value| {
        let request: DeleteRequest = read(value)?;
        let place = context.place(&request.path)?;
        let removed = match place.folder.remove_file(&place.below) {
            Err(error) if error.raw_os_error() == Some(libc::EISDIR) => {
                place.folder.remove_dir(&place.below)
            }
            removed => removed,
        };
        removed.map_err(|error| open_failed("remove", &place.path, error))?;
        Ok(json!({}))
    }
);

/// `[command.vnf]`.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    state_dir: Option<PathBuf>,
}

native!(
    Vnf,
    "vnf",
    "Passes a request on to the service of network functions.",
    |context, value| {
        let options: Options = context.options("vnf")?;
        let state = options.state_dir.unwrap_or_else(|| PathBuf::from(vnode_vnf::STATE));
        let request: Request = read(value)?;
        if matches!(request, Request::Push { .. } | Request::Events { follow: true, .. }) {
            let what = "a package, or events without end, need `exec` of `vnode-agent vnf`";
            return Err(CommandError::unsupported(what));
        }
        let asked = spawn_blocking(move || {
            let mut items = Vec::new();
            let result = client::ask(&state, &request, None, |item| {
                items.push(item);
                items.len() < ITEMS
            });
            result.map(|result| json!({ "result": result, "items": items }))
        });
        match asked.await.map_err(|error| failed("ask the service", error))? {
            Ok(answer) => Ok(answer),
            Err(client::ClientError::Refused(failure)) => Err(refused(failure)),
            Err(error) => Err(failed("ask the service", error)),
        }
    }
);
