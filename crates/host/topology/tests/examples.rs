//! The examples are read without a warning, and the published JSON Schema is the one of this parser.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use vnode_topology::{Input, Lab, Nothing, export, parse};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn example(name: &str) -> Lab {
    let folder = root().join("examples").join(name);
    let file = folder.join("lab.clab.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    let file = file.display().to_string();
    let parsed = parse(Input { text: &text, file: &file, folder: &folder }, &Nothing)
        .unwrap_or_else(|rejected| panic!("{rejected}"));
    assert!(parsed.warnings.is_empty(), "{}", parsed.warnings[0]);
    assert_eq!(parsed.lab.name, name, "the lab is called as its folder");
    let whole = export(&parsed.lab);
    let again = parse(Input { text: &whole, file: "again", folder: &folder }, &Nothing).unwrap();
    assert_eq!(again.lab, parsed.lab);
    parsed.lab
}

#[test]
fn every_example_is_read() {
    let mut names: Vec<String> = std::fs::read_dir(root().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("lab.clab.yml").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    for expected in ["first", "impaired", "lan", "stages", "timeline"] {
        assert!(names.iter().any(|name| name == expected), "{expected} is missing");
    }
    for name in names {
        example(&name);
    }
}

#[test]
fn the_first_example_needs_neither_netem_nor_an_image() {
    let lab = example("first");
    assert!((3..=4).contains(&lab.nodes.len()));
    assert!(lab.nodes.iter().all(|node| node.image.as_deref() == Some("host")));
    let ends: Vec<_> = lab.links.iter().flat_map(|link| link.endpoints()).collect();
    assert!(ends.iter().all(|end| end.impair.needs_netem().is_empty()));
    assert!(ends.iter().any(|end| end.impair.rate_bps.is_some()));
    assert!(ends.iter().all(|end| end.ipv4.is_some()));
}

#[test]
fn the_impaired_example_is_different_each_way() {
    let lab = example("impaired");
    let link = lab.link("phone:eth1--tower:eth1").unwrap();
    assert_eq!(link.near.impair.rate_bps, Some(5_000_000));
    assert_eq!(link.far_impair().unwrap().rate_bps, Some(50_000_000));
    assert_eq!(link.near.impair.loss, 0.01);
    assert_eq!(link.far_impair().unwrap().loss, 0.01);
}

#[test]
fn the_published_schema_is_this_parsers() {
    let path = root().join("schemas/vnode-topology.schema.json");
    let made = format!("{:#}\n", vnode_topology::json_schema());
    if std::env::var_os("VNODE_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == made,
        "schemas/vnode-topology.schema.json is not up to date; run this test with VNODE_WRITE_SCHEMA=1"
    );
}

#[test]
fn every_file_of_the_reference_is_read() {
    let page = std::fs::read_to_string(root().join("docs/reference/topology.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 8);
    for text in blocks {
        let input = Input { text, file: "topology.md", folder: Path::new("/") };
        let parsed = parse(input, &Nothing).unwrap_or_else(|rejected| panic!("{rejected}"));
        assert!(parsed.warnings.is_empty(), "{}", parsed.warnings[0]);
    }
}
