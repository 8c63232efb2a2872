//! Packages of others: ETSI's CSAR, and Open Baton's.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    check::{self, Checked},
    descriptor::{Event, Expected},
    limits::Limits,
    problem::{Code, Problem, Refused},
    tree::Listing,
};

/// What a CSAR says of its files.
pub(crate) struct Csar {
    pub(crate) files: BTreeMap<String, Expected>,
    /// What is signed, and the CMS signature behind it.
    pub(crate) signed: Option<(String, String)>,
    /// The file of the signer's certificate, where it is named.
    pub(crate) certificate: Option<String>,
    /// Files that no manifest lists: itself, and what names it.
    pub(crate) apart: Vec<String>,
}

fn within(root: &str, path: &str) -> String {
    if root.is_empty() { path.to_owned() } else { format!("{root}/{path}") }
}

fn text<'a>(listing: &'a Listing, root: &str, path: &str) -> Option<Result<&'a str, Problem>> {
    let member = listing.file(&within(root, path))?;
    let wrong = |what: &str| Problem::new(Code::Manifest, what).entry(path);
    let Some(bytes) = &member.kept else { return Some(Err(wrong("too large to be a manifest"))) };
    Some(str::from_utf8(bytes).map_err(|_| wrong("no UTF-8")))
}

/// The one YAML file at the root, of a CSAR without its folder of metadata.
pub(crate) fn lone_yaml<'a>(listing: &'a Listing, root: &str) -> Option<&'a str> {
    let below = listing.below(root);
    let mut found = below
        .keys()
        .filter(|path| !path.contains('/') && (path.ends_with(".yaml") || path.ends_with(".yml")));
    let first = found.next()?;
    let manifest = format!("{}.mf", first.rsplit_once('.')?.0);
    (found.next().is_none() && below.contains_key(manifest.as_str())).then_some(*first)
}

/// Reads `TOSCA.meta` and the manifest.
pub(crate) fn csar(listing: &Listing, root: &str) -> Result<Csar, Problem> {
    const META: &str = "TOSCA-Metadata/TOSCA.meta";
    let mut manifest = None;
    let mut found = Csar {
        files: BTreeMap::new(),
        signed: None,
        certificate: None,
        apart: vec![META.to_owned()],
    };
    if let Some(meta) = text(listing, root, META) {
        let blocks = blocks(meta?, META)?;
        let first = blocks.first().cloned().unwrap_or_default();
        let Some(entry) = first.get("Entry-Definitions") else {
            return Err(Problem::new(Code::Manifest, "names no Entry-Definitions").entry(META));
        };
        if listing.file(&within(root, entry)).is_none() {
            let what = format!(
                "Entry-Definitions names `{}`, which is not in the archive",
                entry.escape_debug()
            );
            return Err(Problem::new(Code::Manifest, what).entry(META));
        }
        for block in &blocks[1..] {
            add(block, "Name", &mut found.files);
        }
        found.certificate = first.get("ETSI-Entry-Certificate").cloned();
        manifest = first.get("ETSI-Entry-Manifest").cloned();
        if let Some(path) = &manifest
            && listing.file(&within(root, path)).is_none()
        {
            let what = format!(
                "ETSI-Entry-Manifest names `{}`, which is not in the archive",
                path.escape_debug()
            );
            return Err(Problem::new(Code::Manifest, what).entry(META));
        }
    } else if let Some(yaml) = lone_yaml(listing, root) {
        manifest = yaml.rsplit_once('.').map(|(base, _)| format!("{base}.mf"));
    }
    if let Some(path) = manifest
        && let Some(content) = text(listing, root, &path)
    {
        let content = content?;
        found.apart.push(path.clone());
        let content = match content.find("-----BEGIN ") {
            Some(at) => {
                let (before, signature) = content.split_at(at);
                found.signed = Some((before.to_owned(), signature.to_owned()));
                before
            }
            None => content,
        };
        for block in blocks(content, &path)? {
            add(&block, "Source", &mut found.files);
        }
    }
    Ok(found)
}

fn add(block: &BTreeMap<String, String>, key: &str, files: &mut BTreeMap<String, Expected>) {
    let name = block.get(key).or_else(|| block.get("Source"));
    if let (Some(name), Some(algorithm), Some(hex)) =
        (name, block.get("Algorithm"), block.get("Hash"))
    {
        files.insert(name.clone(), Expected { algorithm: algorithm.clone(), hex: hex.clone() });
    }
}

