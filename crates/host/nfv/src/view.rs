//! Records as SOL003 and SOL005 show them (`vnf.md` 6.4 and 6.5). `null` members are left out.

use serde_json::{Map, Value, json};

use crate::functions::Look;
use crate::records::{Instance, Occurrence, Onboarding, Package, Phase, Subscription};

fn link(href: String) -> Value {
    json!({ "href": href })
}

/// `VnfPkgInfo`.
pub(crate) fn package(package: &Package, in_use: bool, version: &str) -> Value {
    let base = format!("/vnfpkgm/{version}/vnf_packages/{}", package.id);
    let mut view = json!({
        "id": package.id,
        "onboardingState": package.onboarding,
        "operationalState": if package.enabled { "ENABLED" } else { "DISABLED" },
        "usageState": if in_use { "IN_USE" } else { "NOT_IN_USE" },
        "userDefinedData": package.user_data,
        "_links": {
            "self": link(base.clone()),
            "packageContent": link(format!("{base}/package_content")),
        },
    });
    if let (Some(product), Onboarding::Onboarded) = (&package.product, package.onboarding) {
        view["vnfdId"] = json!(product.vnfd_id);
        view["vnfProvider"] = json!(product.provider);
        view["vnfProductName"] = json!(product.name);
        view["vnfSoftwareVersion"] = json!(product.version);
        view["vnfdVersion"] = json!(product.version);
        view["checksum"] = json!({"algorithm": "SHA-256", "hash": product.digest});
        view["packageSecurityOption"] = json!("OPTION_1");
        let artifacts = product.artifacts.iter().map(|artifact| {
            json!({
                "artifactPath": artifact.path,
                "checksum": {"algorithm": "SHA-256", "hash": artifact.digest},
                "metadata": {},
            })
        });
        view["additionalArtifacts"] = artifacts.collect();
        view["_links"]["vnfd"] = link(format!("{base}/vnfd"));
    }
    if let Some(failure) = &package.failure {
        view["onboardingFailureDetails"] = json!(failure);
    }
    view
}

/// `VnfInstance`. `look`: as its node sees it now.
pub(crate) fn instance(instance: &Instance, look: Option<&Look>, version: &str) -> Value {
    let product = &instance.product;
    let base = format!("/vnflcm/{version}/vnf_instances/{}", instance.id);
    let mut links = Map::new();
    links.insert("self".to_owned(), link(base.clone()));
    if instance.busy.is_none() {
        let possible: &[&str] = match (instance.instantiated, version) {
            (false, _) => &["instantiate"],
            (true, "v1") => &["terminate", "heal", "scale", "operate"],
            (true, _) => &["terminate", "heal", "scale", "operate", "change_vnfpkg"],
        };
        for name in possible {
            if *name == "scale" && product.aspects.is_empty() {
                continue;
            }
            let key = if *name == "change_vnfpkg" { "changeVnfPkg" } else { name };
            links.insert(key.to_owned(), link(format!("{base}/{name}")));
        }
    }
    let mut metadata = instance.metadata.clone();
    if let Some(node) = &instance.node {
        metadata.insert("node".to_owned(), json!(node));
    }
    let mut view = json!({
        "id": instance.id,
        "vnfInstanceName": instance.name,
        "vnfInstanceDescription": instance.description,
        "vnfdId": product.vnfd_id,
        "vnfProvider": product.provider,
        "vnfProductName": product.name,
        "vnfSoftwareVersion": product.version,
        "vnfdVersion": product.version,
        "vnfConfigurableProperties": instance.configurable,
        "metadata": metadata,
        "instantiationState": if instance.instantiated { "INSTANTIATED" } else { "NOT_INSTANTIATED" },
        "_links": links,
    });
    if instance.instantiated {
        let started = look.map_or(instance.started, |look| look.started);
        let levels = instance.levels.iter();
        let scale: Vec<Value> = levels
            .map(|(aspect, level)| json!({"aspectId": aspect, "scaleLevel": level}))
            .collect();
        let mut info = json!({
            "flavourId": instance.flavour,
            "vnfState": if started { "STARTED" } else { "STOPPED" },
            "scaleStatus": scale,
            "extCpInfo": [],
        });
        if let Some(look) = look {
            let mut told = json!({"watch": look.watch, "pids": look.pids});
            if let Some(process) = &look.process {
                told["process"] = json!(process);
            }
            if let Some(revision) = &look.revision {
                told["revision"] = json!(revision);
            }
            info["metadata"] = told;
        }
        view["instantiatedVnfInfo"] = info;
    }
    view
}

/// `VnfLcmOpOcc`.
pub(crate) fn occurrence(occurrence: &Occurrence, version: &str) -> Value {
    let base = format!("/vnflcm/{version}/vnf_lcm_op_occs/{}", occurrence.id);
    let target = format!("/vnflcm/{version}/vnf_instances/{}", occurrence.instance);
    let mut links = json!({"self": link(base.clone()), "vnfInstance": link(target)});
    let possible: &[&str] = match occurrence.phase {
        Phase::FailedTemp if occurrence.operation.rolls_back(&occurrence.params) => {
            &["retry", "rollback", "fail"]
        }
        Phase::FailedTemp => &["retry", "fail"],
        Phase::Starting | Phase::Processing | Phase::RollingBack => &["cancel"],
        Phase::Completed | Phase::Failed | Phase::RolledBack => &[],
    };
    for name in possible {
        links[*name] = link(format!("{base}/{name}"));
    }
    let mut view = json!({
        "id": occurrence.id,
        "operationState": occurrence.phase,
        "stateEnteredTime": occurrence.entered,
        "startTime": occurrence.started,
        "vnfInstanceId": occurrence.instance,
        "operation": occurrence.operation,
        "isAutomaticInvocation": false,
        "operationParams": occurrence.params,
        "isCancelPending": occurrence.cancel_pending,
        "_links": links,
    });
    if let Some(error) = &occurrence.error {
        view["error"] = json!(error);
    }
    view
}

/// `LccnSubscription`; the credentials are never shown.
pub(crate) fn subscription(subscription: &Subscription, version: &str) -> Value {
    let base = format!("/vnflcm/{version}/subscriptions/{}", subscription.id);
    json!({
        "id": subscription.id,
        "callbackUri": subscription.callback,
        "filter": subscription.filter,
        "verbosity": if subscription.short { "SHORT" } else { "FULL" },
        "_links": {"self": link(base)},
    })
}
