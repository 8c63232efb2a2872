//! Manifests and indexes: what an image consists of, in the two forms of docker and OCI.
//!
//! OCI image specification, `manifest.md` and `image-index.md`; docker image manifest version 2, schema 2.

use serde::Deserialize;

use crate::digest::Digest;

/// Media types asked for, the newest first.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Most entries of an index that are looked at.
const INDEX_ENTRIES: usize = 1000;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("it is not the JSON of a manifest, index or configuration")]
    Json(#[from] serde_json::Error),
    #[error("it has media type `{0}`, which is neither an image manifest nor an index")]
    MediaType(String),
    #[error(
        "it is of docker's schema 1, which is no longer read; push the image again with a current tool"
    )]
    SchemaOne,
    #[error(
        "it is neither an image manifest nor an index: it needs `layers` or `manifests`, and not both"
    )]
    Neither,
    #[error("it is no container image: its configuration has media type `{0}`")]
    Artifact(String),
    #[error(
        "layer {number} has media type `{media_type}`; tar, tar with gzip and tar with zstd are read"
    )]
    LayerType { number: usize, media_type: String },
    #[error("it has {found} {what}, more than {limit}")]
    TooMany { what: &'static str, found: usize, limit: usize },
    #[error("{digest} is larger than {limit} bytes")]
    TooLarge { digest: String, limit: u64 },
    #[error("it has nothing for {wanted}; it has: {found}")]
    Platform { wanted: String, found: String },
    #[error("it is a container image, not a disk: only disks are followed")]
    NoDisk,
    #[error("it is an index of an index of an index")]
    Nested,
    #[error("the configuration names {diff_ids} unpacked layers, the manifest {layers}")]
    LayerCount { diff_ids: usize, layers: usize },
    #[error("an entry of `env`, or another text of the configuration, is longer than {0} bytes")]
    TextTooLong(usize),
}

/// Where content is, how large, and what it must hash to.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    #[serde(default)]
    pub size: u64,
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Descriptor {
    /// The name a tag has in an OCI layout.
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }
}

/// Machine an image is for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    pub variant: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |v| write!(f, "/{v}"))
    }
}

/// An image manifest.
#[derive(Debug, Clone)]
pub struct ImageManifest {
    pub config: Descriptor,
    /// Lowest first.
    pub layers: Vec<Descriptor>,
}

/// A parsed manifest of either kind.
#[derive(Debug, Clone)]
pub enum Manifest {
    Image(ImageManifest),
    Index(Vec<Descriptor>),
    /// An artefact whose one layer is the disk of a virtual machine: what ORAS pushes, and EGI's catalogue holds. The
    /// manifest's annotations are among the layer's.
    Disk(Descriptor),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Parses a manifest or index; `most_layers` bounds what an image may have.
    pub fn parse(bytes: &[u8], most_layers: usize) -> Result<Self, Error> {
        let raw: Raw = serde_json::from_slice(bytes)?;
        if raw.schema_version == Some(1) || raw.fs_layers.is_some() {
            return Err(Error::SchemaOne);
        }
        if let Some(media_type) =
            raw.media_type.filter(|m| !m.is_empty() && !ACCEPTED.split(", ").any(|a| a == m))
        {
            return Err(Error::MediaType(media_type));
        }
        match (raw.config, raw.layers, raw.manifests) {
            (Some(config), Some(layers), None) => {
                if layers.len() > most_layers {
                    return Err(Error::TooMany {
                        what: "layers",
                        found: layers.len(),
                        limit: most_layers,
                    });
                }
                if let Some(disk) = disk_of(&config, &layers, raw.annotations.as_ref()) {
                    return Ok(Manifest::Disk(disk));
                }
                check_types(&config, &layers)?;
                Ok(Manifest::Image(ImageManifest { config, layers }))
            }
            (None, None, Some(manifests)) => {
                if manifests.len() > INDEX_ENTRIES {
                    return Err(Error::TooMany {
                        what: "manifests",
                        found: manifests.len(),
                        limit: INDEX_ENTRIES,
                    });
                }
                Ok(Manifest::Index(manifests))
            }
            _ => Err(Error::Neither),
        }
    }
}

/// The layers of a manifest, whatever it is of: signatures are layers too.
pub(crate) fn layers(bytes: &[u8]) -> Result<Vec<Descriptor>, Error> {
    let raw: Raw = serde_json::from_slice(bytes)?;
    raw.layers.ok_or(Error::Neither)
}

/// The disk of an artefact: its only layer, when the layer's type or name, or an annotation of Glance's, says so.
fn disk_of(
    config: &Descriptor,
    layers: &[Descriptor],
    annotations: Option<&std::collections::BTreeMap<String, String>>,
) -> Option<Descriptor> {
    let [only] = layers else { return None };
    if config.media_type.contains(".image.config.v1")
        || config.media_type.contains(".container.image.")
    {
        return None;
    }
    let kinds = ["qcow2", "qemu-disk", "raw-disk", "disk-image", "vmdk"];
    let by_type = kinds.iter().any(|kind| only.media_type.contains(kind));
    let title = only.annotation("org.opencontainers.image.title").unwrap_or_default();
    let by_name = [".qcow2", ".raw", ".img", ".vmdk", ".vdi"].iter().any(|e| title.ends_with(e));
    let by_glance = annotations
        .is_some_and(|all| all.contains_key("org.openstack.glance.disk_format"))
        || only.annotation("org.openstack.glance.disk_format").is_some();
    (by_type || by_name || by_glance).then(|| {
        // What is said of the whole is said of its only layer; the layer's own word counts.
        let mut disk = only.clone();
        let mut all = annotations.cloned().unwrap_or_default();
        all.extend(disk.annotations.take().unwrap_or_default());
        disk.annotations = Some(all);
        disk
    })
}

