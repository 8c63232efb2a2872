//! Network descriptions: no panic; bounds kept; no text of the description begins a line of its own in any file; what
//! was written once is not written again. The first byte chooses the format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_netconf::{
    Backend, Content, Form, Mac, MemoryView, Nic, Plan, Select, Settings, bind, plan,
    source::{MAX_ADDRESSES, MAX_INTERFACES, MAX_ROUTES, configdrive, nocloud, vmdata},
};

fn after(view: &MemoryView, plan: &Plan) -> MemoryView {
    let mut view = view.clone();
    for change in &plan.changes {
        match &change.new {
            Content::File { bytes, .. } => {
                view.files.insert(change.path.clone(), bytes.clone());
            }
            Content::Link { target } => {
                view.links.insert(change.path.clone(), target.clone());
            }
            Content::Absent => {
                view.files.remove(&change.path);
            }
        }
    }
    view
}

fuzz_target!(|bytes: &[u8]| {
    let Some((format, text)) = bytes.split_first() else { return };
    let wanted = match format % 3 {
        0 => vmdata::read([("a", text)], Some("web1")),
        1 => configdrive::read(text, None),
        _ => nocloud::read(text, None),
    };
    let Ok(wanted) = wanted else { return };
    assert!(wanted.descriptions.len() <= MAX_INTERFACES);
    let mut nics = Vec::new();
    for (n, description) in (0u8..4).zip(&wanted.descriptions) {
        let config = &description.config;
        assert!(config.ip4s.len() + config.ip6s.len() <= MAX_ADDRESSES);
        assert!(config.routes.len() <= MAX_ROUTES);
        let mac = match &description.select {
            Select::Mac(mac) => *mac,
            Select::Name(_) => Mac([2, 0, 0, 0, 0, n]),
        };
        let name = match &description.select {
            Select::Mac(_) => format!("eth{n}"),
            Select::Name(name) => name.clone(),
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
            let second =
                plan(&after(&view, &first), &settings, interfaces.clone(), Some("web1"), &[])
                    .expect("what could be planned once can be planned again");
            assert!(second.changes.is_empty(), "{backend:?} {form:?}\n{}", second.diff());
        }
    }
});
