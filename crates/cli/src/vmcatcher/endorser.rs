//! `vmcatcher_endorser`

use clap::Parser;
use hyper::Method;
use serde_json::Value;
use vnode_api::Code;
use vnode_api::message::EndorserNew;

use super::{Common, Daemon, End, Result, line, one_of, text};
use crate::client::segment;
use crate::commands::image::pairs;

/// Who may sign image lists
#[derive(Debug, Parser)]
#[command(name = "vmcatcher_endorser", version)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Make an endorser
    #[arg(short = 'C', long)]
    create: bool,
    /// Remove an endorser
    #[arg(short = 'D', long)]
    delete: bool,
    /// Let an endorser sign a subscription's list
    #[arg(short = 'k', long)]
    link: bool,
    /// No longer let an endorser sign a subscription's list
    #[arg(short = 'u', long)]
    unlink: bool,
    /// List endorsers
    #[arg(short, long)]
    list: bool,
    /// List who may sign what
    #[arg(short = 'K', long)]
    links: bool,
    /// Show an endorser
    #[arg(short, long)]
    info: bool,
    /// Name of the endorser
    #[arg(short, long = "endorser_uuid", visible_alias = "endorser", value_name = "ID")]
    endorser: Vec<String>,
    /// Identifier of the subscription
    #[arg(short, long = "subscription_uuid", visible_alias = "subscription", value_name = "ID")]
    subscription: Vec<String>,
    /// Subject of a certificate; may be repeated
    #[arg(long, short = 'S', visible_alias = "subject", value_name = "SUBJECT")]
    dn: Vec<String>,
    /// Issuer; once for all subjects, or once for each
    #[arg(short = 'I', long, value_name = "ISSUER")]
    issuer: Vec<String>,
}

pub(crate) async fn run(args: Args, daemon: Daemon) -> Result {
    args.common.check()?;
    one_of(&[args.create, args.delete, args.link, args.unlink, args.list, args.links, args.info])?;
    let mut client = daemon.client().await?;
    if args.list || args.links || args.info {
        let endorsers: Value = client.get("/v1/list-endorsers").await?;
        if args.links {
            let lists: Value = client.get("/v1/lists").await?;
            for list in lists.as_array().into_iter().flatten() {
                for endorser in list["endorsers"].as_array().into_iter().flatten() {
                    line(&format!(
                        "'{}'\t'{}'\t'True'",
                        text(endorser),
                        text(&list["identifier"])
                    ))?;
                }
            }
            return Ok(0);
        }
        for endorser in endorsers.as_array().into_iter().flatten() {
            let id = text(&endorser["id"]);
            if args.info && !args.endorser.contains(&id) {
                continue;
            }
            if args.info {
                line(&format!("endorser.identifier={id}"))?;
            }
            for principal in endorser["principals"].as_array().into_iter().flatten() {
                let (subject, issuer) = (text(&principal["subject"]), text(&principal["issuer"]));
                if args.info {
                    line(&format!("endorser.dn={subject}\nendorser.ca={issuer}"))?;
                } else {
                    line(&format!("'{id}'\t'{subject}'\t'{issuer}'"))?;
                }
            }
        }
        return Ok(0);
    }
    let [id] = args.endorser.as_slice() else {
        return Err(End::usage("give one endorser with -e"));
    };
    if args.create {
        if args.dn.is_empty() {
            return Err(End {
                code: 12,
                text: "give subjects with --dn and issuers with -I".into(),
            });
        }
        let principals =
            pairs(&args.dn, &args.issuer).map_err(|p| End { code: 12, text: p.text })?;
        let request = EndorserNew { id: id.clone(), principals };
        let _: Option<Value> = client
            .call(Method::POST, "/v1/list-endorsers", &request)
            .await
            .map_err(|problem| match problem.code {
                Code::Usage => End { code: 12, text: problem.text },
                _ => End::from(problem),
            })?;
        return Ok(0);
    }
    if args.delete {
        let path = format!("/v1/list-endorsers/{}", segment(id));
        return match client.done(Method::DELETE, &path).await {
            Ok(()) => Ok(0),
            Err(problem) if problem.code == Code::NotFound => {
                args.common.say(&format!("there is no endorser `{id}`"));
                Ok(0)
            }
            Err(problem) => Err(problem.into()),
        };
    }
    if args.subscription.is_empty() {
        return Err(End::usage("give a subscription with -s"));
    }
    let method = if args.link { Method::PUT } else { Method::DELETE };
    for list in &args.subscription {
        let path = format!("/v1/list-endorsers/{}/lists/{}", segment(id), segment(list));
        client.done(method.clone(), &path).await?;
    }
    Ok(0)
}
