//! Artefacts in the words of lists.
//!
//! Annotations: `org.opencontainers.image.*` of the OCI image specification, `org.openstack.glance.*` and
//! `eu.egi.cloud.*` of EGI's catalogue.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use vnode_image::{RegistryReference, artefact::Artefact};

use crate::{
    judge::hex,
    list::{Dropped, Endorser, Image, ImageList, MAX_IDENTIFIER},
    name::Principal,
};

/// The list that stands for what a registry has.
pub(super) fn list(
    uri: &str,
    name: &RegistryReference,
    catalogue: bool,
    message: &[u8],
    signer: Principal,
    images: Vec<Image>,
    dropped: Vec<Dropped>,
) -> ImageList {
    let shown = uri.trim_start_matches(super::SCHEME).to_owned();
    let whole = match (&name.tag, catalogue) {
        (Some(tag), false) => format!("{}/{}-{tag}", name.registry, name.repository),
        _ => format!("{}/{}", name.registry, name.repository),
    };
    ImageList {
        identifier: identifier(&whole),
        title: shown.clone(),
        description: String::new(),
        source: uri.to_owned(),
        created: Timestamp::now(),
        // A tag has no end.
        expires: Timestamp::MAX,
        version: hex(&Sha256::digest(message))[..16].to_owned(),
        uri: uri.to_owned(),
        endorser: Endorser { principal: signer, email: String::new(), creator: shown },
        vo: None,
        images,
        dropped,
    }
}

/// The image that an artefact is; its SHA-512 is known when it has arrived.
pub(super) fn image(reference: &RegistryReference, artefact: &Artefact) -> Image {
    let tag = reference.tag.as_deref().or(reference.digest.as_deref()).unwrap_or_default();
    let first = |names: &[&str]| {
        let mut all = names.iter().filter_map(|name| artefact.annotation(name));
        all.next().unwrap_or_default().to_owned()
    };
    let name = format!("{}/{}:{tag}", reference.registry, reference.repository);
    let mut version = first(&["eu.egi.cloud.tag", "org.opencontainers.image.version"]);
    if version.is_empty() {
        version = artefact.digest.hex()[..12].to_owned();
    }
    let mut title = first(&["eu.egi.cloud.image.title", "org.opencontainers.image.title"]);
    if title.is_empty() {
        title.clone_from(&name);
    }
    let mut image = Image {
        identifier: identifier(&format!("{}-{tag}", reference.repository)),
        title,
        description: first(&["eu.egi.cloud.description", "org.opencontainers.image.description"]),
        uri: format!(
            "{}{}/{}@{}",
            super::SCHEME,
            reference.registry,
            reference.repository,
            artefact.digest
        ),
        size: artefact.disk.size,
        version,
        hypervisor: first(&["org.openstack.glance.hypervisor_type"]),
        arch: first(&["org.openstack.glance.architecture"]),
        os: first(&["org.openstack.glance.os_distro", "org.openstack.glance.os_type"]),
        os_version: first(&["org.openstack.glance.os_version"]),
        comments: String::new(),
        sha512: String::new(),
        sha256: Some(artefact.disk.digest.hex()),
        format: Some(first(&["org.openstack.glance.disk_format"]).to_ascii_uppercase())
            .filter(|format| !format.is_empty()),
        expires: None,
        attributes: Map::new(),
    };
    // Handlers and information systems know the keys of lists.
    let mut attributes: Map<String, Value> = artefact
        .disk
        .annotations
        .iter()
        .flatten()
        .filter(|(_, value)| value.len() <= 4096)
        .take(200)
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    for (key, value) in [
        ("dc:identifier", json!(image.identifier)),
        ("dc:title", json!(image.title)),
        ("dc:description", json!(image.description)),
        ("hv:uri", json!(image.uri)),
        ("hv:size", json!(image.size)),
        ("hv:version", json!(image.version)),
        ("hv:hypervisor", json!(image.hypervisor)),
        ("hv:format", json!(image.format)),
        ("sl:arch", json!(image.arch)),
        ("sl:os", json!(image.os)),
        ("sl:osversion", json!(image.os_version)),
        ("ad:mpuri", json!(format!("{name}-{}", artefact.digest))),
    ] {
        if !value.is_null() {
            attributes.insert(key.to_owned(), value);
        }
    }
    image.attributes = attributes;
    image
}

/// A name of a registry as an identifier of lists: `egi_vm_images/ubuntu-22.04` is `egi_vm_images.ubuntu-22.04`.
fn identifier(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| match c {
            '/' => '.',
            c if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') => c,
            _ => '-',
        })
        .collect();
    let plain = plain.trim_start_matches('.');
    if plain.len() <= MAX_IDENTIFIER {
        return plain.to_owned();
    }
    format!("{}-{}", &plain[..MAX_IDENTIFIER - 17], &hex(&Sha256::digest(name.as_bytes()))[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::is_identifier;

    #[test]
    fn names_of_registries_are_identifiers_and_long_ones_stay_apart() {
        assert_eq!(identifier("egi_vm_images/ubuntu-22.04"), "egi_vm_images.ubuntu-22.04");
        assert_eq!(identifier("127.0.0.1:5000/demo-stable"), "127.0.0.1-5000.demo-stable");
        let (one, other) = ("a".repeat(250), format!("{}b", "a".repeat(249)));
        assert!(is_identifier(&identifier(&one)) && identifier(&one) != identifier(&other));
        assert!(is_identifier(&identifier("[::1]:5000/x-1")));
    }
}
