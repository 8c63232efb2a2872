//! `vnode cp`

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::Method;
use hyper::body::{Bytes, Frame};
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};
use vnode_api::{Code, Problem};
use vnode_beneath::{Dir, Limits, Mode, Scope};

use super::node_path;
use crate::client::{Body, Client, empty, query};
use crate::{Context, Result};

/// Bytes between the thread that reads files and the connection.
const PIPE: usize = 256 * 1024;
/// A tar archive without members.
const EMPTY_ARCHIVE: [u8; 1024] = [0; 1024];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Have the node's agent read or write, instead of doing so from outside
    #[arg(long)]
    agent: bool,
    /// File or folder, here or NODE:PATH; `-` is a tar archive on standard input
    #[arg(value_name = "SRC")]
    from: String,
    /// Where to, here or NODE:PATH; `-` is a tar archive on standard output
    #[arg(value_name = "DST")]
    to: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    match (side(&args.from), side(&args.to)) {
        (Side::Node(node, path), Side::Here(to)) => {
            out(node, path, to, args.agent, context).await?
        }
        (Side::Here(from), Side::Node(node, path)) => {
            into(from, node, path, args.agent, context).await?
        }
        (Side::Here(_), Side::Here(_)) => {
            return Err(Problem::new(Code::Usage, "neither side is in a node")
                .hint("write NODE:PATH for the side that is"));
        }
        (Side::Node(..), Side::Node(..)) => {
            return Err(Problem::new(Code::Usage, "both sides are in a node")
                .hint(format!("`vnode cp {} - | vnode cp - {}`", args.from, args.to)));
        }
    }
    super::done(&args.to, "cp", context)
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side<'a> {
    Here(&'a Path),
    Node(&'a str, &'a str),
}

/// `NODE:PATH`, unless a slash before the colon and no node before it makes it a path here: `./a:b`.
fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        Some((node, path))
            if !node.is_empty()
                && !node.starts_with(['/', '.'])
                && node.matches('/').count() <= 1 =>
        {
            Side::Node(node, if path.is_empty() { "/" } else { path })
        }
        _ => Side::Here(Path::new(text)),
    }
}

async fn out(node: &str, path: &str, to: &Path, agent: bool, context: &Context) -> Result<()> {
    let mut client = context.client().await?;
    let address = files(node, path, agent);
    let response = client.send(Method::GET, &address, None, empty()).await?;
    if to == Path::new("-") {
        return crate::stream::to_stdout(response.into_body()).await;
    }
    let pieces = BodyStream::new(response.into_body())
        .try_filter_map(async |frame| Ok(frame.into_data().ok()))
        .map_err(io::Error::other);
    let tar = SyncIoBridge::new(StreamReader::new(Box::pin(pieces)));
    let (to, name) = (to.to_owned(), last_name(path));
    blocking(move || place(tar, &to, &name)).await?.map_err(|problem| {
        problem.hint(format!("`vnode cp {node}:{path} - | tar x` unpacks it without these limits"))
    })
}

/// Unpacks beneath a folder here. The archive comes from a node, which may be hostile: nothing of it leads
/// out of the folder, has special bits or is a device.
fn place(tar: impl Read, to: &Path, name: &Path) -> Result<()> {
    let fail = |error: &(dyn std::error::Error + 'static)| {
        Problem::from_error(Code::Failed, error)
            .in_front(format!("cannot copy to `{}`", to.display()))
    };
    let limits = Limits::default();
    if to.is_dir() {
        let dir = Dir::open_ambient(to, Scope::Beneath).map_err(|error| fail(&error))?;
        vnode_beneath::unpack_tar(tar, &dir, &limits, Mode::Files, &|| false)
            .map_err(|error| fail(&error))?;
        return Ok(());
    }
    // Under another name: unpacked aside, then renamed.
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let new_name = last_name(&to.to_string_lossy());
    let parent = Dir::open_ambient(parent.unwrap_or(Path::new(".")), Scope::Beneath)
        .map_err(|error| fail(&error))?;
    let aside = PathBuf::from(format!(".vnode-cp-{}", std::process::id()));
    parent.mkdir(&aside, 0o700).map_err(|error| fail(&error))?;
    let placed = parent.open_dir(&aside).map_err(|error| fail(&error)).and_then(|dir| {
        vnode_beneath::unpack_tar(tar, &dir, &limits, Mode::Files, &|| false)
            .map_err(|error| fail(&error))?;
        parent.rename(aside.join(name), &new_name).map_err(|error| fail(&error))
    });
    let removed = parent.remove_tree(&aside).map_err(|error| fail(&error));
    placed.and(removed)
}

