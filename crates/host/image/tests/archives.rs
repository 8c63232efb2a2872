//! Images of tarballs, layouts and docker archives: what comes in, and what hostile ones leave behind.
#![allow(clippy::unwrap_used)] // a panic is the right report

mod common;

use std::collections::HashSet;
use std::path::PathBuf;

use common::{
    Layer, Place, TestImage, digest, ensure, gzip, in_own_mounts, is_root, overlay, quick, runtime,
    tar_of, text, tree, write_files,
};
use vnode_image::{GcPolicy, Limits, NoProgress, Options, PullPolicy, Reference};

#[tokio::test]
async fn a_tarball_becomes_an_image_of_one_layer() {
    let place = Place::new(quick());
    let tar = Layer::new().folder("bin", 0o755).file("bin/sh", "shell").end();
    for (name, content) in [
        ("a.tar", tar.clone()),
        ("b.tar.gz", gzip(&tar)),
        ("c.tar.zst", zstd::encode_all(&tar[..], 1).unwrap()),
    ] {
        let path = place.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let image = place.ensure(path.to_str().unwrap()).await.unwrap();
        assert_eq!(image.layers.len(), 1);
        assert_eq!(std::fs::read(image.layers[0].join("bin/sh")).unwrap(), b"shell");
        assert_eq!(
            image.layers[0],
            place.root().join("layers").join(&digest(&tar)[7..]).join("root")
        );
    }
    // The same content under three names is one image, whatever it was packed with.
    assert_eq!(place.catalogue.list().len(), 1);
    assert_eq!(place.catalogue.list()[0].references.len(), 3);
    assert!(place.names("tmp").is_empty());
}

#[tokio::test]
async fn t13_a_replaced_file_is_a_new_image_and_the_old_one_stays_for_its_users() {
    let place = Place::new(quick());
    let path = place.folder.path().join("root.tar");
    let name = path.to_str().unwrap();
    std::fs::write(&path, Layer::new().file("version", "1").end()).unwrap();
    let old = place.ensure(name).await.unwrap();
    std::fs::write(&path, Layer::new().file("version", "22").end()).unwrap();
    let new = place.ensure(name).await.unwrap();
    assert_ne!(old.id, new.id);
    assert_eq!(std::fs::read(new.layers[0].join("version")).unwrap(), b"22");
    let in_use = HashSet::from([old.id.clone()]);
    let old_layer = old.layers[0].clone();
    drop((old, new));
    let report = place
        .catalogue
        .gc(&|| in_use.clone(), GcPolicy { keep_bytes: Some(u64::MAX), ..GcPolicy::default() })
        .unwrap();
    assert!(report.images.is_empty());
    place.catalogue.gc(&|| in_use.clone(), GcPolicy::default()).unwrap();
    assert_eq!(std::fs::read(old_layer.join("version")).unwrap(), b"1");
    place.catalogue.gc(&HashSet::new, GcPolicy::default()).unwrap();
    assert!(!old_layer.exists());
    place.assert_empty();
}

#[tokio::test]
async fn t15_an_image_whose_source_is_gone_or_broken_stays_usable() {
    let place = Place::new(quick());
    let path = place.folder.path().join("root.tar");
    let name = path.to_str().unwrap();
    std::fs::write(&path, Layer::new().file("version", "1").end()).unwrap();
    let image = place.ensure(name).await.unwrap();
    std::fs::write(&path, "not a tar any more").unwrap();
    let e = place.ensure(name).await.unwrap_err();
    assert!(text(&e).contains("not a tar archive"), "{}", text(&e));
    assert_eq!(std::fs::read(image.layers[0].join("version")).unwrap(), b"1");
    ensure(&place.catalogue, name, PullPolicy::Never).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(place.ensure(name).await.unwrap().id, image.id);
    assert!(ensure(&place.catalogue, name, PullPolicy::Always).await.is_err());
    assert_eq!(place.catalogue.list().len(), 1);
}

