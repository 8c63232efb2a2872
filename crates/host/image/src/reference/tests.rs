use std::collections::HashSet;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn registry_references_are_normalised_as_docker_does() {
    for (text, normal) in [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine:latest"),
        ("frrouting/frr:latest", "docker.io/frrouting/frr:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("127.0.0.1:5000/x:1", "127.0.0.1:5000/x:1"),
        ("[::1]:5000/x:1", "[::1]:5000/x:1"),
        ("ghcr.io/a/b__c/d-e.f:v1.2-3_4", "ghcr.io/a/b__c/d-e.f:v1.2-3_4"),
        ("tar:1.34", "docker.io/library/tar:1.34"),
        ("oci:latest", "docker.io/library/oci:latest"),
        ("hosts", "docker.io/library/hosts:latest"),
    ] {
        let parsed = Reference::parse(text).unwrap();
        assert_eq!(parsed.normalised("docker.io").to_string(), normal, "{text}");
    }
    let pinned = Reference::parse(&format!("ghcr.io/x/y@{DIGEST}")).unwrap();
    assert_eq!(pinned.to_string(), format!("ghcr.io/x/y@{DIGEST}"));
    let both = Reference::parse(&format!("x:1@{DIGEST}")).unwrap().normalised("r.example");
    assert_eq!(both.to_string(), format!("r.example/x:1@{DIGEST}"));
}

#[test]
fn sources_are_told_apart() {
    use Reference::*;
    for (text, reference) in [
        ("host", Host),
        ("tar:/a/b", Tarball("/a/b".into())),
        ("/a/b.tar.gz", Tarball("/a/b.tar.gz".into())),
        ("./b.tgz", Tarball("./b.tgz".into())),
        ("tar:b.tar", Tarball("b.tar".into())),
        ("oci:/a/b", Layout { path: "/a/b".into(), tag: None }),
        ("oci:/a:b/c:v1", Layout { path: "/a:b/c".into(), tag: Some("v1".into()) }),
        ("oci:/a:b/c", Layout { path: "/a:b/c".into(), tag: None }),
        ("docker-archive:/a.tar", DockerArchive { path: "/a.tar".into(), name: None }),
        (
            "docker-archive:/a.tar:ghcr.io/x/y:1",
            DockerArchive { path: "/a.tar".into(), name: Some("ghcr.io/x/y:1".into()) },
        ),
    ] {
        assert_eq!(Reference::parse(text).unwrap(), reference, "{text}");
    }
    let relative = Reference::parse("images/a.tar").unwrap().resolve_paths(Path::new("/lab"));
    assert_eq!(relative, Tarball("/lab/images/a.tar".into()));
}

#[test]
fn what_is_no_name_is_refused_with_a_reason() {
    for text in [
        "",
        "UPPER",
        "a b",
        "a//b",
        "/a",
        "a/",
        "a:",
        "a:-x",
        "a@",
        "a@sha256:12",
        "a..b",
        "a._b",
        "x.y:99999/z",
        "-a/b.c",
        "a.-b/c",
        "a\0b",
        "ä",
        "a,b",
        "..",
        "../a",
        "[::1]x/y",
        "a@@b",
    ] {
        assert!(matches!(Reference::parse(text), Err(Error::Reference { .. })), "{text:?}");
    }
    assert!(Reference::parse(&"a".repeat(5000)).is_err());
    // What is as long as can be is still a name once its registry is filled in.
    assert!(Reference::parse(&"a".repeat(248)).is_err());
    let longest = Reference::parse(&"a".repeat(247)).unwrap().normalised("docker.io");
    assert_eq!(Reference::parse(&longest.to_string()).unwrap(), longest);
}

#[test]
fn every_reference_is_read_back_from_its_text() {
    for text in [
        "host",
        "alpine",
        "a.example:5000/b/c:1",
        "tar:/x y/é",
        "r.tar",
        "./r.tar.zst",
        "oci:/a:t",
        "oci:./a",
        "docker-archive:/a.tar:b:1",
        "docker-archive:a.tar",
        "a:b.tar.gz",
        "oci:a:b.tar",
    ] {
        let parsed = Reference::parse(text).unwrap();
        assert_eq!(Reference::parse(&parsed.to_string()).unwrap(), parsed, "{text}");
    }
}

#[test]
fn t18_any_name_maps_to_a_safe_unique_folder_name() {
    let names = [
        "a,b",
        "a:b",
        "a/b",
        "a b",
        "a_b",
        "ä",
        "..",
        "../../etc",
        ".",
        "",
        "A_B",
        "a\nb",
        "con",
        &"x".repeat(5000),
        "a/b:c@d",
        "\u{1f600}",
    ];
    let safe: HashSet<String> = names.iter().map(|n| safe_name(n)).collect();
    assert_eq!(safe.len(), names.len());
    for name in safe {
        assert!(name.len() < 100 && !name.starts_with('.'), "{name}");
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase()
                || b.is_ascii_digit()
                || matches!(b, b'.' | b'_' | b'-')),
            "{name}"
        );
    }
    let (a, b) = (Reference::parse("a/b:c").unwrap(), Reference::parse("a/b_c").unwrap());
    assert_ne!(a.folder_name(), b.folder_name());
}

#[test]
fn the_word_of_signed_lists_alone_is_refused_and_the_repository_of_that_name_is_reached_in_full() {
    assert!(Reference::parse("list").unwrap_err().to_string().contains("list:IDENTIFIER"));
    let whole = Reference::parse("docker.io/library/list").unwrap();
    assert_eq!(whole.to_string(), "docker.io/library/list:latest");
    assert_eq!(Reference::parse(&whole.to_string()).unwrap(), whole);
}