fn check_types(config: &Descriptor, layers: &[Descriptor]) -> Result<(), Error> {
    let image_config = [
        "",
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    ];
    if !image_config.contains(&config.media_type.as_str()) {
        return Err(Error::Artifact(config.media_type.clone()));
    }
    for (number, layer) in layers.iter().enumerate() {
        let known = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ]
        .iter()
        .filter_map(|known| layer.media_type.strip_prefix(known))
        .any(|packing| matches!(packing, "" | "+gzip" | "+zstd" | ".gzip" | ".zstd"));
        if !known && !layer.media_type.is_empty() {
            return Err(Error::LayerType { number, media_type: layer.media_type.clone() });
        }
    }
    Ok(())
}

/// The entry of an index for this machine.
pub fn for_this_machine(entries: &[Descriptor]) -> Result<&Descriptor, Error> {
    let wanted = this_machine();
    let fits = |entry: &&Descriptor| match &entry.platform {
        Some(p) => p.os == wanted.os && p.architecture == wanted.architecture,
        None => false,
    };
    // The lowest variant runs on every processor of its architecture; none is amd64's `v1` and arm64's `v8`. Of the same the
    // first, as containerd has it.
    let found = entries.iter().filter(fits).min_by_key(|e| {
        let variant = e.platform.as_ref().and_then(|p| p.variant.as_deref()).unwrap_or_default();
        match (wanted.architecture.as_str(), variant) {
            ("amd64", "v1") | ("arm64", "v8") => String::new(),
            (_, variant) => variant.to_owned(),
        }
    });
    match (found, entries) {
        (Some(entry), _) => Ok(entry),
        // An index made for one machine may not say which.
        (None, [only]) if only.platform.is_none() => Ok(only),
        _ => {
            let mut found: Vec<String> = entries
                .iter()
                .filter_map(|e| e.platform.as_ref())
                .map(Platform::to_string)
                .take(20)
                .collect();
            found.dedup();
            Err(Error::Platform { wanted: wanted.to_string(), found: found.join(", ") })
        }
    }
}

/// This machine in the words of Go, which OCI uses.
pub fn this_machine() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        same => same,
    };
    Platform { architecture: architecture.into(), os: "linux".into(), variant: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(os: &str, architecture: &str, byte: char) -> String {
        format!(
            r#"{{"mediaType":"m","digest":"sha256:{}","size":1,"platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
            byte.to_string().repeat(64)
        )
    }

    #[test]
    fn the_entry_for_this_machine_is_chosen() {
        let own = this_machine().architecture;
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
            entry("windows", &own, 'a'),
            entry("linux", "pdp11", 'b'),
            entry("linux", &own, 'c'),
        );
        let Manifest::Index(entries) = Manifest::parse(text.as_bytes(), 10).unwrap() else {
            panic!()
        };
        assert!(for_this_machine(&entries).unwrap().digest.hex().starts_with('c'));
        let e = for_this_machine(&entries[..2]).unwrap_err().to_string();
        assert!(e.contains("linux/pdp11") && e.contains(&own), "{e}");
    }

    #[test]
    fn a_variant_that_needs_more_than_every_processor_has_comes_last() {
        let own = this_machine().architecture;
        let base = if own == "amd64" { "v1" } else { "v8" };
        let of = |variant: &str, byte: char| {
            let plain = entry("linux", &own, byte);
            match variant {
                "" => plain,
                variant => plain.replace("\"}}", &format!("\",\"variant\":\"{variant}\"}}}}")),
            }
        };
        let chosen = |variants: &[&str]| {
            let all: Vec<_> = variants.iter().zip('a'..).map(|(v, byte)| of(v, byte)).collect();
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, all.join(","));
            let Manifest::Index(entries) = Manifest::parse(text.as_bytes(), 10).unwrap() else {
                panic!()
            };
            for_this_machine(&entries).unwrap().digest.hex().chars().next().unwrap()
        };
        assert_eq!(chosen(&["", "v9"]), 'a');
        assert_eq!(chosen(&["v9", ""]), 'b');
        assert_eq!(chosen(&["v9", base]), 'b');
        assert_eq!(chosen(&["", base]), 'a', "of the same the first");
    }

    #[test]
    fn what_is_no_image_is_told_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let image = |config: &str, layer: &str| {
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"{digest}","size":2}},
                "layers":[{{"mediaType":"{layer}","digest":"{digest}","size":2}}]}}"#
            )
        };
        let config = "application/vnd.oci.image.config.v1+json";
        let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
        assert!(matches!(
            Manifest::parse(image(config, layer).as_bytes(), 1),
            Ok(Manifest::Image(_))
        ));
        let parse = |text: &str| Manifest::parse(text.as_bytes(), 1).unwrap_err();
        assert!(matches!(
            parse(&image("application/vnd.cncf.helm.config.v1+json", layer)),
            Error::Artifact(_)
        ));
        assert!(matches!(
            parse(&image(config, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted")),
            Error::LayerType { .. }
        ));
        assert!(matches!(
            Manifest::parse(image(config, layer).as_bytes(), 0),
            Err(Error::TooMany { .. })
        ));
        assert!(matches!(parse(r#"{"schemaVersion":1,"fsLayers":[]}"#), Error::SchemaOne));
        assert!(matches!(parse(r#"{"mediaType":"text/html"}"#), Error::MediaType(_)));
        assert!(matches!(parse("{}"), Error::Neither));
        assert!(matches!(parse("<html>"), Error::Json(_)));
    }
}