#[tokio::test]
async fn layouts_are_read_as_folder_tar_and_packed_tar() {
    let image = TestImage::new(&[
        Layer::new().file("a", "lowest").end(),
        Layer::new().file("b", "middle").end(),
        Layer::new().file("c", "uppermost").end(),
    ]);
    let place = Place::new(quick());
    let at = place.folder.path();
    write_files(&at.join("layout"), &image.layout("v1"));
    let tar = tar_of(&image.layout("v1"));
    std::fs::write(at.join("layout.tar"), &tar).unwrap();
    std::fs::write(at.join("layout.tar.gz"), gzip(&tar)).unwrap();
    for name in ["layout", "layout:v1", "layout.tar", "layout.tar:v1", "layout.tar.gz"] {
        let found = place.ensure(&format!("oci:{}/{name}", at.display())).await.unwrap();
        assert_eq!(found.id, image.id());
        let files: Vec<_> = found.layers.iter().map(|l| common::names(l)).collect();
        assert_eq!(files, [["c"], ["b"], ["a"]], "uppermost first");
        assert_eq!((found.config.cmd, found.config.user), (vec!["/bin/sh".to_owned()], "7".into()));
    }
    let e = place.ensure(&format!("oci:{}/layout:v2", at.display())).await.unwrap_err();
    assert!(text(&e).contains("holds no image `v2`; it holds: v1"), "{}", text(&e));
}

#[tokio::test]
async fn archives_of_docker_save_are_read_old_and_new() {
    let plain = [Layer::new().file("a", "1").end(), Layer::new().file("b", "2").end()];
    let config = TestImage::new(&plain).config;
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": ["frr/frr:1", "other:2"], "Layers": ["x/layer.tar", "y/layer.tar"]},
        {"Config": "other.json", "RepoTags": null, "Layers": []},
    ]);
    let files = [
        ("x/layer.tar".to_owned(), plain[0].clone()),
        ("config.json".to_owned(), config.clone()),
        ("other.json".to_owned(), b"{}".to_vec()),
        ("manifest.json".to_owned(), serde_json::to_vec(&manifest).unwrap()),
    ];
    // Old archives link a layer that occurs twice.
    let tar = files.iter().fold(
        Layer::new().file("z/layer.tar", &plain[1]).symlink("y/layer.tar", "../z/layer.tar"),
        |layer, (name, content)| layer.file(name, content),
    );
    let place = Place::new(quick());
    let path = place.folder.path().join("saved.tar");
    std::fs::write(&path, tar.end()).unwrap();
    for name in ["frr/frr:1", "docker.io/frr/frr:1", "other:2"] {
        let image =
            place.ensure(&format!("docker-archive:{}:{name}", path.display())).await.unwrap();
        assert_eq!(image.id, digest(&config));
        assert_eq!(common::names(&image.layers[0]), ["b"]);
    }
    let e = place.ensure(&format!("docker-archive:{}", path.display())).await.unwrap_err();
    assert!(
        text(&e).contains("holds 2 images; name one of them: frr/frr:1, other:2"),
        "{}",
        text(&e)
    );
}

#[tokio::test]
async fn t16_a_missing_middle_layer_is_an_error_before_anything_is_made() {
    let image = TestImage::new(&[
        Layer::new().file("a", "1").end(),
        Layer::new().file("b", "2").end(),
        Layer::new().file("c", "3").end(),
    ]);
    let place = Place::new(quick());
    let at = place.folder.path().join("layout");
    write_files(&at, &image.layout("x"));
    let middle = at.join("blobs").join(digest(&image.layers[1]).replace(':', "/"));
    std::fs::remove_file(&middle).unwrap();
    let e = place.ensure(&format!("oci:{}", at.display())).await.unwrap_err();
    assert!(
        text(&e).contains(&digest(&image.layers[1])[7..]) && text(&e).contains("is missing"),
        "{}",
        text(&e)
    );
    place.assert_empty();
    // Mended, it comes in.
    std::fs::write(&middle, &image.layers[1]).unwrap();
    place.ensure(&format!("oci:{}", at.display())).await.unwrap();
}

/// Base and two deltas with every kind of change.
fn deltas() -> Vec<Vec<u8>> {
    vec![
        Layer::new()
            .folder("etc", 0o755)
            .file("etc/keep", "base")
            .file("etc/change", "base")
            .file("etc/gone", "base")
            .folder("old", 0o700)
            .file("old/x", "base")
            .folder("swap", 0o755)
            .file("swap/x", "base")
            .file("was-file", "base")
            .folder("was-folder", 0o755)
            .file("was-folder/x", "base")
            .symlink("link", "etc/keep")
            .end(),
        Layer::new()
            .folder("etc", 0o711)
            .file("etc/change", "delta 1")
            .file("etc/.wh.gone", "")
            .file("swap/.wh..wh..opq", "")
            .file("swap/y", "delta 1")
            .file(".wh.old", "")
            .file("was-file/inside", "delta 1")
            .end(),
        Layer::new()
            .file("etc/change", "delta 2")
            .folder("old", 0o750)
            .file("old/y", "delta 2")
            .file(".wh.was-folder", "")
            .file("was-folder", "delta 2")
            .file(".wh.link", "")
            .file("etc/gone", "back")
            .end(),
    ]
}