/// `KEY: VALUE` lines in blocks with empty lines between them. A line `KEY:` alone opens a block.
fn blocks(text: &str, entry: &str) -> Result<Vec<BTreeMap<String, String>>, Problem> {
    let mut all = vec![BTreeMap::new()];
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() {
            if all.last().is_some_and(|block| !block.is_empty()) {
                all.push(BTreeMap::new());
            }
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            let what = format!("line {number} is not `KEY: VALUE`");
            return Err(Problem::new(Code::Manifest, what).entry(entry));
        };
        let (key, value) = (key.trim(), value.trim());
        if key == "Source" && all.last().is_some_and(|block| block.contains_key("Source")) {
            all.push(BTreeMap::new());
        }
        if let Some(block) = all.last_mut() {
            block.insert(key.to_owned(), value.to_owned());
        }
    }
    all.retain(|block| !block.is_empty());
    if all.is_empty() {
        all.push(BTreeMap::new());
    }
    Ok(all)
}

/// Turns `vnfd.json` into a descriptor of ours: its events are commands, its configurations parameters.
pub(crate) fn open_baton(
    listing: &Listing,
    root: &str,
    limits: &Limits,
) -> Result<Checked, Refused> {
    const FILE: &str = "vnfd.json";
    let member = listing.file(&within(root, FILE));
    let bytes = member.and_then(|member| member.kept.as_deref()).ok_or_else(|| {
        Problem::new(
            Code::Schema,
            format!("larger than {} bytes, or no file", limits.descriptor_bytes),
        )
        .entry(FILE)
    })?;
    let vnfd = crate::json::parse(bytes, limits.descriptor_depth, FILE)?;
    let Value::Object(vnfd) = vnfd else {
        return Err(Problem::new(Code::Schema, "the descriptor must be an object")
            .entry(FILE)
            .into());
    };
    let mut warnings = Vec::new();
    let written = vnfd.get("name").and_then(Value::as_str).unwrap_or_default();
    let name: String = written.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    if name != written {
        warnings.push(format!("name: `{}` became `{name}`", written.escape_debug()));
    }
    let mut ours = Map::new();
    ours.insert("schema".into(), 2.into());
    ours.insert("mode".into(), "managed".into());
    ours.insert("x-openbaton-env".into(), true.into());
    ours.insert("name".into(), name.into());
    for key in ["vendor", "type", "description"] {
        if let Some(Value::String(text)) = vnfd.get(key).filter(|value| value.as_str() != Some(""))
        {
            ours.insert(key.into(), text.chars().take(255).collect::<String>().into());
        }
    }
    if let Some(Value::String(version)) = vnfd.get("version") {
        // Two numbers are common there; three are a semantic version.
        let padded =
            if version.split('.').count() == 2 { format!("{version}.0") } else { version.clone() };
        if semver::Version::parse(&padded).is_ok() {
            ours.insert("version".into(), padded.into());
        } else {
            warnings.push(format!("version: `{}` is no semantic version", version.escape_debug()));
        }
    }
    let mut events = Vec::new();
    for item in vnfd.get("lifecycle_event").and_then(Value::as_array).into_iter().flatten() {
        let event = item["event"].as_str().unwrap_or_default();
        if Event::named(event).is_none() {
            warnings.push(format!(
                "event: `{}` is not known and its scripts are not run",
                event.escape_debug()
            ));
            continue;
        }
        let scripts = item["lifecycle_events"].as_array().into_iter().flatten().map(|script| {
            let Some(text) = script.as_str() else { return script.clone() };
            // Arguments after the name are Open Baton's way.
            let mut words = text.split_ascii_whitespace();
            let path = format!("scripts/{}", words.next().unwrap_or_default());
            json!({ "script": path, "args": words.collect::<Vec<_>>() })
        });
        events.push(json!({ "event": event, "lifecycle_events": scripts.collect::<Vec<_>>() }));
    }
    ours.insert("lifecycle_event".into(), events.into());
    let mut parameters = Map::new();
    let configurations =
        vnfd.get("configurations").and_then(|value| value["configurationParameters"].as_array());
    for parameter in configurations.into_iter().flatten() {
        if let (Some(key), Some(value)) =
            (parameter["confKey"].as_str(), parameter["value"].as_str())
        {
            parameters.insert(key.replace(['-', '.'], "_"), json!({ "default": value }));
        }
    }
    ours.insert("parameters".into(), parameters.into());
    let text = serde_json::to_vec(&Value::Object(ours)).expect("a map of texts is JSON");
    let mut checked = check::descriptor(&text, limits)?;
    checked.warnings.splice(0..0, warnings);
    Ok(checked)
}
