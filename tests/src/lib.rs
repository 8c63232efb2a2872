//! What the end-to-end tests share: topologies, and answers of `vnode` and `ping` as values.

use std::time::Duration;

use serde_json::Value;
use vnode_testkit::{Host, eventually};

/// How long a test waits for what should come at once: generous, because the guest tier is slow.
pub const SOON: Duration = Duration::from_secs(30);

/// A lab of nodes on the host's root that sleep and end at once when asked to, from the lines of its `nodes:` and `links:`.
pub fn lab(name: &str, nodes: &str, links: &str) -> String {
    format!(
        "name: {name}\ntopology:\n  defaults: {{kind: linux, image: host, cmd: 'sh -c \"trap exit TERM; sleep infinity & wait\"'}}\n  \
         nodes:\n{}  links:\n{}",
        indent(nodes),
        if links.trim().is_empty() { "    []\n".to_owned() } else { indent(links) }
    )
}

fn indent(text: &str) -> String {
    text.lines()
        .filter(|l| !l.trim().is_empty())
        .map(|l| format!("    {}\n", l.trim_end()))
        .collect()
}

/// Two nodes `a` (10.0.0.1) and `b` (10.0.0.2) on one link, with more keys of the link as they stand in the file.
pub fn pair(name: &str, more: &str) -> String {
    let link = format!(
        "- endpoints: [\"a:eth1\", \"b:eth1\"]\n  ipv4: [10.0.0.1/24, 10.0.0.2/24]\n{}",
        more.lines().map(|l| format!("  {l}\n")).collect::<String>()
    );
    lab(name, "a:\nb:", &link)
}

/// The link of [`pair`].
pub const LINK: &str = "a:eth1--b:eth1";

/// `n` nodes `n1`, `n2`, ... on one LAN, addressed 10.0.x.y/16.
pub fn star(name: &str, n: usize) -> String {
    let nodes: String = (1..=n).map(|i| format!("n{i}:\n")).collect();
    let members: String = (1..=n)
        .map(|i| {
            format!("        - {{node: n{i}, interface: eth1, ipv4: {}/16}}\n", star_address(i))
        })
        .collect();
    let mut text = lab(name, &nodes, "");
    text.push_str(&format!("  networks:\n    lan0:\n      members:\n{members}"));
    text
}

/// Address of the `i`-th node of [`star`].
pub fn star_address(i: usize) -> String {
    format!("10.0.{}.{}", i / 250, i % 250 + 1)
}

/// Writes the topology into the host's directory and brings it up.
#[track_caller]
pub fn up(host: &Host, text: &str) -> String {
    let name = text.lines().find_map(|l| l.strip_prefix("name: ")).expect("a lab has a name");
    let file = host.write(&format!("{name}.clab.yml"), text).display().to_string();
    host.vnode(&["up", &file]).ok();
    file
}

/// All nodes, as `vnode ps --json` tells.
#[track_caller]
pub fn nodes(host: &Host) -> Vec<Value> {
    let answer = host.vnode(&["ps", "--json"]).ok().json();
    answer.as_array().cloned().unwrap_or_default()
}

/// One node of `vnode ps --json`.
#[track_caller]
pub fn node(host: &Host, name: &str) -> Value {
    let all = nodes(host);
    let found = all.iter().find(|n| n["node"] == name).cloned();
    found.unwrap_or_else(|| panic!("no node {name} in {all:?}"))
}

/// A node's state in one word; `absent` when there is none.
pub fn state(host: &Host, name: &str) -> String {
    let all = nodes(host);
    let found = all.iter().find(|n| n["node"] == name);
    found.map_or("absent".to_owned(), |n| n["state"].as_str().unwrap_or_default().to_owned())
}

/// Waits until the node is in this state.
#[track_caller]
pub fn wait_for_state(host: &Host, name: &str, wanted: &str) {
    let mut last = String::new();
    eventually(&format!("node {name} is {wanted}"), SOON, || {
        last = state(host, name);
        (last == wanted).then_some(())
    });
}

