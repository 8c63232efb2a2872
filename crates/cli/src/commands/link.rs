//! `vnode link`

use clap::Subcommand;
use hyper::Method;
use vnode_lifecycle::request::LinkSet;
use vnode_lifecycle::view::{EndView, LinkView};

use crate::client::{query, segment};
use crate::output::table::Rows;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List links with what each end does to the frames it sends
    Ls {
        /// Only this lab
        lab: Option<String>,
    },
    /// Change impairments: `vnode link set r1:eth1 delay=10ms loss=0.1%`
    ///
    /// Keys are those of `impair` in a topology file: rate, delay, jitter, loss, duplicate, reorder,
    /// corrupt, queue. What is not named stays as it is.
    Set {
        /// `a:eth1--b:eth1`, a LAN's name, or one end `a:eth1`
        link: String,
        /// What to change
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = super::assignment)]
        set: Vec<(String, String)>,
        /// Only what this end sends, NODE or NODE:INTERFACE; both directions when absent
        #[arg(long, value_name = "END")]
        from: Option<String>,
    },
    /// Let nothing through until `up`
    Down {
        /// As for `set`
        link: String,
    },
    /// Let frames through again
    Up {
        /// As for `set`
        link: String,
    },
    /// Go back to what the topology file declares
    Reset {
        /// As for `set`
        link: String,
    },
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    let (method, path, body) = match args.command {
        Command::Ls { lab } => {
            let path = format!("/v1/links{}", query(&[("lab", lab)]));
            let links: Vec<LinkView> = client.get(&path).await?;
            return print(&links, context);
        }
        Command::Set { link, set, from } => {
            (Method::PATCH, format!("/v1/links/{}", segment(&link)), Some(LinkSet { set, from }))
        }
        Command::Down { link } => act(&link, "down"),
        Command::Up { link } => act(&link, "up"),
        Command::Reset { link } => act(&link, "reset"),
    };
    let link: Option<LinkView> = match body {
        Some(body) => client.call(method, &path, &body).await?,
        None => client.act(method, &path).await?,
    };
    match link {
        Some(link) if context.output.json => context.output.json(&link).map(|()| 0),
        Some(link) if !context.output.quiet => print(&[link], context),
        _ => Ok(0),
    }
}

fn act(link: &str, verb: &str) -> (Method, String, Option<LinkSet>) {
    (Method::POST, format!("/v1/links/{}/{verb}", segment(link)), None)
}

fn print(links: &[LinkView], context: &Context) -> Result {
    context.output.table(&links, || rows(links)).map(|()| 0)
}

fn rows(links: &[LinkView]) -> Rows {
    let mut rows = Rows::new(&["LAB", "LINK", "KIND", "STATE", "END", "ADDRESSES", "SENDS"]);
    for link in links {
        for end in &link.ends {
            rows.add(vec![
                link.lab.clone(),
                link.link.clone(),
                link.kind.clone(),
                if link.down || end.down { "down" } else { "up" }.into(),
                format!("{}:{}", end.node, end.interface),
                end.addresses.join(","),
                sends(end),
            ]);
        }
    }
    rows
}

/// What an end does to frames, in the words of a topology file.
fn sends(end: &EndView) -> String {
    let mut text = end.current.to_string();
    if let Some(inbound) = &end.inbound {
        let inbound = inbound.to_string();
        if !inbound.is_empty() {
            text = format!("{text}; receives {inbound}");
        }
    }
    if end.drift {
        text.push_str(" (the kernel has something else: `vnode link reset` mends it)");
    }
    text
}
