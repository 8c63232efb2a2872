//! `vnode capture`: `vnode capture r1:eth1 | wireshark -k -i -`

use hyper::Method;
use vnode_api::{Code, Problem};

use super::node_path;
use crate::client::{empty, query};
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE:INTERFACE or LAB/NODE:INTERFACE
    #[arg(value_name = "NODE:INTERFACE")]
    end: String,
    /// Bytes kept of each frame
    #[arg(long, short, value_name = "BYTES")]
    snap_length: Option<u32>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let Some((node, interface)) = args.end.split_once(':') else {
        return Err(Problem::new(Code::Usage, format!("`{}` is no NODE:INTERFACE", args.end))
            .hint("e.g. `vnode capture r1:eth1 | wireshark -k -i -`"));
    };
    if context.output.terminal {
        return Err(Problem::new(Code::Usage, "pcap is no text for a terminal")
            .hint(format!("`vnode capture {} | wireshark -k -i -`, or `> file.pcap`", args.end)));
    }
    let mut client = context.client().await?;
    let query = query(&[
        ("interface", Some(interface.to_owned())),
        ("snap_length", args.snap_length.map(|length| length.to_string())),
    ]);
    let path = node_path(node, &format!("/capture{query}"));
    let response = client.send(Method::GET, &path, None, empty()).await?;
    crate::stream::to_stdout(response.into_body()).await?;
    Ok(0)
}
