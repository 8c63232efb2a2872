//! The northbound's cases of `vnf.md` 5.6 that need no node: NB-02 to NB-07, and the states of OP-01 to OP-09, OP-17, OP-18.
#![allow(clippy::unwrap_used)] // tests

mod common;

use std::sync::{Arc, Mutex};

use common::{North, archive, zipped};
use serde_json::{Value, json};
use tokio::sync::Notify;
use vnode_nfv::{Ask, Failure};

#[tokio::test]
async fn nb_02_the_version_header_is_needed_on_v2_only() {
    let north = North::new().await;
    let ask = async |path: &str, version: Option<&str>| {
        let mut request = north.client.get(format!("{}{path}", north.url));
        if let Some(version) = version {
            request = request.header("Version", version);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.headers().contains_key("version"), "every answer carries it");
        answer.status().as_u16()
    };
    assert_eq!(ask("/vnflcm/v2/vnf_instances", None).await, 400);
    assert_eq!(ask("/vnflcm/v2/vnf_instances", Some("9.0.0")).await, 406);
    assert_eq!(ask("/vnflcm/v2/vnf_instances", Some("2.0.0-impl:acme.com:x:4")).await, 200);
    assert_eq!(ask("/vnflcm/v1/vnf_instances", None).await, 200);
    assert_eq!(ask("/vnflcm/v1/vnf_instances", Some("1.3.0")).await, 200);
    assert_eq!(ask("/vnflcm/v2/api_versions", None).await, 200);
    assert_eq!(ask("/vnfpkgm/v1/vnf_packages", None).await, 200);
}

#[tokio::test]
async fn nb_03_nb_04_packages_go_through_their_states() {
    let north = North::new().await;
    let package = north.package(archive("edgefw", Some("1.4.0"))).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package}");
    assert_eq!(package["operationalState"], "ENABLED");
    assert_eq!(package["vnfProvider"], "unknown");
    let id = package["id"].as_str().unwrap();
    let path = format!("/vnfpkgm/v1/vnf_packages/{id}");
    // NB-03: only a new package takes content.
    north.upload(id, archive("other", None)).await.is(409);
    // NB-04: neither while it is ENABLED nor while it is in use.
    north.ask("DELETE", &path, None).await.is(409);
    let body = json!({"vnfdId": package["vnfdId"]});
    let instance = north.ask("POST", "/vnflcm/v1/vnf_instances", Some(body)).await.is(201).id();
    let disable = json!({"operationalState": "DISABLED"});
    assert_eq!(north.ask("PATCH", &path, Some(disable.clone())).await.is(200).body, disable);
    north.ask("PATCH", &path, Some(disable)).await.is(409);
    assert_eq!(north.ask("GET", &path, None).await.body["usageState"], "IN_USE");
    north.ask("DELETE", &path, None).await.is(409);
    let of = format!("/vnflcm/v1/vnf_instances/{instance}");
    north.ask("DELETE", &of, None).await.is(204);
    north.ask("DELETE", &path, None).await.is(204);
    north.ask("GET", &path, None).await.is(404);
    let left = std::fs::read_dir(&north.folder).unwrap().count();
    assert_eq!(left, 0, "its content is gone too");
}

#[tokio::test]
async fn nb_05_a_bad_package_says_why_and_takes_a_new_upload() {
    let north = North::new().await;
    let bad = zipped(&[("lifecycle.json", b"{\"name\": \"x\", \"lifecycle_events\": 3}")]);
    let package = north.package(bad).await;
    assert_eq!(package["onboardingState"], "ERROR");
    assert_eq!(package["operationalState"], "DISABLED");
    let why = &package["onboardingFailureDetails"];
    assert!(!why["detail"].as_str().unwrap().is_empty() && why["code"].is_string(), "{why}");
    let id = package["id"].as_str().unwrap();
    let enable = Some(json!({"operationalState": "ENABLED"}));
    north.ask("PATCH", &format!("/vnfpkgm/v1/vnf_packages/{id}"), enable).await.is(409);
    north.upload(id, archive("edgefw", None)).await.is(202);
    let package = north.settled(id).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package}");
    assert!(package.get("onboardingFailureDetails").is_none());
    assert_eq!(package["vnfdVersion"], "0.0.0+r1");
    // Too much is refused on the way, and told.
    let id = north.ask("POST", "/vnfpkgm/v1/vnf_packages", Some(json!({}))).await.id();
    north.upload(&id, vec![0; 2 << 20]).await.is(413);
    assert_eq!(north.settled(&id).await["onboardingState"], "ERROR");
}

