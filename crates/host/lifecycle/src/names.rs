//! Names inside the nodes: the lab's hosts file and the resolver's configuration.
//!
//! One hosts file for the whole lab, bound into every node: a file for each node would cost the square of
//! their number. It is rewritten in place (same inode), so that running nodes see a change at once.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use crate::record::NodeRecord;

/// Text of a lab's hosts file; the same for the same nodes (T-40).
pub fn hosts<'a>(lab: &str, nodes: impl Iterator<Item = (&'a NodeRecord, &'a [String])>) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for (node, aliases) in nodes {
        let Some(control) = &node.control else { continue };
        let addresses =
            control.ipv4.map(IpAddr::V4).into_iter().chain(control.ipv6.map(IpAddr::V6));
        for address in addresses {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "{address}\t{} {}.{lab} clab-{lab}-{}",
                node.node, node.node, node.node
            );
            for alias in aliases {
                let _ = write!(text, " {alias}");
            }
            text.push('\n');
        }
    }
    text
}

/// Text of a node's resolver configuration: its own servers, or those of the host it can reach.
pub fn resolver(
    servers: &[String],
    search: &[String],
    options: &[String],
    host_configuration: &str,
) -> String {
    let mut text = String::new();
    if servers.is_empty() && search.is_empty() && options.is_empty() {
        for line in host_configuration.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                // A server on the host's loopback is not the node's loopback.
                (Some("nameserver"), Some(server)) if is_loopback(server) => {}
                (Some("nameserver" | "search" | "options" | "domain"), Some(_)) => {
                    text.push_str(line.trim());
                    text.push('\n');
                }
                (_, _) => {}
            }
        }
        return text;
    }
    for server in servers {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

fn is_loopback(server: &str) -> bool {
    let address = server.split('%').next().unwrap_or(server);
    address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Replaces the content of `path` and keeps its inode, which nodes have bound. Makes file and folder where they are missing.
///
/// A reader may see the file half written; a resolver then misses a name once. A crash half way is mended
/// by the next write, which every start of the daemon does.
pub fn write_in_place(path: &Path, text: &str) -> std::io::Result<()> {
    let create = || std::fs::File::create_new(path);
    let mut made = create();
    if let (Err(error), Some(folder)) = (&made, path.parent())
        && error.kind() == std::io::ErrorKind::NotFound
    {
        // The first of its folder.
        std::fs::create_dir_all(folder)?;
        made = create();
    }
    match made {
        Ok(mut new) => new.write_all(text.as_bytes()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let mut old = std::fs::OpenOptions::new().write(true).open(path)?;
            old.write_all(text.as_bytes())?;
            old.set_len(text.len() as u64)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_the_hosts_loopback_are_left_out() {
        let text = resolver(
            &[],
            &[],
            &[],
            "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch a b\n",
        );
        assert_eq!(text, "nameserver 192.0.2.1\nsearch a b\n");
    }

    #[test]
    fn a_nodes_own_servers_replace_the_hosts() {
        let text = resolver(&["192.0.2.9".into()], &["lab".into()], &[], "nameserver 192.0.2.1\n");
        assert_eq!(text, "nameserver 192.0.2.9\nsearch lab\n");
    }

    #[test]
    fn a_shorter_text_leaves_no_tail_of_the_longer_one() {
        let folder = std::env::temp_dir().join(format!("vnode-names-{}", std::process::id()));
        write_in_place(&folder, "longer text\n").unwrap();
        write_in_place(&folder, "short\n").unwrap();
        assert_eq!(std::fs::read_to_string(&folder).unwrap(), "short\n");
        std::fs::remove_file(&folder).unwrap();
    }
}
