//! `/etc/hosts`: the guest's own addresses get its new name. The rules are those of the OpenStack agent.

use std::net::IpAddr;

use crate::model::Interface;
use crate::text;

/// Stands after a line we commented out. The text is known to users' tools.
const REMOVED: &[u8] = b"\t# Removed by nova-agent";

/// The first IPv4 and the first IPv6 address of each interface, in interface order.
pub fn own_addresses(interfaces: &[Interface]) -> Vec<IpAddr> {
    let mut own = Vec::new();
    for interface in interfaces {
        own.extend(interface.config.ip4s.first().map(|net| IpAddr::from(net.addr())));
        own.extend(interface.config.ip6s.first().map(|net| IpAddr::from(net.addr())));
    }
    crate::model::unique(&mut own);
    own
}

/// The file with `name` for each of the addresses.
///
/// A line for one of them that holds one name, or one name and one domain name, is commented out and written anew; any
/// other line stays. An address no line had is appended. A line that would not change is left alone.
pub fn render(old: &[u8], addresses: &[IpAddr], name: &str) -> Vec<u8> {
    let mut left = addresses.to_vec();
    let mut out: Vec<Vec<u8>> = Vec::new();
    for line in text::lines(old) {
        let (entry, comment) = match line.iter().position(|b| *b == b'#') {
            Some(at) => (line[..at].trim_ascii(), &line[at..]),
            None => (line, &b""[..]),
        };
        let mut words = entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let address = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
        let Some(at) = address.and_then(|a: IpAddr| left.iter().position(|own| *own == a)) else {
            out.push(line.to_vec());
            continue;
        };
        // The next line for the same address is left alone.
        left.remove(at);
        let names: Vec<&[u8]> = words.collect();
        let dotted = |name: &[u8]| name.contains(&b'.');
        let renamed: Option<Vec<&[u8]>> = match names[..] {
            [only] if only != name.as_bytes() => Some(vec![name.as_bytes()]),
            [a, b] if dotted(a) != dotted(b) => {
                Some([a, b].map(|n| if dotted(n) { n } else { name.as_bytes() }).to_vec())
            }
            _ => None,
        };
        match renamed.filter(|renamed| *renamed != names) {
            Some(renamed) => {
                out.push([b"# ", line, REMOVED].concat());
                let shown = entry.split(u8::is_ascii_whitespace).next().unwrap_or_default();
                let mut new = [shown, b"\t", &renamed.join(&b' ')].concat();
                if !comment.is_empty() {
                    new.push(b'\t');
                    new.extend_from_slice(comment);
                }
                out.push(new);
            }
            None => out.push(line.to_vec()),
        }
    }
    out.extend(left.iter().map(|address| format!("{address}\t{name}").into_bytes()));
    text::join(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(old: &str) -> String {
        let own = ["192.0.2.1".parse().unwrap()];
        String::from_utf8(render(old.as_bytes(), &own, "example")).unwrap()
    }

    #[test]
    fn eh_1_to_6_one_address() {
        assert_eq!(run(""), "192.0.2.1\texample\n", "EH-1");
        assert_eq!(run("192.0.2.2\tother\n"), "192.0.2.2\tother\n192.0.2.1\texample\n", "EH-2");
        let three = "# 192.0.2.1\toldname\t# Removed by nova-agent\n192.0.2.1\texample\n";
        assert_eq!(run("192.0.2.1\toldname\n"), three, "EH-3");
        assert_eq!(
            run("192.0.2.1\toldname oldname.example.com\n"),
            "# 192.0.2.1\toldname oldname.example.com\t# Removed by nova-agent\n\
             192.0.2.1\texample oldname.example.com\n",
            "EH-4"
        );
        assert_eq!(
            run("192.0.2.1\toldname\n192.0.2.2\tother\n"),
            format!("{three}192.0.2.2\tother\n"),
            "EH-5"
        );
        assert_eq!(
            run("192.0.2.1\toldname # comment\n"),
            "# 192.0.2.1\toldname # comment\t# Removed by nova-agent\n192.0.2.1\texample\t# comment\n",
            "EH-6"
        );
    }

    #[test]
    fn eh_7_lines_that_stay() {
        let own = ["192.0.2.42".parse().unwrap()];
        let run = |old: &str| String::from_utf8(render(old.as_bytes(), &own, "web1")).unwrap();
        let two_dotted = "192.0.2.42 a.b c.d\n";
        assert_eq!(run(two_dotted), two_dotted);
        // The new line equals the old one: nothing is rewritten (the OpenStack agent did).
        let same = "192.0.2.42 web1 web1.x\n";
        assert_eq!(run(same), same);
        let bare = "192.0.2.42\n";
        assert_eq!(run(bare), bare);
        assert_eq!(
            run("192.0.2.42 one\n192.0.2.42 two\n"),
            "# 192.0.2.42 one\t# Removed by nova-agent\n192.0.2.42\tweb1\n192.0.2.42 two\n"
        );
        assert_eq!(
            run("  127.0.0.1 localhost  \n\n# c\n"),
            "127.0.0.1 localhost\n\n# c\n192.0.2.42\tweb1\n"
        );
    }

    #[test]
    fn g1_11_several_addresses() {
        let own = ["192.0.2.42", "2001:db8::42", "10.177.97.10"].map(|a| a.parse().unwrap());
        let old = "127.0.0.1 localhost\n192.0.2.42 old\n10.177.97.10 old old.example.com # c\n2001:db8::42 a b c\n";
        assert_eq!(
            String::from_utf8(render(old.as_bytes(), &own, "web1")).unwrap(),
            "127.0.0.1 localhost\n\
             # 192.0.2.42 old\t# Removed by nova-agent\n\
             192.0.2.42\tweb1\n\
             # 10.177.97.10 old old.example.com # c\t# Removed by nova-agent\n\
             10.177.97.10\tweb1 old.example.com\t# c\n\
             2001:db8::42 a b c\n"
        );
    }
}
