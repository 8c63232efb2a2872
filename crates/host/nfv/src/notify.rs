//! Notifications to subscribers: in order for each, tried again, never waited for by an operation.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::problem::Problem;
use crate::records::{Basic, Occurrence, Phase, Subscription};
use crate::service::{new_id, now};

/// Notices that wait for one subscriber; of one that does not take them the newest are dropped.
const QUEUE: usize = 1024;
/// How often a notice is tried again, and the first wait; each further one is twice as long.
const RETRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Time of one delivery.
const LIMIT: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    Occurrence(Box<Occurrence>),
    Created { instance: Uuid },
    Deleted { instance: Uuid },
}

#[derive(Debug)]
struct Subscriber {
    subscription: Subscription,
    queue: mpsc::Sender<Value>,
}

/// Everybody who is told. The queue of a subscription goes with it.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    /// Made for the first subscription: a daemon that nobody subscribes to has no use for its memory.
    http: OnceLock<reqwest::Client>,
    subscribers: Mutex<HashMap<Uuid, Subscriber>>,
}

impl Notifier {
    /// What callbacks are spoken to with.
    pub(crate) fn http(&self) -> Result<reqwest::Client, Problem> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        let client = vnode_image::http::client(&vnode_image::http::Options {
            connect_limit: LIMIT,
            ..vnode_image::http::Options::default()
        })
        .map_err(|e| Problem::internal("cannot speak to subscribers", &e))?;
        Ok(self.http.get_or_init(|| client).clone())
    }

    /// Begins to tell. Must be called in a tokio runtime.
    pub(crate) fn subscribe(&self, subscription: Subscription) -> Result<(), Problem> {
        let (queue, mut waiting) = mpsc::channel::<Value>(QUEUE);
        let (http, target) = (self.http()?, subscription.clone());
        tokio::spawn(async move {
            while let Some(notice) = waiting.recv().await {
                deliver(&http, &target, &notice).await;
            }
        });
        let subscriber = Subscriber { subscription, queue };
        self.all().insert(subscriber.subscription.id, subscriber);
        Ok(())
    }

    pub(crate) fn unsubscribe(&self, id: Uuid) {
        self.all().remove(&id);
    }

    pub(crate) fn tell(&self, notice: Notice) {
        for subscriber in self.all().values() {
            let Some(body) = body(&notice, &subscriber.subscription) else { continue };
            if subscriber.queue.try_send(body).is_err() {
                tracing::warn!(
                    subscription = %subscriber.subscription.id,
                    "northbound: a subscriber does not take its notifications; one is dropped"
                );
            }
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Subscriber>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `VnfLcmOperationOccurrenceNotification` and its sisters (SOL003, 5.5.2.17 to 19), when the subscription wants it.
fn body(notice: &Notice, subscription: &Subscription) -> Option<Value> {
    let kind = match notice {
        Notice::Occurrence(_) => "VnfLcmOperationOccurrenceNotification",
        Notice::Created { .. } => "VnfIdentifierCreationNotification",
        Notice::Deleted { .. } => "VnfIdentifierDeletionNotification",
    };
    let version = &subscription.version;
    let instance = match notice {
        Notice::Occurrence(occurrence) => occurrence.instance,
        Notice::Created { instance } | Notice::Deleted { instance } => *instance,
    };
    let mut body = json!({
        "id": new_id(),
        "notificationType": kind,
        "subscriptionId": subscription.id,
        "timeStamp": now(),
        "vnfInstanceId": instance,
        "_links": {
            "vnfInstance": {"href": format!("/vnflcm/{version}/vnf_instances/{instance}")},
            "subscription": {"href": format!("/vnflcm/{version}/subscriptions/{}", subscription.id)},
        },
    });
    if let Notice::Occurrence(occurrence) = notice {
        let result = occurrence.phase.is_final() || occurrence.phase == Phase::FailedTemp;
        body["notificationStatus"] = json!(if result { "RESULT" } else { "START" });
        body["operationState"] = json!(occurrence.phase);
        body["operation"] = json!(occurrence.operation);
        body["isAutomaticInvocation"] = json!(false);
        body["vnfLcmOpOccId"] = json!(occurrence.id);
        let href = format!("/vnflcm/{version}/vnf_lcm_op_occs/{}", occurrence.id);
        body["_links"]["vnfLcmOpOcc"] = json!({"href": href});
        if let (Some(error), false) = (&occurrence.error, subscription.short) {
            body["error"] = json!(error);
        }
    }
    wants(&subscription.filter, &body).then_some(body)
}

/// SOL003's `LifecycleChangeNotificationsFilter`: each member that is there names what may come.
fn wants(filter: &Value, body: &Value) -> bool {
    let named = |member: &str, value: &Value| match filter[member].as_array() {
        Some(list) if !list.is_empty() => list.contains(value),
        _ => true,
    };
    let instances = filter["vnfInstanceSubscriptionFilter"]["vnfInstanceIds"].as_array();
    named("notificationTypes", &body["notificationType"])
        && (body["operation"].is_null() || named("operationTypes", &body["operation"]))
        && (body["operationState"].is_null() || named("operationStates", &body["operationState"]))
        && instances.is_none_or(|list| list.is_empty() || list.contains(&body["vnfInstanceId"]))
}

fn authorised(request: reqwest::RequestBuilder, basic: Option<&Basic>) -> reqwest::RequestBuilder {
    match basic {
        Some(basic) => request.basic_auth(&basic.user, Some(&basic.password)),
        None => request,
    }
}

async fn deliver(http: &reqwest::Client, target: &Subscription, notice: &Value) {
    let mut wait = FIRST_WAIT;
    for attempt in 0..=RETRIES {
        let request = http.post(&target.callback).timeout(LIMIT).json(notice);
        let why = match authorised(request, target.basic.as_ref()).send().await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => answer.status().to_string(),
            Err(error) => vnode_protocol::chain(&error.without_url()),
        };
        if attempt == RETRIES {
            tracing::warn!(subscription = %target.id, why, "northbound: a notification is given up");
            return;
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}

/// The test of a callback before it is taken: GET is answered 204 (SOL003, 5.4.20.3.2).
pub(crate) async fn answers(
    http: &reqwest::Client,
    callback: &str,
    basic: Option<&Basic>,
) -> Result<(), String> {
    match authorised(http.get(callback).timeout(LIMIT), basic).send().await {
        Ok(answer) if answer.status() == reqwest::StatusCode::NO_CONTENT => Ok(()),
        Ok(answer) => Err(format!("a GET of it answers {} and not 204", answer.status())),
        Err(error) => Err(vnode_protocol::chain(&error.without_url())),
    }
}