async fn into(from: &Path, node: &str, path: &str, agent: bool, context: &Context) -> Result<()> {
    let mut client = context.client().await?;
    if from == Path::new("-") {
        let body = reader_body(tokio::io::stdin());
        return put(&mut client, node, path, agent, body).await;
    }
    let found = std::fs::symlink_metadata(from).map_err(|error| {
        Problem::from_error(Code::Usage, &error)
            .in_front(format!("cannot copy `{}`", from.display()))
    })?;
    // Into a folder under its own name, else beside it under the new one: as cp does.
    let probe = http_body_util::Full::new(Bytes::from_static(&EMPTY_ARCHIVE));
    let probe = probe.map_err(|never| match never {}).boxed();
    let (folder, name) = match put(&mut client, node, path, agent, probe).await {
        Ok(()) => (path.to_owned(), here_name(from)?),
        // No folder, or no such node; of a node that is not there the second try says so as well.
        Err(problem) if problem.code == Code::State || path.ends_with('/') => return Err(problem),
        Err(_) => (parent(path), last_name(path)),
    };
    let (write, read) = tokio::io::duplex(PIPE);
    let write = SyncIoBridge::new(write);
    let (owned, is_dir) = (from.to_owned(), found.is_dir());
    let packed = tokio::task::spawn_blocking(move || pack(write, &owned, &name, is_dir));
    // The probe may have closed the connection.
    let mut client = context.client().await?;
    let sent = put(&mut client, node, &folder, agent, reader_body(read)).await;
    let packed = packed.await.map_err(|error| Problem::from_error(Code::Internal, &error))?;
    match (sent, packed) {
        // What the daemon says of a stream that broke off is only half of it.
        (_, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Problem::from_error(Code::Failed, &error)
                .in_front(format!("cannot read `{}`", from.display())))
        }
        (sent, _) => sent,
    }
}

fn pack(to: impl io::Write, from: &Path, name: &Path, is_dir: bool) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    archive.follow_symlinks(false);
    if is_dir {
        archive.append_dir_all(name, from)?;
    } else {
        archive.append_path_with_name(from, name)?;
    }
    archive.into_inner()?.flush()
}

async fn put(client: &mut Client, node: &str, folder: &str, agent: bool, body: Body) -> Result<()> {
    let path = files(node, folder, agent);
    client.send(Method::PUT, &path, Some("application/x-tar"), body).await.map(drop)
}

fn files(node: &str, path: &str, agent: bool) -> String {
    let agent = agent.then(|| "true".to_owned());
    let query = query(&[("path", Some(path.to_owned())), ("agent", agent)]);
    node_path(node, &format!("/files{query}"))
}

fn reader_body(from: impl tokio::io::AsyncRead + Send + Sync + 'static) -> Body {
    BodyExt::boxed(StreamBody::new(ReaderStream::new(from).map_ok(Frame::data)))
}

/// The name an archive of a path has its content under.
fn last_name(path: &str) -> PathBuf {
    match Path::new(path).components().next_back() {
        Some(Component::Normal(name)) => PathBuf::from(name),
        _ => PathBuf::from("."),
    }
}

/// The same of a path here, where `.` has a name of its own.
fn here_name(path: &Path) -> Result<PathBuf> {
    let name = match path.components().next_back() {
        Some(Component::Normal(name)) => Some(PathBuf::from(name)),
        _ => path.canonicalize().ok().and_then(|path| path.file_name().map(PathBuf::from)),
    };
    Ok(name.unwrap_or_else(|| PathBuf::from(".")))
}

fn parent(path: &str) -> String {
    match Path::new(path).parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_string_lossy().into_owned(),
        _ => "/".to_owned(),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Problem::from_error(Code::Internal, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_in_a_node_when_a_node_stands_before_the_colon() {
        assert_eq!(side("r1:/etc/hosts"), Side::Node("r1", "/etc/hosts"));
        assert_eq!(side("lab/r1:/x"), Side::Node("lab/r1", "/x"));
        assert_eq!(side("r1:"), Side::Node("r1", "/"));
        assert_eq!(side("./a:b"), Side::Here(Path::new("./a:b")));
        assert_eq!(side("/a:b"), Side::Here(Path::new("/a:b")));
        assert_eq!(side("a/b/c:d"), Side::Here(Path::new("a/b/c:d")));
        assert_eq!(side("file"), Side::Here(Path::new("file")));
    }

    #[test]
    fn an_archive_from_a_node_lands_under_its_name_or_a_new_one() {
        let source = tempfile::tempdir().unwrap();
        std::fs::write(source.path().join("hosts"), "x").unwrap();
        let tar = |name: &str| {
            let mut bytes = vec![];
            pack(&mut bytes, &source.path().join("hosts"), Path::new(name), false).unwrap();
            bytes
        };
        let here = tempfile::tempdir().unwrap();
        place(&tar("hosts")[..], here.path(), Path::new("hosts")).unwrap();
        assert_eq!(std::fs::read(here.path().join("hosts")).unwrap(), b"x");
        place(&tar("hosts")[..], &here.path().join("new"), Path::new("hosts")).unwrap();
        assert_eq!(std::fs::read(here.path().join("new")).unwrap(), b"x");
        assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 2);
    }

    #[test]
    fn t36_an_archive_from_a_hostile_node_does_not_lead_out() {
        let here = tempfile::tempdir().unwrap();
        let folder = here.path().join("in");
        std::fs::create_dir(&folder).unwrap();
        let mut archive = tar::Builder::new(vec![]);
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.as_old_mut().name[..6].copy_from_slice(b"../out");
        header.set_cksum();
        archive.append(&header, &b"x"[..]).unwrap();
        let bytes = archive.into_inner().unwrap();
        assert!(place(&bytes[..], &folder, Path::new("x")).is_err());
        assert!(!here.path().join("out").exists());
    }
}