#[tokio::test]
async fn packages_show_what_is_in_them() {
    let north = North::new().await;
    let content = archive("edgefw", Some("1.4.0"));
    let package = north.package(content.clone()).await;
    let base = format!("/vnfpkgm/v2/vnf_packages/{}", package["id"].as_str().unwrap());
    assert_eq!(
        north.ask("GET", &format!("{base}/package_content"), None).await.is(200).bytes,
        content
    );
    let url = format!("{}{base}/package_content", north.url);
    let get =
        async |range: &str| north.client.get(&url).header("Range", range).send().await.unwrap();
    let part = get("bytes=2-5").await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], format!("bytes 2-5/{}", content.len()));
    assert_eq!(part.bytes().await.unwrap(), content[2..6]);
    assert_eq!(get("bytes=99999999-").await.status(), 416);
    let text = north.ask("GET", &format!("{base}/vnfd"), None).await.is(200);
    assert_eq!((text.kind.as_str(), text.body["name"].as_str()), ("text/plain", Some("edgefw")));
    let vnfd = format!("{}{base}/vnfd", north.url);
    let zipped = north.client.get(&vnfd).header("Accept", "application/zip").send().await.unwrap();
    let bytes = zipped.bytes().await.unwrap().to_vec();
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    assert_eq!(zip.by_index(0).unwrap().name().unwrap(), "lifecycle.json");
    let odd = north.client.get(&vnfd).header("Accept", "image/png").send().await.unwrap();
    assert_eq!(odd.status(), 406);
    let script = north.ask("GET", &format!("{base}/artifacts/install.sh"), None).await.is(200);
    assert_eq!(script.bytes, b"#!/bin/sh\n");
    for path in ["absent.sh", "../package", "%2e%2e/package", "/etc/passwd"] {
        north.ask("GET", &format!("{base}/artifacts/{path}"), None).await.is(404);
    }
    north.ask("GET", &format!("{base}/manifest"), None).await.is(404);
    north
        .ask("POST", &format!("{base}/package_content/upload_from_uri"), Some(json!({})))
        .await
        .is(403);
    // The same function again is told, not kept twice.
    let twin = north.package(content).await;
    assert_eq!(twin["onboardingState"], "ERROR");
    assert_eq!(twin["onboardingFailureDetails"]["code"], "package-exists");
}

#[tokio::test]
async fn nb_06_wrong_bodies_are_told_where_they_are_wrong() {
    let north = North::new().await;
    let instance = north.instance().await;
    let instances = "/vnflcm/v1/vnf_instances".to_owned();
    let of = |operation: &str| format!("{instances}/{instance}/{operation}");
    for (path, body, pointer) in [
        (instances.clone(), json!({}), "/vnfdId"),
        (instances.clone(), json!({"vnfdId": 3}), "/vnfdId"),
        (instances.clone(), json!([]), ""),
        (of("instantiate"), json!({}), "/flavourId"),
        (of("instantiate"), json!({"flavourId": "huge"}), "/flavourId"),
        (
            of("instantiate"),
            json!({"flavourId": "default", "additionalParams": []}),
            "/additionalParams",
        ),
        (of("terminate"), json!({"terminationType": "SOON"}), "/terminationType"),
        (of("scale"), json!({"type": "SCALE_OUT"}), "/aspectId"),
        (of("operate"), json!({"changeStateTo": "GONE"}), "/changeStateTo"),
    ] {
        let answer = north.ask("POST", &path, Some(body.clone())).await.is(400);
        assert_eq!(answer.body["pointer"], pointer, "{path} {body}");
    }
    let url = format!("{}{instances}", north.url);
    let post = async |kind: &str, body: &'static str| {
        let request = north.client.post(&url).header("Content-Type", kind).body(body);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("application/json", "{").await, 400);
    assert_eq!(post("text/plain", "{}").await, 415);
    north.ask("PUT", &instances, None).await.is(405);
    north.ask("POST", &of("change_ext_conn"), Some(json!({}))).await.is(404);
    north.ask("GET", &format!("{instances}/none"), None).await.is(404);
}

#[tokio::test]
async fn nb_07_a_disabled_or_unknown_package_makes_no_instance() {
    let north = North::new().await;
    let package = north.package(archive("edgefw", None)).await;
    let path = format!("/vnfpkgm/v1/vnf_packages/{}", package["id"].as_str().unwrap());
    north.ask("PATCH", &path, Some(json!({"operationalState": "DISABLED"}))).await.is(200);
    for vnfd in [package["vnfdId"].clone(), json!("11111111-2222-3333-4444-555555555555")] {
        let body = Some(json!({"vnfdId": vnfd}));
        north.ask("POST", "/vnflcm/v1/vnf_instances", body).await.is(422);
    }
}

