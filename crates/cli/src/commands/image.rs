//! `vnode image`

mod build;
mod lists;

use std::path::PathBuf;

pub(crate) use lists::{pairs, worked};

use clap::Subcommand;
use hyper::Method;
use vnode_api::message::{Accepted, Import, Pull, Removed};
use vnode_api::{Code, Problem};

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
    /// List images, with the nodes that use each
    Ls,
    /// Bring an image in from a registry
    Pull {
        /// e.g. `debian:12`, `quay.io/frrouting/frr:10.2.1`
        image: String,
    },
    /// Bring an archive of this host in: a tarball, an OCI layout, a `docker save` archive
    Import {
        /// File or folder
        path: PathBuf,
        /// Name it is known by from now on; the file's own when absent
        #[arg(long, short)]
        name: Option<String>,
    },
    /// Remove an image that no node uses
    Rm {
        /// Reference or digest
        #[arg(required = true)]
        image: Vec<String>,
    },
    /// Remove images that no node uses
    Gc {
        /// Only those unused for so many days
        #[arg(long, value_name = "DAYS", default_value_t = 0)]
        unused: u32,
    },
    /// Build a small virtual machine from Debian's packages: kernel, busybox, our agent
    Build(build::Build),
    #[command(flatten)]
    Lists(lists::Command),
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    if let Command::Build(args) = args.command {
        return build::run(args, context).await;
    }
    let mut client = context.client().await?;
    let accepted: Option<Accepted> = match args.command {
        Command::Ls => {
            let images: serde_json::Value = client.get("/v1/images").await?;
            return list(&images, context);
        }
        Command::Pull { image } => {
            client.call(Method::POST, "/v1/images/pull", &Pull { image }).await?
        }
        Command::Import { path, name } => {
            let import = import(&path, name)?;
            client.call(Method::POST, "/v1/images/import", &import).await?
        }
        Command::Rm { image } => {
            for image in &image {
                client.done(Method::DELETE, &format!("/v1/images/{}", segment(image))).await?;
            }
            return super::done(&image.join(" "), "rm", context);
        }
        // It came before there was a client.
        Command::Build(_) => None,
        Command::Lists(command) => return lists::run(command, client, context).await,
        Command::Gc { unused } => {
            let unused = u64::from(unused) * 86_400;
            let path = format!("/v1/images/gc{}", query(&[("unused_s", Some(unused.to_string()))]));
            let removed: Option<Removed> = client.act(Method::POST, &path).await?;
            return removed.map_or(Ok(0), |removed| print_removed(&removed, context));
        }
    };
    match accepted {
        Some(accepted) => super::follow(client, &accepted, context).await,
        None => super::nothing("unchanged", context),
    }
}

fn import(path: &std::path::Path, name: Option<String>) -> Result<Import> {
    let absolute = path.canonicalize().map_err(|error| {
        Problem::from_error(Code::Usage, &error)
            .in_front(format!("cannot import `{}`", path.display()))
    })?;
    let name = match name {
        Some(name) => name,
        None => {
            let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            name.split(".tar").next().unwrap_or_default().to_owned()
        }
    };
    let Some(path) = absolute.to_str() else {
        let text = format!("cannot import `{}`: its path is not UTF-8", path.display());
        return Err(Problem::new(Code::Usage, text));
    };
    Ok(Import { path: path.to_owned(), name })
}

fn print_removed(removed: &Removed, context: &Context) -> Result {
    if context.output.json {
        context.output.json(removed)?;
        return Ok(0);
    }
    for image in &removed.removed {
        context.output.line(image)?;
    }
    Ok(0)
}

/// One image, as far as the table shows it.
#[derive(Debug, serde::Deserialize)]
struct Image {
    id: String,
    /// Names that lead to it.
    #[serde(default)]
    references: Vec<String>,
    size_bytes: u64,
    #[serde(default)]
    nodes: Vec<String>,
}

fn list(images: &serde_json::Value, context: &Context) -> Result {
    if context.output.json {
        context.output.json(images)?;
        return Ok(0);
    }
    let images: Vec<Image> = serde::Deserialize::deserialize(images).map_err(|error| {
        Problem::from_error(Code::Failed, &error).in_front("cannot read the daemon's answer")
    })?;
    let mut rows = Rows::new(&["IMAGE", "ID", "SIZE", "NODES"]);
    for image in images {
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id).chars().take(12).collect();
        rows.add(vec![
            image.references.join(" "),
            id,
            if image.id == "host" { String::new() } else { bytes(image.size_bytes) },
            image.nodes.join(" "),
        ]);
    }
    rows.print(&context.output)?;
    Ok(0)
}

/// Bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }
}
