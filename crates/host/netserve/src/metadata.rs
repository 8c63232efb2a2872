//! The metadata service of the clouds, as cloud-init and its kin ask for it: EC2's paths, OpenStack's, and NoCloud's over
//! HTTP below `/nocloud/`. A machine is known by its address; it is shown the files the driver wrote at its boot.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::Directory;
use crate::socket::Device;

/// Where it listens on the gateway's address; the lab's rules lead port 80 of 169.254.169.254 here.
pub const PORT: u16 = vnode_network::control::METADATA_PORT;
/// Connections at a time, of all machines of a lab; others wait.
const AT_ONCE: usize = 32;
/// A request and its answer are over by then.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest request.
const HEAD: usize = 8 * 1024;
/// Largest file that is shown.
const FILE: u64 = 2 << 20;

/// Names of the files in a machine's folder. One that is not there is answered as if it were not known.
#[derive(Debug, Clone, Copy)]
pub struct Files;

impl Files {
    /// NoCloud's.
    pub const META: &'static str = "meta-data";
    pub const NETWORK: &'static str = "network-config";
    pub const USER: &'static str = "user-data";
    /// OpenStack's.
    pub const META_JSON: &'static str = "meta_data.json";
    pub const NETWORK_JSON: &'static str = "network_data.json";
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A file of the machine's folder.
    File(&'static str),
    /// A word of its `meta_data.json`.
    Word(&'static str),
    Address,
    Text(&'static str),
}

fn find(path: &str) -> Option<Found> {
    use Found::{Address, File, Text, Word};
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    Some(match *parts.as_slice() {
        [] => Text("2009-04-04\nlatest\n"),
        ["nocloud", name] => match name {
            "meta-data" => File(Files::META),
            "network-config" => File(Files::NETWORK),
            "user-data" => File(Files::USER),
            "vendor-data" => Text(""),
            _ => return None,
        },
        ["openstack"] => Text("latest\n"),
        ["openstack", "latest"] => {
            Text("meta_data.json\nnetwork_data.json\nuser_data\nvendor_data.json\n")
        }
        ["openstack", "latest", name] => match name {
            "meta_data.json" => File(Files::META_JSON),
            "network_data.json" => File(Files::NETWORK_JSON),
            "user_data" => File(Files::USER),
            "vendor_data.json" => Text("{}"),
            _ => return None,
        },
        ["latest" | "2009-04-04", ref rest @ ..] => match *rest {
            [] => Text("meta-data/\nuser-data\n"),
            ["user-data"] => File(Files::USER),
            ["meta-data"] => {
                Text("ami-id\nhostname\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\n")
            }
            ["meta-data", "instance-id"] => Word("uuid"),
            ["meta-data", "hostname" | "local-hostname"] => Word("hostname"),
            ["meta-data", "local-ipv4"] => Address,
            ["meta-data", "ami-id" | "instance-type"] => Text("vnode"),
            _ => return None,
        },
        _ => return None,
    })
}

fn read(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(folder.join(name))?.take(FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Body of the answer; `None`: there is nothing of that name.
fn body(found: &Found, folder: &Path, address: Ipv4Addr) -> Option<Vec<u8>> {
    match *found {
        Found::Text(text) => Some(text.into()),
        Found::Address => Some(address.to_string().into_bytes()),
        Found::File(name) => read(folder, name).ok(),
        Found::Word(name) => {
            let meta: Value = serde_json::from_slice(&read(folder, Files::META_JSON).ok()?).ok()?;
            Some(meta.get(name)?.as_str()?.as_bytes().to_vec())
        }
    }
}

/// Method and path of a request.
fn request(head: &[u8]) -> Option<(&str, &str)> {
    let line = head.split(|byte| *byte == b'\r' || *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with("HTTP/1.") {
        return None;
    }
    let path = target.split(['?', '#']).next().filter(|path| path.starts_with('/'))?;
    Some((method, path))
}

/// The whole answer to a request.
fn answer(head: &[u8], folder: Option<&Path>, address: Ipv4Addr) -> Vec<u8> {
    let (status, body, shown) = match (request(head), folder) {
        (None, _) => ("400 Bad Request", Vec::new(), true),
        // EC2's second version wants a token first; every one is good, since the address says who it is.
        (Some(("PUT", "/latest/api/token")), Some(_)) => ("200 OK", b"vnode".to_vec(), true),
        (Some((method @ ("GET" | "HEAD"), path)), Some(folder)) => {
            match find(path).and_then(|found| body(&found, folder, address)) {
                Some(body) => ("200 OK", body, method == "GET"),
                None => ("404 Not Found", Vec::new(), true),
            }
        }
        (Some(("GET" | "HEAD" | "PUT", _)), _) => ("404 Not Found", Vec::new(), true),
        (Some(_), _) => ("405 Method Not Allowed", Vec::new(), true),
    };
    let kind = if body.starts_with(b"{") { "application/json" } else { "text/plain" };
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if shown {
        bytes.extend(body);
    }
    bytes
}

async fn serve(mut stream: TcpStream, peer: SocketAddr, directory: Arc<dyn Directory>) {
    let IpAddr::V4(address) = peer.ip() else { return };
    let work = async {
        let mut head = Vec::new();
        let ended = |head: &[u8]| head.windows(4).any(|end| end == b"\r\n\r\n");
        while !ended(&head) && head.len() < HEAD {
            let mut some = [0; 1024];
            match stream.read(&mut some).await? {
                0 => break,
                n => head.extend_from_slice(&some[..n]),
            }
        }
        let made = tokio::task::spawn_blocking(move || {
            answer(&head, directory.files_of(address).as_deref(), address)
        });
        stream.write_all(&made.await.map_err(io::Error::other)?).await?;
        stream.shutdown().await
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, %peer, "metadata"),
        Err(_) => tracing::debug!(%peer, "metadata: too slow"),
    }
}

pub(crate) fn start(
    device: &Device<'_>,
    gateway: Ipv4Net,
    directory: &Arc<dyn Directory>,
) -> io::Result<JoinHandle<()>> {
    let listener = device.listener(SocketAddr::from((gateway.addr(), PORT)), AT_ONCE as i32)?;
    let directory = Arc::clone(directory);
    Ok(tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        // They end with this task.
        let mut serving = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            while serving.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let work = serve(stream, peer, Arc::clone(&directory));
                    serving.spawn(async move {
                        work.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "metadata");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(folder: &Path, line: &str) -> (String, String) {
        let head = format!("{line}\r\nHost: x\r\n\r\n");
        let bytes = answer(head.as_bytes(), Some(folder), [172, 20, 20, 5].into());
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    #[test]
    fn every_cloud_finds_its_paths() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(Files::META, "instance-id: one\n");
        write(Files::META_JSON, "{\"uuid\": \"one\", \"hostname\": \"r1\"}");
        write(Files::USER, "#cloud-config\n");
        let get = |path: &str| asked(folder.path(), &format!("GET {path} HTTP/1.1"));
        let ok = "HTTP/1.1 200 OK";
        for (path, text) in [
            ("/nocloud/meta-data", "instance-id: one\n"),
            ("/nocloud/vendor-data", ""),
            ("/openstack/latest/user_data", "#cloud-config\n"),
            ("/latest/meta-data/instance-id", "one"),
            ("/2009-04-04/meta-data/local-hostname", "r1"),
            ("/latest/meta-data/local-ipv4", "172.20.20.5"),
            ("/latest/user-data?x=1", "#cloud-config\n"),
        ] {
            assert_eq!(get(path), (ok.to_owned(), text.to_owned()), "{path}");
        }
        assert!(get("/openstack/latest/meta_data.json").1.contains("r1"));
        // A file that was not written, a way out of the folder, and nothing of the kind.
        for path in
            ["/nocloud/network-config", "/nocloud/../meta-data", "/nocloud/etc/passwd", "/x"]
        {
            assert_eq!(get(path).0, "HTTP/1.1 404 Not Found", "{path}");
        }
        assert_eq!(asked(folder.path(), "PUT /latest/api/token HTTP/1.1").0, ok);
        assert_eq!(asked(folder.path(), "HEAD /latest/user-data HTTP/1.1").1, "");
        assert_eq!(asked(folder.path(), "POST / HTTP/1.1").0, "HTTP/1.1 405 Method Not Allowed");
        for line in ["GET", "GET / HTTP/2", "GET x HTTP/1.1", "\u{0} / HTTP/1.1 x"] {
            assert_eq!(asked(folder.path(), line).0, "HTTP/1.1 400 Bad Request", "{line}");
        }
    }

    #[test]
    fn who_is_no_machine_finds_nothing() {
        let bytes = answer(b"GET /latest/user-data HTTP/1.0\r\n\r\n", None, [10, 0, 0, 1].into());
        assert!(bytes.starts_with(b"HTTP/1.1 404"));
    }
}