#[tokio::test]
async fn op_01_op_02_op_03_a_life_from_create_to_delete() {
    let north = North::new().await;
    let instance = north.instance().await;
    let path = format!("/vnflcm/v1/vnf_instances/{instance}");
    // OP-03: not before it is instantiated.
    let now = json!({"terminationType": "FORCEFUL"});
    north.ask("POST", &format!("{path}/terminate"), Some(now.clone())).await.is(409);
    let body = json!({"flavourId": "default", "additionalParams": {"node": "lab/b", "greeting": "hi"},
        "vimConnectionInfo": [{"accessInfo": {"password": "secret"}}]});
    let occurrence = north.begin(&instance, "instantiate", body).await;
    let done = north.rests(&occurrence, "COMPLETED").await;
    assert!(!done.to_string().contains("secret"), "what is not ours is not kept: {done}");
    match &north.nodes.tasks.lock().unwrap()[0] {
        vnode_nfv::Task { node, ask: Ask::Instantiate { parameters, .. }, .. } => {
            assert_eq!(node, "lab/b");
            assert_eq!(Value::Object(parameters.clone()), json!({"greeting": "hi"}));
        }
        other => panic!("{other:?}"),
    }
    let shown = north.ask("GET", &path, None).await.body;
    assert_eq!(shown["instantiationState"], "INSTANTIATED");
    assert_eq!(shown["instantiatedVnfInfo"]["vnfState"], "STARTED");
    assert_eq!(shown["instantiatedVnfInfo"]["metadata"]["pids"], json!([812]));
    assert!(
        shown["_links"]["terminate"].is_object() && shown["_links"].get("instantiate").is_none()
    );
    // OP-02, OP-03.
    let again = Some(json!({"flavourId": "default"}));
    north.ask("POST", &format!("{path}/instantiate"), again).await.is(409);
    north.ask("DELETE", &path, None).await.is(409);
    let stop =
        json!({"changeStateTo": "STOPPED", "stopType": "GRACEFUL", "gracefulStopTimeout": 5});
    north.rests(&north.begin(&instance, "operate", stop).await, "COMPLETED").await;
    let shown = north.ask("GET", &path, None).await.body;
    assert_eq!(shown["instantiatedVnfInfo"]["vnfState"], "STOPPED");
    north.rests(&north.begin(&instance, "heal", json!({"cause": "slow"})).await, "COMPLETED").await;
    for (kind, status) in [("SCALE_IN", 409), ("SCALE_OUT", 202)] {
        let body = Some(json!({"type": kind, "aspectId": "workers"}));
        let answer = north.ask("POST", &format!("{path}/scale"), body).await.is(status);
        if let Some(occurrence) = answer.location {
            north.rests(&occurrence, "COMPLETED").await;
        }
    }
    let shown = north.ask("GET", &path, None).await.body;
    assert_eq!(
        shown["instantiatedVnfInfo"]["scaleStatus"],
        json!([{"aspectId": "workers", "scaleLevel": 1}])
    );
    north.rests(&north.begin(&instance, "terminate", now).await, "COMPLETED").await;
    north.ask("DELETE", &path, None).await.is(204);
    assert!(matches!(north.nodes.asks().last(), Some(Ask::Forget)));
    north.ask("GET", &path, None).await.is(404);
}

