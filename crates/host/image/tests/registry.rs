//! Pulls from a registry: Debian's own, and one that lies.
#![allow(clippy::unwrap_used)] // a panic is the right report

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::liar::{Liar, Lie};
use common::registry::Registry;
use common::{Layer, Place, TestImage, digest, ensure, gzip, quick, text};
use tokio_util::sync::CancellationToken;
use vnode_image::{
    Credential, Error, Limits, NoProgress, Options, Phase, PullPolicy, PullProgress, Reference,
};

/// Bytes that do not pack, the same each time.
fn noise(length: usize, mut seed: u32) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as u8
    };
    (0..length).map(|_| next()).collect()
}

fn image(seed: u32) -> TestImage {
    TestImage::new(&[
        Layer::new().folder("bin", 0o755).file("bin/sh", noise(300_000, seed)).end(),
        Layer::new().file("etc/seed", seed.to_string()).end(),
        Layer::new().file("third", noise(100_000, seed + 1)).end(),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t11_t12_twenty_at_once_are_one_download() {
    let Some(registry) = Registry::start(None) else { return };
    let image = image(1);
    registry.push("lab/router:1", &image).await;
    let place = Arc::new(Place::new(quick()));
    let name = format!("{}/lab/router:1", registry.address);
    let all = (0..20).map(|_| {
        let (place, name) = (place.clone(), name.clone());
        tokio::spawn(async move { place.ensure(&name).await.unwrap() })
    });
    let all = futures_util::future::join_all(all).await;
    let first = all[0].as_ref().unwrap();
    assert_eq!(first.id, image.id());
    assert!(all.iter().all(|i| i.as_ref().unwrap().layers == first.layers));
    assert_eq!(std::fs::read(first.layers[2].join("bin/sh")).unwrap(), noise(300_000, 1));
    // And again when it is here: nothing is asked for.
    place.ensure(&name).await.unwrap();
    // A pull asks for the manifest only.
    ensure(&place.catalogue, &name, PullPolicy::Always).await.unwrap();
    for blob in &image.layers {
        assert_eq!(registry.blob_requests(blob), 1);
    }
    // A second image of the same layers but one.
    let mut plain = vec![
        Layer::new().folder("bin", 0o755).file("bin/sh", noise(300_000, 1)).end(),
        Layer::new().file("etc/seed", "1").end(),
    ];
    plain.push(Layer::new().file("other", "x").end());
    let second = TestImage::new(&plain);
    registry.push("lab/other:1", &second).await;
    let second = place.ensure(&format!("{}/lab/other:1", registry.address)).await.unwrap();
    assert_eq!(second.layers[1..], first.layers[1..]);
    assert_eq!(registry.blob_requests(&image.layers[0]), 1);
    assert_eq!(place.names("layers").len(), 4);
}

#[tokio::test]
async fn t13_a_moved_tag_leads_to_the_new_image_and_the_old_one_stays() {
    let Some(registry) = Registry::start(None) else { return };
    let (old, new) = (image(1), image(2));
    let place = Place::new(quick());
    let name = format!("{}/r:latest", registry.address);
    registry.push("r:latest", &old).await;
    let first = place.ensure(&name).await.unwrap();
    registry.push("r:latest", &new).await;
    assert_eq!(place.ensure(&name).await.unwrap().id, old.id(), "not looked for unless asked");
    let second = ensure(&place.catalogue, &name, PullPolicy::Always).await.unwrap();
    assert_eq!(second.id, new.id());
    assert_eq!(place.ensure(&name).await.unwrap().id, new.id());
    assert!(first.layers.iter().all(|l| l.is_dir()));
    let pinned = format!("{}/r@{}", registry.address, digest(&old.manifest));
    assert_eq!(place.ensure(&pinned).await.unwrap().id, old.id());
    let infos = place.catalogue.list();
    assert_eq!(infos.len(), 2);
    assert!(infos.iter().any(|i| i.manifest_digest == Some(digest(&new.manifest))));
}

#[tokio::test]
async fn credentials_come_from_the_settings_or_dockers_file() {
    let login =
        ("ann", "pass:word", "ann:$2y$04$O9hlSc72YBbgoUC4rwXVUeICNWvRfST5YoqyE5ngl8x3xuEdWkeVa\n");
    let Some(registry) = Registry::start(Some(login)) else { return };
    let image = image(3);
    registry.push("private:1", &image).await;
    let name = format!("{}/private:1", registry.address);
    let with = |credential: Option<(&str, &str)>| {
        let credentials = credential.map(|(user, password)| {
            let basic = Credential::Basic { user: user.into(), password: password.into() };
            (registry.address.clone(), basic)
        });
        Options { credentials: credentials.into_iter().collect(), ..quick() }
    };
    let place = Place::new(with(None));
    let e = text(&place.ensure(&name).await.unwrap_err());
    assert!(
        e.contains("wants a login") && e.contains(&registry.address) && e.contains("private"),
        "{e}"
    );
    place.assert_empty();
    let e = text(&Place::new(with(Some(("ann", "wrong")))).ensure(&name).await.unwrap_err());
    assert!(e.contains("does not accept the credentials"), "{e}");
    Place::new(with(Some(("ann", "pass:word")))).ensure(&name).await.unwrap();
    let place = Place::new(quick());
    let file = place.folder.path().join("config.json");
    let auths =
        serde_json::json!({"auths": {registry.address.clone(): {"auth": "YW5uOnBhc3M6d29yZA=="}}});
    std::fs::write(&file, auths.to_string()).unwrap();
    let place = Place::new(Options { auth_file: Some(file), ..quick() });
    place.ensure(&name).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_told_by_name() {
    let Some(registry) = Registry::start(None) else { return };
    registry.push("r:1", &image(4)).await;
    let place = Place::new(quick());
    for name in ["r:2", "nothing:1"] {
        let e = text(&place.ensure(&format!("{}/{name}", registry.address)).await.unwrap_err());
        assert!(e.contains(&registry.address) && e.contains(name) && e.contains("404"), "{e}");
    }
    let e = text(&place.ensure("127.0.0.1:1/r:1").await.unwrap_err());
    assert!(e.contains("127.0.0.1:1 cannot be reached"), "{e}");
    let name = Reference::parse(&format!("{}/r:1", registry.address)).unwrap();
    let never = place.catalogue.ensure(&name, PullPolicy::Never, &NoProgress, Default::default());
    assert!(matches!(never.await, Err(Error::Unknown { .. })));
    place.assert_empty();
}

#[tokio::test]
async fn t14_a_broken_transfer_goes_on_where_it_ended() {
    let liar = Liar::start().await;
    let image = image(5);
    let name = liar.serve("r", "1", &image);
    let blob = Liar::blob("r", &image.layers[0]);
    let size = image.layers[0].len();
    let half = size / 2;
    for (lies, ranges) in [
        (vec![Lie::CutAt(half)], vec![0, half]),
        (vec![Lie::ShortAt(half)], vec![0, half]),
        (vec![Lie::StallAt(half)], vec![0, half]),
        (
            vec![Lie::CutAt(half), Lie::CutAt(100), Lie::CutAt(100)],
            vec![0, half, half + 100, half + 200],
        ),
        // Asked for the rest, it sends the whole.
        (vec![Lie::CutAt(half), Lie::NoRanges], vec![0, half]),
        // A range that was not asked for is not used; the whole is asked for.
        (vec![Lie::CutAt(half), Lie::WrongRange], vec![0, half, 0]),
        (vec![Lie::CutAt(half), Lie::Status(416)], vec![0, half, 0]),
        (vec![Lie::Status(503), Lie::Status(429), Lie::Honest], vec![0, 0, 0]),
    ] {
        let place = Place::new(quick());
        let before = liar.requests(&blob).len();
        liar.lie(&blob, lies.clone());
        let image = place.ensure(&name).await.unwrap_or_else(|e| panic!("{lies:?}: {}", text(&e)));
        assert_eq!(
            std::fs::read(image.layers[2].join("bin/sh")).unwrap(),
            noise(300_000, 5),
            "{lies:?}"
        );
        let asked: Vec<usize> = liar.requests(&blob)[before..]
            .iter()
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        // Pieces are counted as they arrive: a cut may lose what was on the way.
        assert_eq!(asked.len(), ranges.len(), "{lies:?} {asked:?}");
        for (asked, wanted) in asked.iter().zip(&ranges) {
            assert!(
                asked <= wanted && (*asked > 0) == (*wanted > 0),
                "{lies:?}: {asked} for {wanted}"
            );
        }
    }
}

#[tokio::test]
async fn t14_lies_are_errors_with_nothing_left_and_the_next_try_downloads_again() {
    let liar = Liar::start().await;
    let image = image(6);
    let name = liar.serve("r", "1", &image);
    let manifest = "/v2/r/manifests/1";
    let blob = Liar::blob("r", &image.layers[0]);
    let config = Liar::blob("r", &image.config);
    let options = || Options {
        limits: Limits { manifest_bytes: 100_000, ..Limits::default() },
        attempts: 2,
        ..quick()
    };
    for (path, lie, expected) in [
        (&*blob, Lie::Garbage, "has digest"),
        (&*blob, Lie::TooMuch, "more than"),
        (&*blob, Lie::Endless, "more than"),
        (&*blob, Lie::Status(404), "404"),
        (&*blob, Lie::Status(500), "answered 500"),
        (&*blob, Lie::CutAt(0), "broke off"),
        (&*blob, Lie::StallAt(0), "sent nothing for"),
        (&*config, Lie::Garbage, "with digest"),
        (&*config, Lie::Endless, "more than 100000 bytes"),
        (manifest, Lie::Endless, "more than 100000 bytes"),
        (manifest, Lie::Garbage, "not usable"),
        (manifest, Lie::Status(403), "answered 403"),
        (manifest, Lie::StallAt(10), "sent nothing for"),
    ] {
        let place = Place::new(options());
        liar.lie(path, std::iter::repeat_n(lie.clone(), 50));
        let e = text(&place.ensure(&name).await.unwrap_err());
        assert!(e.contains(expected), "{lie:?}: {e}");
        assert!(e.contains(&name) && e.contains(&liar.address), "{lie:?}: {e}");
        place.assert_empty();
        liar.lie(path, []);
        place.ensure(&name).await.unwrap();
    }
}

#[tokio::test]
async fn a_pinned_manifest_is_verified() {
    let liar = Liar::start().await;
    let (promised, served) = (image(7), image(8));
    liar.serve("r", "1", &served);
    let path = format!("/v2/r/manifests/{}", digest(&promised.manifest));
    liar.put(&path, &served.manifest, "application/vnd.oci.image.manifest.v1+json");
    let place = Place::new(quick());
    let name = format!("{}/r@{}", liar.address, digest(&promised.manifest));
    let e = text(&place.ensure(&name).await.unwrap_err());
    assert!(e.contains("damaged or changed") && e.contains(&digest(&promised.manifest)), "{e}");
    place.assert_empty();
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_this_machine() {
    let liar = Liar::start().await;
    let image = image(9);
    liar.serve("r", "1", &image);
    let architecture = vnode_image::manifest::this_machine().architecture;
    let entry = |architecture: &str, digest: String| {
        serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1, "digest": digest,
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = |entries: &[serde_json::Value]| {
        serde_json::to_vec(&serde_json::json!({"schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}))
        .unwrap()
    };
    let other = entry("pdp11", digest(b"other"));
    let both = index(&[other.clone(), entry(&architecture, digest(&image.manifest))]);
    let media_type = "application/vnd.oci.image.index.v1+json";
    liar.put("/v2/r/manifests/multi", &both, media_type);
    liar.put("/v2/r/manifests/foreign", &index(&[other]), media_type);
    let place = Place::new(quick());
    let found = place.ensure(&format!("{}/r:multi", liar.address)).await.unwrap();
    assert_eq!(found.id, image.id());
    assert_eq!(place.catalogue.list()[0].manifest_digest, Some(digest(&both)));
    let e = text(&place.ensure(&format!("{}/r:foreign", liar.address)).await.unwrap_err());
    assert!(e.contains("it has: linux/pdp11"), "{e}");
}

#[tokio::test]
async fn mirrors_are_tried_in_order_and_a_wrong_one_is_passed_over() {
    let [first, second, own] = [Liar::start().await, Liar::start().await, Liar::start().await];
    let image = image(10);
    own.serve("r", "1", &image);
    second.serve("cache/r", "1", &image);
    first.serve("r", "1", &image);
    let options = || Options {
        mirrors: [(
            own.address.clone(),
            vec![first.address.clone(), format!("{}/cache", second.address)],
        )]
        .into(),
        attempts: 1,
        ..quick()
    };
    let name = format!("{}/r:1", own.address);
    let blob = &image.layers[0];
    Place::new(options()).ensure(&name).await.unwrap();
    assert_eq!(first.requests(&Liar::blob("r", blob)).len(), 1);
    assert!(second.requests(&Liar::blob("cache/r", blob)).is_empty());
    // The first has the manifest, but not this layer; the second serves something else; the registry has it.
    first.lie(&Liar::blob("r", blob), [Lie::Status(404)]);
    second.lie(&Liar::blob("cache/r", blob), [Lie::Garbage, Lie::Garbage]);
    let place = Place::new(options());
    place.ensure(&name).await.unwrap();
    assert!(own.requests(&Liar::blob("r", blob)).len() == 1);
    assert!(place.names("tmp").is_empty());
}

#[tokio::test]
async fn cancelling_ends_one_wait_and_the_last_one_ends_the_work() {
    let liar = Liar::start().await;
    let image = image(11);
    let name = liar.serve("r", "1", &image);
    let blob = Liar::blob("r", &image.layers[0]);
    liar.lie(&blob, [Lie::StallAt(1000), Lie::StallAt(1000), Lie::StallAt(1000)]);
    let options = Options { stall_time: Duration::from_secs(50), ..quick() };
    let place = Place::new(options);
    let reference = Reference::parse(&name).unwrap();
    let tokens = [CancellationToken::new(), CancellationToken::new()];
    let wait = |token: &CancellationToken| {
        place.catalogue.ensure(&reference, PullPolicy::IfNotPresent, &NoProgress, token.clone())
    };
    let (a, b, ()) = tokio::join!(wait(&tokens[0]), wait(&tokens[1]), async {
        while liar.requests(&blob).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokens[0].cancel();
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The other layers may still be on their way; the one that stands still stays.
        while place.names("tmp").len() != 1 {
            assert!(!place.names("tmp").is_empty(), "the other still waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokens[1].cancel();
    });
    assert!(matches!(a, Err(Error::Cancelled { .. })) && matches!(b, Err(Error::Cancelled { .. })));
    place.assert_empty();
    liar.lie(&blob, []);
    place.ensure(&name).await.unwrap();
}

#[tokio::test]
async fn the_whole_pull_has_a_limit_too() {
    let liar = Liar::start().await;
    let image = image(12);
    let name = liar.serve("r", "1", &image);
    // Each try brings a little, so no stall and no count of tries ends it.
    liar.lie(&Liar::blob("r", &image.layers[0]), std::iter::repeat_n(Lie::CutAt(10), 1000));
    let options = Options {
        total_time: Duration::from_millis(300),
        backoff: Duration::from_millis(20),
        ..quick()
    };
    let place = Place::new(options);
    let e = place.ensure(&name).await.unwrap_err();
    assert!(matches!(e, Error::TooSlow { .. }), "{}", text(&e));
    place.assert_empty();
}

#[tokio::test]
async fn progress_is_told() {
    let liar = Liar::start().await;
    let image = image(13);
    let name = Reference::parse(&liar.serve("r", "1", &image)).unwrap();
    let total: usize = image.layers.iter().map(Vec::len).sum();
    liar.lie(&Liar::blob("r", &image.layers[0]), [Lie::StallAt(100_000)]);
    let place = Place::new(quick());
    let seen = std::sync::Mutex::new(Vec::new());
    let listen = |p: &PullProgress| seen.lock().unwrap().push(p.clone());
    place.catalogue.ensure(&name, PullPolicy::Always, &listen, Default::default()).await.unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(
        seen.iter().any(|p| p.phase == Phase::Fetching
            && p.bytes_total == total as u64
            && p.bytes_done > 0
            && p.layers_total == 3),
        "{seen:?}"
    );
    assert!(seen.windows(2).all(|w| w[0].bytes_done <= w[1].bytes_done));
}

#[tokio::test]
async fn a_full_disk_is_told_as_such() {
    if !common::is_root() {
        return;
    }
    let liar = Liar::start().await;
    let image = TestImage::assembled(
        vec![gzip(&Layer::new().file("big", noise(4 << 20, 14)).end())],
        vec!["tar+gzip"],
        vec![digest(&Layer::new().file("big", noise(4 << 20, 14)).end())],
    );
    let name = liar.serve("r", "1", &image);
    // t19: a file system of 2 MiB, on a thread of its own with a server of ours reached over loopback.
    tokio::task::spawn_blocking(move || {
        common::in_own_mounts(move || {
            let folder = tempfile::tempdir().unwrap();
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("none", folder.path(), "tmpfs", flags, c"size=2m").unwrap();
            let root = folder.path().join("images");
            let catalogue = vnode_image::Catalogue::open(&root, quick()).unwrap();
            let pulled = common::runtime().block_on(ensure(&catalogue, &name, PullPolicy::Always));
            let e = text(&pulled.unwrap_err());
            assert!(e.contains("the disk is full"), "{e}");
            assert!(common::names(&root.join("layers")).is_empty());
            assert!(common::names(&root.join("tmp")).is_empty());
        });
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn https_is_believed_only_with_a_trusted_certificate() {
    let key =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
    drop(rustls::crypto::ring::default_provider().install_default());
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private.into())
        .unwrap();
    let liar = Liar::start_tls(config).await;
    let image = image(15);
    liar.serve("r", "1", &image);
    let with = |extra_certificates| {
        // The name of a registry that is not there: only its mirror, given with its scheme, answers.
        let mirror = format!("https://{}", liar.address);
        Options {
            mirrors: [("127.0.0.1:1".to_owned(), vec![mirror])].into(),
            extra_certificates,
            attempts: 1,
            ..quick()
        }
    };
    let place = Place::new(with(None));
    assert!(place.ensure("127.0.0.1:1/r:1").await.is_err());
    assert!(
        liar.requests("/v2/r/manifests/1").is_empty(),
        "asked before the certificate was believed"
    );
    place.assert_empty();
    let file = place.folder.path().join("ca.pem");
    std::fs::write(&file, key.cert.pem()).unwrap();
    let trusting = Place::new(with(Some(file.clone())));
    assert_eq!(trusting.ensure("127.0.0.1:1/r:1").await.unwrap().id, image.id());
    std::fs::write(&file, "no certificate").unwrap();
    let e = text(&Place::new(with(Some(file))).ensure("127.0.0.1:1/r:1").await.unwrap_err());
    assert!(e.contains("cannot use the certificates in"), "{e}");
}

#[tokio::test]
async fn a_token_service_is_asked_where_the_registry_names_one() {
    let liar = Liar::start().await;
    let image = image(16);
    let name = liar.serve("r", "1", &image);
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"lab\"", liar.address);
    liar.put(
        "/token?scope=repository%3Ar%3Apull&service=lab",
        br#"{"token":"abc"}"#,
        "application/json",
    );
    liar.want_authorisation(&challenge, "Bearer abc");
    let place = Place::new(quick());
    place.ensure(&name).await.unwrap();
    // One token serves the whole pull.
    assert_eq!(liar.requests("/token?scope=repository%3Ar%3Apull&service=lab").len(), 1);
    // A mirror's repositories have names of their own, with its prefix.
    let mirror = Liar::start().await;
    mirror.serve("cache/r", "1", &image);
    let challenge_of = format!("Bearer realm=\"http://{}/token\",service=\"lab\"", mirror.address);
    mirror.put(
        "/token?scope=repository%3Acache%2Fr%3Apull&service=lab",
        br#"{"token":"def"}"#,
        "application/json",
    );
    mirror.want_authorisation(&challenge_of, "Bearer def");
    let mirrors = [(liar.address.clone(), vec![format!("{}/cache", mirror.address)])].into();
    Place::new(Options { mirrors, ..quick() }).ensure(&name).await.unwrap();
    assert_eq!(mirror.requests(&Liar::blob("cache/r", &image.layers[0])).len(), 1);
    liar.want_authorisation(&challenge, "Bearer other");
    let e = text(&Place::new(quick()).ensure(&name).await.unwrap_err());
    assert!(e.contains("wants a login"), "{e}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artefacts_and_what_a_registry_has_are_told_by_a_real_one() {
    let Some(registry) = Registry::start(None) else { return };
    let mut disk = noise(70_000, 7);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let config = b"{}".to_vec();
    let descriptor = |kind: &str, blob: &[u8]| {
        format!(
            r#"{{"mediaType":"{kind}","digest":"{}","size":{},"annotations":{{"eu.egi.cloud.tag":"a"}}}}"#,
            digest(blob),
            blob.len()
        )
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}],
        "annotations":{{"org.openstack.glance.disk_format":"raw","eu.egi.cloud.tag":"b"}}}}"#,
        descriptor("application/vnd.oci.empty.v1+json", &config),
        descriptor("application/x-qemu-disk", &disk),
    );
    let image = TestImage {
        layers: vec![disk.clone()],
        layer_types: Vec::new(),
        diff_ids: Vec::new(),
        config,
        manifest: manifest.into_bytes(),
    };
    for name in ["vms/one:1", "vms/one:2", "vms/two:1", "other/three:1"] {
        registry.push(name, &image).await;
    }
    let client = vnode_image::artefact::Registry::new(quick()).unwrap();
    let cancel = CancellationToken::new();
    let reference = client.reference(&format!("{}/vms/one:2", registry.address)).unwrap();
    assert_eq!(client.tags(&reference, &cancel).await.unwrap(), ["1", "2"]);
    let mut found = client.repositories(&registry.address, "vms", &cancel).await.unwrap();
    found.sort();
    assert_eq!(found, ["vms/one", "vms/two"]);
    let artefact = client.artefact(&reference, &cancel).await.unwrap();
    assert_eq!(artefact.annotation("org.openstack.glance.disk_format"), Some("raw"));
    assert_eq!(artefact.annotation("eu.egi.cloud.tag"), Some("a"), "the layer's own word counts");
    assert!(client.signatures(&reference, artefact.digest, &cancel).await.unwrap().is_empty());
    let [blob] = &client.blobs(&reference, artefact.disk.digest).unwrap()[..] else { panic!() };
    let rest = blob.open(60_000).await.unwrap().bytes().await.unwrap();
    assert_eq!(rest, disk[60_000..]);
}
