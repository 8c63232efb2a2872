//! Descriptions with damage: the property of the fuzz target `netconf`, over its seeds, on every run of the tests.
#![allow(clippy::unwrap_used, reason = "fixtures fail by panicking")]

mod common;

use std::path::Path;

use common::after;
use proptest::prelude::*;
use vnode_netconf::source::{
    MAX_ADDRESSES, MAX_INTERFACES, MAX_ROUTES, configdrive, nocloud, vmdata,
};
use vnode_netconf::{Backend, Content, Form, Mac, MemoryView, Nic, Select, Settings, bind, plan};

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/seeds/netconf");
    let mut all: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    all.sort();
    assert!(all.len() >= 5);
    all
}

/// True when the bytes were a description.
fn check(bytes: &[u8]) -> bool {
    let Some((format, text)) = bytes.split_first() else { return false };
    let wanted = match format % 3 {
        0 => vmdata::read([("a", text)], Some("web1")),
        1 => configdrive::read(text, None),
        _ => nocloud::read(text, None),
    };
    let Ok(wanted) = wanted else { return false };
    assert!(wanted.descriptions.len() <= MAX_INTERFACES);
    let mut nics = Vec::new();
    for (n, description) in (0u8..4).zip(&wanted.descriptions) {
        let config = &description.config;
        assert!(config.ip4s.len() + config.ip6s.len() <= MAX_ADDRESSES);
        assert!(config.routes.len() <= MAX_ROUTES);
        let (name, mac) = match &description.select {
            Select::Mac(mac) => (format!("eth{n}"), *mac),
            Select::Name(name) => (name.clone(), Mac([2, 0, 0, 0, 0, n])),
        };
        nics.push(Nic::plain(u32::from(n) + 1, &name, mac, true));
    }
    let interfaces = bind(&wanted.descriptions, &nics).interfaces;
    for backend in Backend::ALL {
        for form in [Form::Compatible, Form::Modern] {
            let settings =
                Settings { backend: Some(backend), form: Some(form), ..Settings::default() };
            let view = MemoryView::default().with("/etc/os-release", "ID=debian\n");
            let Ok(first) = plan(&view, &settings, interfaces.clone(), Some("web1"), &[]) else {
                continue;
            };
            for change in &first.changes {
                let Content::File { bytes, .. } = &change.new else { continue };
                assert!(!bytes.iter().any(|b| b.is_ascii_control() && !matches!(b, b'\n' | b'\t')));
            }
            let view = after(&view, &first);
            let second = plan(&view, &settings, interfaces.clone(), Some("web1"), &[]).unwrap();
            assert!(second.changes.is_empty(), "{backend:?} {form:?}\n{}", second.diff());
        }
    }
    true
}

#[test]
fn the_seeds_are_descriptions() {
    for seed in seeds() {
        assert!(check(&seed), "{}", String::from_utf8_lossy(&seed));
    }
}

/// What may stand where something else stood: words of the formats, and of what reads them.
const WORDS: &[&str] = &[
    "",
    "null",
    "0",
    "-1",
    "1e9",
    "\"\"",
    "[]",
    "{}",
    "\n",
    "\r",
    "'",
    "\"",
    "$(id)",
    "`id`",
    ";",
    "#",
    "::",
    "::/0",
    "0.0.0.0",
    "255.255.255.255",
    "fe80::1%eth0",
    "ff02::1",
    "enabled",
    "gateway",
    "ip6s",
    "dhcp",
    "dhcp4",
    "true",
    "yes",
    "lo",
    "on",
    "a b",
    "\u{85}",
    "\u{2028}",
    "ä",
    "99999999999999999999",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn damage_never_panics_and_never_writes_twice(
        seed in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0usize..24, any::<prop::sample::Index>()), 0..4),
    ) {
        let seeds = seeds();
        let mut bytes = seed.get(&seeds).clone();
        for (at, length, word) in damage {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, word.get(WORDS).bytes());
            if bytes.is_empty() {
                break;
            }
        }
        check(&bytes);
    }
}