#[test]
fn t16_base_and_two_deltas_are_the_flattened_image() {
    if !is_root() {
        return;
    }
    in_own_mounts(|| {
        let place = Place::new(quick());
        let at = place.folder.path().to_owned();
        write_files(&at.join("layout"), &TestImage::new(&deltas()).layout("x"));
        let layered =
            runtime().block_on(place.ensure(&format!("oci:{}/layout", at.display()))).unwrap();
        let flat = Layer::new()
            .folder("etc", 0o711)
            .file("etc/keep", "base")
            .file("etc/change", "delta 2")
            .file("etc/gone", "back")
            .folder("old", 0o750)
            .file("old/y", "delta 2")
            .folder("swap", 0o755)
            .file("swap/y", "delta 1")
            .folder("was-file", 0o755)
            .file("was-file/inside", "delta 1")
            .file("was-folder", "delta 2")
            .end();
        std::fs::write(at.join("flat.tar"), flat).unwrap();
        let flat = runtime().block_on(place.ensure(&format!("{}/flat.tar", at.display()))).unwrap();
        let of = |layers: &[PathBuf], name: &str| {
            let scratch = at.join(name);
            std::fs::create_dir(&scratch).unwrap();
            tree(&overlay(layers, &scratch))
        };
        let (layered, flat) = (of(&layered.layers, "1"), of(&flat.layers, "2"));
        assert_eq!(layered, flat);
    });
}

#[tokio::test]
async fn hostile_layers_leave_nothing_behind() {
    let traversal =
        Layer::new().symlink("out", "../../../../..").file("out/planted-by-a-layer", "x").end();
    let limits = Limits {
        unpack: vnode_beneath::Limits { bytes: 1 << 20, entries: 100, ..Default::default() },
        ..Limits::default()
    };
    let mut device = tar::Header::new_gnu();
    device.set_entry_type(tar::EntryType::Char);
    device.set_path("whiteout").unwrap();
    device.set_device_major(0).unwrap();
    device.set_device_minor(0).unwrap();
    device.set_size(0);
    device.set_mode(0o600);
    device.set_cksum();
    let mut whiteout = device.as_bytes().to_vec();
    whiteout.resize(2048, 0);
    let good = Layer::new().file("x", vec![b'x'; 5000]).end();
    for (what, plain, expected) in [
        ("bomb", Layer::new().file("zeros", vec![0; 8 << 20]).end(), "more than 1048576 bytes"),
        (
            "many",
            (0..200).fold(Layer::new(), |l, n| l.file(&format!("f{n}"), "")).end(),
            "more than 100 entries",
        ),
        (
            "hard link",
            Layer::new().hard_link("passwd", "../../../../etc/passwd").end(),
            "leads out of the archive's root",
        ),
        ("whiteout", whiteout, "device 0/0"),
        ("truncated", good[..3000].to_vec(), "ends in the middle"),
        ("no tar", b"<html>".repeat(1000), "not a tar archive"),
    ] {
        let place = Place::new(Options { limits, ..quick() });
        let image = TestImage::new(std::slice::from_ref(&plain));
        write_files(&place.folder.path().join("layout"), &image.layout("x"));
        let e = place
            .ensure(&format!("oci:{}/layout", place.folder.path().display()))
            .await
            .unwrap_err();
        assert!(text(&e).contains(expected), "{what}: {}", text(&e));
        assert!(text(&e).contains("layout"), "{what}: {}", text(&e));
        place.assert_empty();
    }
    // Taken from its own root, as after chroot: nothing is outside.
    let place = Place::new(Options { limits, ..quick() });
    std::fs::write(place.folder.path().join("t.tar"), traversal).unwrap();
    let image = place.ensure(&format!("{}/t.tar", place.folder.path().display())).await.unwrap();
    assert!(image.layers[0].join("planted-by-a-layer").exists());
    assert!(!std::path::Path::new("/planted-by-a-layer").exists());
}

