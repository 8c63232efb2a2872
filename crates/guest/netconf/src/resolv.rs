//! `/etc/resolv.conf`: who owns it, and what is in it when we do.

use std::net::IpAddr;

use crate::model::{Interface, unique};
use crate::view::View;

pub(crate) const FILE: &str = "/etc/resolv.conf";

/// Who writes the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It is a link: systemd-resolved or another service keeps what it points at, and the link stays.
    Link,
    /// The `resolvconf` program, of either kind, is told the servers.
    Resolvconf,
    /// Nobody else.
    Agent,
}

/// Who writes `/etc/resolv.conf` in this guest.
pub fn owner(view: &dyn View) -> Owner {
    if view.has_program("resolvconf") {
        Owner::Resolvconf
    } else if view.is_link(FILE) {
        Owner::Link
    } else {
        Owner::Agent
    }
}

/// The servers of all interfaces in their order, each once.
pub fn servers(interfaces: &[Interface]) -> Vec<IpAddr> {
    let mut servers: Vec<IpAddr> =
        interfaces.iter().flat_map(|i| i.config.dns.iter().copied()).collect();
    unique(&mut servers);
    servers
}

/// The whole file; `None` when there is no server, and the file is then left alone.
pub fn render(interfaces: &[Interface]) -> Option<String> {
    let servers = servers(interfaces);
    if servers.is_empty() {
        return None;
    }
    let mut text = String::from("# Automatically generated, do not edit\n");
    let mut search: Vec<&str> =
        interfaces.iter().flat_map(|i| i.config.search.iter().map(String::as_str)).collect();
    unique(&mut search);
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    Some(text)
}

/// What `resolvconf -a` is told on its standard input for one interface; `None` when it has no server.
pub fn for_resolvconf(interface: &Interface) -> Option<String> {
    let text = render(std::slice::from_ref(interface))?;
    text.split_once('\n').map(|(_, rest)| rest.to_owned())
}
