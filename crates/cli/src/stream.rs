//! Bodies without a known end: logs, captures, archives.

use futures_util::StreamExt;
use http_body_util::BodyStream;
use hyper::body::{Bytes, Incoming};
use tokio::io::AsyncWriteExt;
use vnode_api::{Code, Problem};

use crate::operation::Stop;
use crate::output::written;
use crate::{Context, Result};

/// Longest line cut at no line end.
const MAX_LINE: usize = 64 * 1024;

/// Copies a body to standard output, each piece as it comes. Ctrl-C is its regular end.
pub(crate) async fn to_stdout(body: Incoming) -> Result<()> {
    let mut out = tokio::io::stdout();
    pieces(body, async |piece| {
        written(out.write_all(&piece).await)?;
        written(out.flush().await)
    })
    .await
}

/// Prints a body as JSON lines, one for each line of it. Bytes that are no UTF-8 are replaced.
pub(crate) async fn json_lines(body: Incoming, context: &Context) -> Result<()> {
    let mut rest = Vec::new();
    pieces(body, async |piece| {
        rest.extend_from_slice(&piece);
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            line(&rest[..end], context)?;
            rest.drain(..=end);
        }
        if rest.len() > MAX_LINE {
            line(&rest, context)?;
            rest.clear();
        }
        Ok(())
    })
    .await?;
    if rest.is_empty() { Ok(()) } else { line(&rest, context) }
}

fn line(bytes: &[u8], context: &Context) -> Result<()> {
    context.output.json_line(&serde_json::json!({ "line": String::from_utf8_lossy(bytes) }))
}

async fn pieces(body: Incoming, mut take: impl AsyncFnMut(Bytes) -> Result<()>) -> Result<()> {
    let mut stop = Stop::new()?;
    let mut body = BodyStream::new(body);
    loop {
        let frame = tokio::select! {
            frame = body.next() => frame,
            () = stop.asked() => return Ok(()),
        };
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|error| {
            Problem::from_error(Code::Unavailable, &error).in_front("the daemon broke off")
        })?;
        if let Ok(piece) = frame.into_data() {
            take(piece).await?;
        }
    }
}
