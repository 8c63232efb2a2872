//! QEMU's agent in the guest, through libvirt: a stream of its lines, each sent as one request.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use vnode_guest::{Guest, Options, qga};

use crate::hub::Hub;
use crate::raw::code;
use crate::typed::VirError;

/// Seconds libvirt waits for an answer.
const PATIENCE: i32 = 30;
/// The longest request: what libvirt's protocol takes is 4 MiB.
const LONGEST: u64 = 4 << 20;

/// The agent of a domain; lives as long as it answers.
pub(crate) fn open(hub: &Arc<Hub>, node: &str, uuid: &str) -> Guest {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (from, to) = tokio::io::split(near);
    let (hub, node, uuid) = (Arc::clone(hub), node.to_owned(), uuid.to_owned());
    tokio::spawn(async move {
        if let Err(error) = serve(&hub, &node, &uuid, far).await {
            tracing::debug!(node, %error, "a guest's agent through libvirt");
        }
    });
    Guest::Qga(qga::Client::new(from, to, Options::default()))
}

/// Answers each line; ends with the client, or with the agent.
async fn serve(
    hub: &Arc<Hub>,
    node: &str,
    uuid: &str,
    stream: DuplexStream,
) -> std::io::Result<()> {
    let (from, mut to) = tokio::io::split(stream);
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        let mut bounded = tokio::io::AsyncReadExt::take(&mut from, LONGEST);
        if bounded.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let text =
            String::from_utf8_lossy(line.strip_prefix(&[0xff]).unwrap_or(&line)).into_owned();
        let Ok(request) = serde_json::from_str::<Value>(&text) else {
            answer(&mut to, b"", &json!({"error": {"class": "GenericError", "desc": "no JSON"}}))
                .await?;
            continue;
        };
        // libvirt brings agent and itself into step; here nothing can get out of it.
        match request["execute"].as_str() {
            Some("guest-sync") => {
                answer(&mut to, b"", &json!({"return": request["arguments"]["id"]})).await?;
                continue;
            }
            Some("guest-sync-delimited") => {
                answer(&mut to, &[0xff], &json!({"return": request["arguments"]["id"]})).await?;
                continue;
            }
            _ => {}
        }
        let command = request.to_string();
        let asked = ask(hub, uuid, command).await;
        let said = match asked {
            Ok(text) => serde_json::from_str(&text)?,
            Err(error)
                if error.code == code::AGENT_UNRESPONSIVE
                    || error.is_absent()
                    || error.is_unsupported()
                    || error.code == code::OPERATION_INVALID =>
            {
                tracing::debug!(node, %error, "no agent");
                return Err(std::io::Error::other(error));
            }
            Err(error) => json!({"error": {"class": class(&error), "desc": error.message}}),
        };
        answer(&mut to, b"", &said).await?;
    }
}

/// libvirt says in words what the agent said in its own: the class is in them.
fn class(error: &VirError) -> &'static str {
    if error.message.contains("has not been found") || error.message.contains("CommandNotFound") {
        "CommandNotFound"
    } else {
        "GenericError"
    }
}

async fn ask(hub: &Arc<Hub>, uuid: &str, command: String) -> Result<String, VirError> {
    let gone = |error: vnode_driver::Error| VirError {
        code: code::AGENT_UNRESPONSIVE,
        message: error.to_string(),
    };
    let connection = hub.connection().await.map_err(gone)?;
    let uuid = uuid.to_owned();
    crate::blocking(move || connection.by_uuid(&uuid)?.agent(&command, PATIENCE))
        .await
        .map_err(gone)?
}

async fn answer(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    before: &[u8],
    value: &Value,
) -> std::io::Result<()> {
    let mut line = before.to_vec();
    line.extend_from_slice(value.to_string().as_bytes());
    line.push(b'\n');
    to.write_all(&line).await
}

/// Whether an agent answers now.
pub(crate) async fn answers(hub: &Arc<Hub>, uuid: &str) -> Result<(), VirError> {
    ask(hub, uuid, json!({"execute": "guest-ping"}).to_string()).await.map(drop)
}
