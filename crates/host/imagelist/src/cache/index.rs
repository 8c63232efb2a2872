//! `cache.index`: what is in the cache folder, for programs that were written for vmcatcher.

use std::{fs, io::Write as _, path::Path};

use serde_json::{Map, Value, json};

use super::{CacheError, Cached};

/// The index of these images, written whole or not at all.
pub(super) fn write<'a>(
    folder: &Path,
    images: impl Iterator<Item = &'a Cached>,
) -> Result<(), CacheError> {
    let index: Map<String, Value> =
        images.map(|cached| (cached.image.identifier.clone(), entry(cached))).collect();
    let path = folder.join("cache.index");
    let new = folder.join(".cache.index.new");
    let failed = |source| CacheError::File { doing: "write", path: path.clone(), source };
    let text = serde_json::to_vec_pretty(&index).map_err(|e| failed(e.into()))?;
    let mut file = fs::File::create(&new).map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&new, &path).map_err(failed)
}

fn entry(cached: &Cached) -> Value {
    let image = &cached.image;
    let mut entry = Map::new();
    for (key, value) in &image.attributes {
        entry.insert(format!("hv:image.{key}"), value.clone());
    }
    for (key, value) in [
        ("dc:identifier", json!(image.identifier)),
        ("uuid", json!(image.identifier)),
        ("dc:title", json!(image.title)),
        ("dc:description", json!(image.description)),
        ("hv:uri", json!(image.uri)),
        ("uri", json!(image.uri)),
        ("hv:size", json!(image.size)),
        ("size", json!(image.size)),
        ("hv:version", json!(image.version)),
        ("hv:hypervisor", json!(image.hypervisor)),
        ("sl:arch", json!(image.arch)),
        ("sl:os", json!(image.os)),
        ("sl:osversion", json!(image.os_version)),
        ("sl:comments", json!(image.comments)),
        ("sl:checksum:sha512", json!(image.sha512)),
        ("sha512", json!(image.sha512)),
        ("filename", json!(image.identifier)),
        ("msgHash", json!(cached.message_sha512)),
        ("hv:imagelist.dc:identifier", json!(cached.list)),
    ] {
        entry.insert(key.to_owned(), value);
    }
    if let Some(vo) = &cached.vo {
        entry.insert("hv:imagelist.ad:vo".to_owned(), json!(vo));
    }
    Value::Object(entry)
}