#[tokio::test]
async fn op_04_to_op_08_what_failed_is_decided_once() {
    let north = North::new().await;
    let instance = north.instance().await;
    let path = format!("/vnflcm/v1/vnf_instances/{instance}");
    let begin = json!({"flavourId": "default"});
    north.nodes.fail_next(Failure::failed("install.sh exited with 3"));
    let occurrence = north.begin(&instance, "instantiate", begin.clone()).await;
    let failed = north.rests(&occurrence, "FAILED_TEMP").await;
    assert_eq!(failed["error"]["detail"], "install.sh exited with 3");
    // OP-08: nothing else until this is decided.
    north.ask("POST", &format!("{path}/instantiate"), Some(begin.clone())).await.is(409);
    // OP-04: retried, and this time it works.
    north.ask("POST", &format!("{occurrence}/retry"), None).await.is(202);
    north.rests(&occurrence, "COMPLETED").await;
    // OP-07: decided is decided.
    for decision in ["retry", "rollback", "fail"] {
        north.ask("POST", &format!("{occurrence}/{decision}"), None).await.is(409);
    }
    let now = json!({"terminationType": "FORCEFUL"});
    north.nodes.fail_next(Failure::failed("stop.sh exited with 1"));
    let occurrence = north.begin(&instance, "terminate", now.clone()).await;
    north.rests(&occurrence, "FAILED_TEMP").await;
    north.ask("POST", &format!("{occurrence}/rollback"), None).await.is(422);
    // OP-06: given up, and a new operation is let in.
    let failed = north.ask("POST", &format!("{occurrence}/fail"), None).await.is(200).body;
    assert_eq!(
        (&failed["operationState"], &failed["error"]["detail"]),
        (&json!("FAILED"), &json!("stop.sh exited with 1"))
    );
    north.rests(&north.begin(&instance, "terminate", now).await, "COMPLETED").await;
    // OP-05: rolled back, it is as if it had never been.
    north.nodes.fail_next(Failure::failed("install.sh exited with 3"));
    let occurrence = north.begin(&instance, "instantiate", begin.clone()).await;
    north.rests(&occurrence, "FAILED_TEMP").await;
    north.ask("POST", &format!("{occurrence}/rollback"), None).await.is(202);
    north.rests(&occurrence, "ROLLED_BACK").await;
    let shown = north.ask("GET", &path, None).await.body;
    assert_eq!(shown["instantiationState"], "NOT_INSTANTIATED");
    // Refused before anything was changed: rolled back by itself.
    north.nodes.fail_next(Failure::refused("no room"));
    let occurrence = north.begin(&instance, "instantiate", begin).await;
    assert_eq!(north.rests(&occurrence, "ROLLED_BACK").await["error"]["detail"], "no room");
    north.ask("DELETE", &path, None).await.is(204);
}

#[tokio::test]
async fn op_09_cancel_reaches_the_node() {
    let north = North::new().await;
    let instance = north.instance().await;
    *north.nodes.hold.lock().unwrap() = Some(Arc::new(Notify::new()));
    let occurrence = north.begin(&instance, "instantiate", json!({"flavourId": "default"})).await;
    north.until(&occurrence, |o| o["operationState"] == "PROCESSING").await;
    north
        .until("/vnflcm/v1/vnf_lcm_op_occs", |_| !north.nodes.tasks.lock().unwrap().is_empty())
        .await;
    let cancel = format!("{occurrence}/cancel");
    north.ask("POST", &cancel, Some(json!({"cancelMode": "NOW"}))).await.is(400);
    north.ask("POST", &cancel, Some(json!({"cancelMode": "FORCEFUL"}))).await.is(202);
    north.rests(&occurrence, "FAILED_TEMP").await;
    assert_eq!(*north.nodes.cancelled.lock().unwrap(), [true]);
    north.ask("POST", &cancel, Some(json!({"cancelMode": "FORCEFUL"}))).await.is(409);
}

#[tokio::test]
async fn a_daemon_that_ended_asks_the_nodes_how_it_went() {
    let north = North::new().await;
    let instance = north.instance().await;
    *north.nodes.hold.lock().unwrap() = Some(Arc::new(Notify::new()));
    let occurrence = north.begin(&instance, "instantiate", json!({"flavourId": "default"})).await;
    north.until(&occurrence, |o| o["operationState"] == "PROCESSING").await;
    *north.nodes.hold.lock().unwrap() = None;
    let north = north.again().await;
    north.rests(&occurrence, "COMPLETED").await;
    assert!(north.nodes.asks().contains(&Ask::Settle));
    let shown = north.ask("GET", &format!("/vnflcm/v1/vnf_instances/{instance}"), None).await.body;
    assert_eq!(shown["instantiationState"], "INSTANTIATED");
}

#[tokio::test]
async fn modified_instances_and_another_package() {
    let north = North::new().await;
    let instance = north.instance().await;
    let path = format!("/vnflcm/v2/vnf_instances/{instance}");
    let patch = json!({"vnfInstanceName": "edge2", "metadata": {"site": "x"},
        "vnfConfigurableProperties": {"greeting": "hi"}});
    let occurrence = north.ask("PATCH", &path, Some(patch)).await.is(202).location.unwrap();
    north.rests(&occurrence, "COMPLETED").await;
    assert!(north.nodes.asks().is_empty(), "nothing to be told to a node before there is one");
    let shown = north.ask("GET", &path, None).await.body;
    assert_eq!(
        (&shown["vnfInstanceName"], &shown["metadata"]["site"]),
        (&json!("edge2"), &json!("x"))
    );
    north
        .rests(
            &north.begin(&instance, "instantiate", json!({"flavourId": "default"})).await,
            "COMPLETED",
        )
        .await;
    match &north.nodes.asks()[0] {
        Ask::Instantiate { parameters, .. } => assert_eq!(parameters["greeting"], "hi"),
        other => panic!("{other:?}"),
    }
    let next = north.package(archive("edgefw", Some("1.5.0"))).await;
    let change = format!("{path}/change_vnfpkg");
    north.ask("POST", &change, Some(json!({"vnfdId": "none"}))).await.is(422);
    let body = Some(json!({"vnfdId": next["vnfdId"]}));
    north
        .rests(
            &north.ask("POST", &change, body.clone()).await.is(202).location.unwrap(),
            "COMPLETED",
        )
        .await;
    assert_eq!(north.ask("GET", &path, None).await.body["vnfdVersion"], "1.5.0");
    let first = change.replace("v2", "v1");
    north.ask("POST", &first, body).await.is(404);
}