#[tokio::test]
async fn wrong_digests_in_a_layout_are_told_apart() {
    let image = TestImage::new(&[Layer::new().file("a", "1").end()]);
    let place = Place::new(quick());
    let at = place.folder.path();
    let path_of = |blob: &[u8]| at.join("layout/blobs").join(digest(blob).replace(':', "/"));
    for (blob, what) in [
        (&image.layers[0], "layer"),
        (&image.config, "blobs/sha256"),
        (&image.manifest, "blobs/sha256"),
    ] {
        write_files(&at.join("layout"), &image.layout("x"));
        let mut damaged = blob.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        std::fs::write(path_of(blob), damaged).unwrap();
        let e = place.ensure(&format!("oci:{}/layout", at.display())).await.unwrap_err();
        let text = text(&e);
        assert!(
            text.contains(what) && text.contains("has digest") && text.contains(&digest(blob)),
            "{text}"
        );
        place.assert_empty();
    }
    // A layer that unpacks to something else than the configuration says.
    let wrong = TestImage::assembled(image.layers.clone(), vec!["tar+gzip"], vec![digest(b"else")]);
    write_files(&at.join("wrong"), &wrong.layout("x"));
    let e = place.ensure(&format!("oci:{}/wrong", at.display())).await.unwrap_err();
    assert!(text(&e).contains("as its image configuration says"), "{}", text(&e));
    // More diff ids than layers.
    let wrong = TestImage::assembled(
        image.layers.clone(),
        vec!["tar+gzip"],
        vec![digest(b"1"), digest(b"2")],
    );
    write_files(&at.join("count"), &wrong.layout("x"));
    let e = place.ensure(&format!("oci:{}/count", at.display())).await.unwrap_err();
    assert!(text(&e).contains("2 unpacked layers, the manifest 1"), "{}", text(&e));
    place.assert_empty();
}

#[tokio::test]
async fn an_image_without_layers_and_one_with_the_same_layer_twice_can_be_mounted() {
    let place = Place::new(quick());
    let at = place.folder.path();
    write_files(&at.join("none"), &TestImage::new(&[]).layout("x"));
    let layer = Layer::new().file("a", "1").end();
    write_files(
        &at.join("twice"),
        &TestImage::new(&[layer.clone(), layer.clone(), layer]).layout("x"),
    );
    for name in ["none", "twice"] {
        let image = place.ensure(&format!("oci:{}/{name}", at.display())).await.unwrap();
        assert_eq!(image.layers.len(), 1, "{name}");
        assert!(image.layers[0].is_dir());
    }
}

#[tokio::test]
async fn an_import_goes_by_its_new_name() {
    let place = Place::new(quick());
    let path = place.folder.path().join("root.tar");
    std::fs::write(&path, Layer::new().file("a", "1").end()).unwrap();
    let source = Reference::Tarball(path);
    let import = |name| place.catalogue.import(&source, name, &NoProgress, Default::default());
    let image = import("example/router:1").await.unwrap();
    assert_eq!(image.reference, "docker.io/example/router:1");
    let again =
        ensure(&place.catalogue, "example/router:1", PullPolicy::IfNotPresent).await.unwrap();
    assert_eq!(again.id, image.id);
    assert!(import("oci:/x").await.is_err() && import("Not A Name").await.is_err());
    assert_eq!(place.catalogue.inspect("example/router:1").unwrap().id, image.id);
    assert_eq!(place.catalogue.inspect(&image.id[7..17]).unwrap().id, image.id);
    assert!(place.catalogue.inspect("example/other").is_err());
    // A second name for the same content; each goes alone, the image with the last.
    import("example/router:2").await.unwrap();
    let id = image.id.clone();
    drop((image, again));
    place.catalogue.remove("example/router:1", &|| HashSet::from([id.clone()])).unwrap();
    let e =
        place.catalogue.remove("example/router:2", &|| HashSet::from([id.clone()])).unwrap_err();
    assert!(text(&e).contains("in use"), "{}", text(&e));
    place.catalogue.remove("example/router:2", &HashSet::new).unwrap();
    place.assert_empty();
}

#[tokio::test]
async fn a_relative_path_is_refused_by_name() {
    let place = Place::new(quick());
    let e = place.ensure("images/root.tar").await.unwrap_err();
    assert!(text(&e).contains("`images/root.tar` must be an absolute path"), "{}", text(&e));
    let e = place.ensure("/not/there.tar").await.unwrap_err();
    assert!(text(&e).contains("cannot open `/not/there.tar`"), "{}", text(&e));
}
