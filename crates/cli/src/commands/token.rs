//! `vnode token`

use clap::Subcommand;
use hyper::Method;
use vnode_api::message::TokenName;
use vnode_api::token::{NewToken, Token};

use crate::client::segment;
use crate::output::table::Rows;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print its secret, once
    Create {
        /// What it is for
        name: String,
    },
    /// List tokens, without their secrets
    Ls,
    /// Forget a token
    Rm {
        /// Its name
        name: String,
    },
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    match args.command {
        Command::Create { name } => {
            let made: Option<NewToken> =
                client.call(Method::POST, "/v1/tokens", &TokenName { name }).await?;
            if let Some(made) = made {
                if context.output.json {
                    context.output.json(&made)?;
                } else {
                    context.output.line(&made.token)?;
                }
            }
        }
        Command::Ls => {
            let tokens: Vec<Token> = client.get("/v1/tokens").await?;
            if context.output.json {
                context.output.json(&tokens)?;
            } else {
                let mut rows = Rows::new(&["NAME", "CREATED", "SHA256"]);
                for token in tokens {
                    let seconds = i64::try_from(token.created).unwrap_or_default();
                    let created = jiff::Timestamp::from_second(seconds).unwrap_or_default();
                    let hash = token.sha256.chars().take(12).collect();
                    rows.add(vec![token.name, created.to_string(), hash]);
                }
                rows.print(&context.output)?;
            }
        }
        Command::Rm { name } => {
            client.done(Method::DELETE, &format!("/v1/tokens/{}", segment(&name))).await?;
            return super::done(&name, "rm", context);
        }
    }
    Ok(0)
}