/// Somebody who takes notifications.
async fn subscriber(status: u16) -> (String, Arc<Mutex<Vec<Value>>>) {
    use axum::extract::State;
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let test = move || async move { axum::http::StatusCode::from_u16(status).unwrap() };
    let take = |State(seen): State<Arc<Mutex<Vec<Value>>>>, axum::Json(body): axum::Json<Value>| async move {
        seen.lock().unwrap().push(body);
        axum::http::StatusCode::NO_CONTENT
    };
    let router = axum::Router::new()
        .route("/told", axum::routing::get(test).post(take))
        .with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/told", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, seen)
}

#[tokio::test]
async fn op_17_subscribers_are_told_in_order() {
    let north = North::new().await;
    let subscriptions = "/vnflcm/v1/subscriptions";
    let (refusing, _) = subscriber(200).await;
    north.ask("POST", subscriptions, Some(json!({"callbackUri": refusing}))).await.is(422);
    north.ask("POST", subscriptions, Some(json!({"callbackUri": "ftp://x"}))).await.is(400);
    let (url, seen) = subscriber(204).await;
    let body = json!({"callbackUri": url, "filter": {"operationTypes": ["INSTANTIATE"],
        "notificationTypes": ["VnfLcmOperationOccurrenceNotification"]},
        "authentication": {"authType": ["BASIC"], "paramsBasic": {"userName": "u", "password": "secret"}}});
    let made = north.ask("POST", subscriptions, Some(body)).await.is(201);
    assert!(!String::from_utf8_lossy(&made.bytes).contains("secret"));
    let instance = north.instance().await;
    let begin = json!({"flavourId": "default"});
    north.rests(&north.begin(&instance, "instantiate", begin).await, "COMPLETED").await;
    let end = json!({"terminationType": "FORCEFUL"});
    north.rests(&north.begin(&instance, "terminate", end).await, "COMPLETED").await;
    let path = format!("{subscriptions}/{}", made.id());
    north.until(&path, |_| seen.lock().unwrap().len() >= 3).await;
    let states: Vec<Value> =
        seen.lock().unwrap().iter().map(|n| n["operationState"].clone()).collect();
    assert_eq!(states, ["STARTING", "PROCESSING", "COMPLETED"]);
    assert_eq!(seen.lock().unwrap()[2]["notificationStatus"], "RESULT");
    north.ask("DELETE", &path, None).await.is(204);
    north.ask("DELETE", &path, None).await.is(404);
}

#[tokio::test]
async fn op_18_lists_come_in_pages_and_filtered() {
    let north = North::new().await;
    let package = north.package(archive("edgefw", None)).await;
    let mut made = Vec::new();
    for number in 0..10 {
        let body = json!({"vnfdId": package["vnfdId"], "vnfInstanceName": format!("n{number}")});
        made.push(north.ask("POST", "/vnflcm/v1/vnf_instances", Some(body)).await.is(201).id());
    }
    let mut seen = Vec::new();
    let mut path = "/vnflcm/v1/vnf_instances?fields=vnfInstanceDescription".to_owned();
    loop {
        let page = north.ask("GET", &path, None).await.is(200);
        seen.extend(
            page.body.as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap().to_owned()),
        );
        let Some(link) = page.link else { break };
        path = link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned();
        assert!(link.ends_with("rel=\"next\"") && path.contains("fields="), "{link}");
    }
    assert_eq!(seen, made, "each once, in order");
    let list = async |query: &str| {
        north.ask("GET", &format!("/vnflcm/v1/vnf_instances?{query}"), None).await
    };
    let found = list("filter=(in,vnfInstanceName,n3,n7)").await.is(200).body;
    assert_eq!(found.as_array().unwrap().len(), 2);
    list("filter=(is,a,b)").await.is(400);
    list("colour=red").await.is(400);
}