/// A disk image with one partition that is an empty ext4, in the host's directory.
#[track_caller]
pub fn ext4_disk(host: &Host, name: &str) -> std::path::PathBuf {
    /// Sectors before the partition, and in it.
    const PARTITION: [u32; 2] = [2048, 16 << 11];
    let path = host.dir().join(name);
    let mut bytes = vec![0; 512];
    bytes[446 + 4] = 0x83;
    for (at, number) in [446 + 8, 446 + 12].into_iter().zip(PARTITION) {
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    bytes.resize(512 * PARTITION.iter().sum::<u32>() as usize, 0);
    std::fs::write(&path, bytes).expect("the host's directory is writable");
    let offset = format!("offset={}", 512 * PARTITION[0]);
    let size = format!("{}k", PARTITION[1] / 2);
    let file = path.display().to_string();
    host.run("mke2fs", &["-q", "-F", "-t", "ext4", "-E", &offset, &file, &size]).ok();
    path
}

/// Waits until the daemon has taken up all that an earlier one left.
#[track_caller]
pub fn recovered(host: &Host, when: &str) {
    eventually(&format!("{when}: recovery ends"), SOON, || {
        let operations = host.vnode(&["op", "ls", "--json"]).ok().stdout;
        (!operations.contains("\"running\"")).then_some(())
    });
}

/// Asks the daemon's socket with curl, which speaks HTTP over unix sockets; the last line is the status.
#[track_caller]
pub fn get(host: &Host, path: &str) -> vnode_testkit::Output {
    ask(host, path, &[])
}

/// Sends the daemon a JSON body, as [`get`].
#[track_caller]
pub fn post(host: &Host, path: &str, body: &str) -> vnode_testkit::Output {
    ask(host, path, &["-X", "POST", "-H", "content-type: application/json", "-d", body])
}

#[track_caller]
fn ask(host: &Host, path: &str, more: &[&str]) -> vnode_testkit::Output {
    let (socket, url) = (socket(host), format!("http://vnode{path}"));
    let mut args = vec!["-sS", "--max-time", "10", "--unix-socket", &socket];
    args.extend_from_slice(&["-w", "\n%{http_code}"]);
    args.extend_from_slice(more);
    args.push(&url);
    host.run("curl", &args)
}

/// Path of the daemon's socket in its host.
#[track_caller]
pub fn socket(host: &Host) -> String {
    let listing =
        host.run("find", &[&host.state_dir().display().to_string(), "/run", "-type", "s"]).stdout;
    listing
        .lines()
        .find(|l| l.ends_with("vnode.sock") || l.ends_with("api.sock"))
        .unwrap_or_else(|| panic!("no socket in {listing}"))
        .to_owned()
}

/// Levels of locks that everybody needs, whatever node or image it works on.
const EVERYBODYS: [&str; 4] = ["host-root", "allocator", "firewall", "link"];

/// What the daemon tells of the locks that everybody needs: how long each level's were held, all times together and the
/// longest, s. Needs curl.
#[track_caller]
pub fn locks_held(host: &Host) -> Vec<(&'static str, f64, f64)> {
    let text = get(host, "/metrics").ok().stdout;
    let figure = |what: &str, level: &str| -> f64 {
        let start = format!("vnode_lock_{what}{{level=\"{level}\"}} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok());
        found.unwrap_or_else(|| panic!("no {start} in {text}"))
    };
    let of =
        |level| (level, figure("held_seconds_total", level), figure("longest_held_seconds", level));
    EVERYBODYS.map(of).to_vec()
}

/// Process id of a node's first process, in the host's numbers.
#[track_caller]
pub fn pid(host: &Host, name: &str) -> String {
    node(host, name)["pid"]
        .as_i64()
        .unwrap_or_else(|| panic!("node {name} has no process"))
        .to_string()
}

/// What `ping` measured.
#[derive(Debug, Clone, Copy)]
pub struct Rtt {
    pub sent: u32,
    pub received: u32,
    pub min_ms: f64,
    pub avg_ms: f64,
    pub max_ms: f64,
}

impl Rtt {
    /// Share of requests without an answer.
    pub fn loss(&self) -> f64 {
        1.0 - f64::from(self.received) / f64::from(self.sent)
    }
}

/// Runs `ping` in a node with these arguments before the address.
#[track_caller]
pub fn ping(host: &Host, node: &str, args: &[&str], address: &str) -> Rtt {
    let out = host.exec(node, &[&["ping", "-n"], args, &[address]].concat());
    parse_ping(&out.stdout).unwrap_or_else(|| panic!("ping said: {}", out.all()))
}

/// Panics unless the shortest round trip, ms, lies in the range. A busy machine adds to some of them, never takes away:
/// pings go on until one was quick enough.
#[track_caller]
pub fn assert_rtt(
    host: &Host,
    what: &str,
    node: &str,
    address: &str,
    range: std::ops::RangeInclusive<f64>,
) {
    let mut least = f64::MAX;
    let end = std::time::Instant::now() + SOON;
    loop {
        least = least.min(ping(host, node, &["-c", "5", "-i", "0.1"], address).min_ms);
        if least <= *range.end() || std::time::Instant::now() > end {
            break;
        }
    }
    assert_between(what, least, range);
}

/// Reads the closing lines of iputils' ping.
pub fn parse_ping(text: &str) -> Option<Rtt> {
    let line = text.lines().find(|l| l.contains("packets transmitted"))?;
    let mut numbers = line.split(',').filter_map(|p| p.split_whitespace().next()?.parse().ok());
    let (sent, received) = (numbers.next()?, numbers.next()?);
    let times = text.lines().find_map(|l| l.strip_prefix("rtt ")?.split_once("= ")).map(|(_, t)| t);
    let mut times = times.unwrap_or("").split('/').filter_map(|t| t.trim().parse().ok());
    let mut next = || times.next().unwrap_or(f64::NAN);
    Some(Rtt { sent, received, min_ms: next(), avg_ms: next(), max_ms: next() })
}

/// Goodput of TCP from `from` to `to`, Mbit/s, over `seconds`.
///
/// iperf3's client ends with 0 and an `error` in its JSON when it cannot connect (3.12 does), and its server of one
/// test ends after an attempt that failed half-way: so what counts is the answer, and each try finds a server.
#[track_caller]
pub fn tcp_mbit(host: &Host, from: &str, to: &str, address: &str, seconds: u32) -> f64 {
    tcp_mbit_between((host, from), (host, to), address, seconds)
}

/// As [`tcp_mbit`], between nodes of two hosts.
#[track_caller]
pub fn tcp_mbit_between(
    from: (&Host, &str),
    to: (&Host, &str),
    address: &str,
    seconds: u32,
) -> f64 {
    let serve = || {
        let mut server = to.0.vnode_command(&["exec", to.1, "--", "iperf3", "-s", "-1"]);
        server.stdout(std::process::Stdio::null()).spawn().expect("sh starts")
    };
    let mut server = serve();
    let time = seconds.to_string();
    let answer = eventually("iperf3 measures", SOON, || {
        if server.try_wait().expect("a started child can be asked").is_some() {
            server = serve();
        }
        let out = from.0.exec(from.1, &["iperf3", "-c", address, "-t", &time, "-J"]);
        (out.code == 0).then(|| out.json()).filter(|answer| answer.get("error").is_none())
    });
    eventually("iperf3's server ends after its one test", SOON, || {
        server.try_wait().expect("a started child can be asked")
    });
    answer["end"]["sum_received"]["bits_per_second"].as_f64().expect("iperf3 measures") / 1e6
}

/// Panics unless `value` lies in the range, which is the test's tolerance.
#[track_caller]
pub fn assert_between(what: &str, value: f64, range: std::ops::RangeInclusive<f64>) {
    assert!(range.contains(&value), "{what} is {value}, not within {range:?}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn pings_closing_lines_are_read() {
        let text = "--- 10.0.0.2 ping statistics ---\n20 packets transmitted, 18 received, 10% packet loss, time 19ms\n\
                    rtt min/avg/max/mdev = 0.028/0.040/0.079/0.012 ms, pipe 2";
        let rtt = super::parse_ping(text).unwrap();
        assert_eq!((rtt.sent, rtt.received), (20, 18));
        assert!((rtt.loss() - 0.1).abs() < 1e-9 && rtt.max_ms == 0.079);
    }
}
