//! Who may sign lists.

use clap::Subcommand;
use hyper::Method;
use serde_json::Value;
use vnode_api::message::EndorserNew;
use vnode_api::{Code, Problem};

use super::print::text;
use crate::client::{Client, segment};
use crate::output::table::Rows;
use crate::{Context, Result};

#[derive(Debug, Subcommand)]
pub(crate) enum Endorser {
    /// List endorsers
    Ls,
    /// Make an endorser
    Add {
        /// Any name
        id: String,
        /// Subject of a certificate, as `openssl x509 -nameopt compat` writes it; may be repeated
        #[arg(long, required = true, value_name = "DN")]
        subject: Vec<String>,
        /// Issuer; once for all subjects, or once for each
        #[arg(long, required = true, value_name = "DN")]
        issuer: Vec<String>,
    },
    /// Remove an endorser and its links
    Rm {
        /// Its name
        id: String,
    },
    /// Let an endorser sign a list
    Link {
        /// Name of the endorser
        id: String,
        /// Identifier of the list
        list: String,
    },
    /// No longer let an endorser sign a list
    Unlink {
        /// Name of the endorser
        id: String,
        /// Identifier of the list
        list: String,
    },
}

pub(super) async fn run(command: Endorser, mut client: Client, context: &Context) -> Result {
    let path = |id: &str, list: &str| {
        format!("/v1/list-endorsers/{}/lists/{}", segment(id), segment(list))
    };
    match command {
        Endorser::Ls => {
            let all: Value = client.get("/v1/list-endorsers").await?;
            let table = || {
                let mut rows = Rows::new(&["ENDORSER", "SUBJECT", "ISSUER"]);
                for endorser in all.as_array().into_iter().flatten() {
                    for principal in endorser["principals"].as_array().into_iter().flatten() {
                        rows.add(vec![
                            text(&endorser["id"]),
                            text(&principal["subject"]),
                            text(&principal["issuer"]),
                        ]);
                    }
                }
                rows
            };
            context.output.table(&all, table).map(|()| 0)
        }
        Endorser::Add { id, subject, issuer } => {
            let principals = pairs(&subject, &issuer)?;
            let request = EndorserNew { id: id.clone(), principals };
            let _: Option<Value> =
                client.call(Method::POST, "/v1/list-endorsers", &request).await?;
            crate::commands::done(&id, "add", context)
        }
        Endorser::Rm { id } => {
            client.done(Method::DELETE, &format!("/v1/list-endorsers/{}", segment(&id))).await?;
            crate::commands::done(&id, "rm", context)
        }
        Endorser::Link { id, list } => {
            client.done(Method::PUT, &path(&id, &list)).await?;
            crate::commands::done(&id, "link", context)
        }
        Endorser::Unlink { id, list } => {
            client.done(Method::DELETE, &path(&id, &list)).await?;
            crate::commands::done(&id, "unlink", context)
        }
    }
}

/// Subjects with their issuers: one issuer serves all subjects.
pub(crate) fn pairs(subjects: &[String], issuers: &[String]) -> Result<Vec<(String, String)>> {
    match issuers {
        [issuer] => Ok(subjects.iter().map(|s| (s.clone(), issuer.clone())).collect()),
        issuers if issuers.len() == subjects.len() => {
            Ok(subjects.iter().cloned().zip(issuers.iter().cloned()).collect())
        }
        _ => Err(Problem::new(Code::Usage, "give one issuer, or one for each subject")),
    }
}
