//! Asking whether lists changed. One bad list never stops the others.

use futures_util::{StreamExt as _, stream};
use vnode_operation::fault;
use vnode_protocol::chain;
use vnode_store::Change;

use super::{Error, Lists, Result, apply, encode, offered, put_subscription, stored};
use crate::{
    fetch::{self, Fetched, Request},
    judge::{Accepted, Outcome},
    list::{Dropped, Image},
    name::Principal,
    oci::Offer,
    record::{Attempt, LATEST, Latest, Subscription},
};

/// How the refresh of one subscription ended.
#[derive(Debug)]
pub struct Refreshed {
    /// Identifier of the list.
    pub list: String,
    pub result: Result<Report>,
}

impl Refreshed {
    /// The exit code of `vmcatcher_subscribe -U` for this subscription.
    pub fn exit_code(&self) -> u8 {
        match &self.result {
            Ok(report) => report.exit_code(),
            Err(error) => error.exit_code(),
        }
    }
}

/// What an accepted list brought.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Whether another list is in force now.
    pub changed: bool,
    /// Another list of the same version was taken.
    pub same_version: bool,
    /// It was not asked for: the subscription is paused.
    pub paused: bool,
    /// Images that the site did not know.
    pub new_images: Vec<Image>,
    /// Identifiers of those that were not listed, because the policy refuses new images.
    pub refused: Vec<String>,
    /// Images that could not be used.
    pub dropped: Vec<Dropped>,
}

impl Report {
    /// 32 when a new image was refused, else 0.
    pub fn exit_code(&self) -> u8 {
        if self.refused.is_empty() { 0 } else { 32 }
    }
}

impl Lists {
    /// Refreshes one subscription, or all that are not paused; several are fetched at a time. In order of
    /// identifiers.
    ///
    /// # Errors
    /// When the subscriptions cannot be read. What is wrong with one of them is in its result.
    pub async fn refresh(&self, only: Option<&str>) -> Result<Vec<Refreshed>> {
        let subscriptions = match only {
            Some(list) => vec![self.subscription(list).await?],
            None => self.subscriptions().await?,
        };
        let each = subscriptions.into_iter().map(|subscription| async move {
            let list = subscription.identifier.clone();
            let result = self.refresh_one(subscription).await;
            if let Err(error) = &result {
                tracing::warn!(
                    list,
                    error = chain(error),
                    "a list is not refreshed; the last good one stays in force"
                );
            }
            Refreshed { list, result }
        });
        let mut all: Vec<Refreshed> =
            stream::iter(each).buffer_unordered(self.at_once).collect().await;
        all.sort_by(|a, b| a.list.cmp(&b.list));
        Ok(all)
    }

    async fn refresh_one(&self, asked: Subscription) -> Result<Report> {
        if asked.settings.paused {
            return Ok(Report { paused: true, ..Report::default() });
        }
        let request = Request {
            uri: source(&asked),
            credential: asked.settings.credential.clone(),
            key: asked.settings.key.clone(),
            validators: asked.validators.clone(),
        };
        // Fetched before the lock: others may change meanwhile, so all is read again under it.
        let fetched = self.fetcher().fetch(&request).await;
        let _changing = self.changing.lock().await;
        let mut subscription = self.subscription(&asked.identifier).await?;
        let result = match fetched {
            Ok(fetched) => self.take(&mut subscription, fetched, true).await,
            Err(error) => Err(error.into()),
        };
        subscription.last = Some(Attempt {
            at: self.now(),
            exit_code: match &result {
                Ok((report, _)) => report.exit_code(),
                Err(error) => error.exit_code(),
            },
            error: result.as_ref().err().map(|error| chain(error)),
        });
        if subscription.ends_soon(self.now()) {
            let expires = subscription.current.as_ref().map(|c| c.expires.to_string());
            tracing::warn!(list = subscription.identifier, expires, "a list ends soon");
        }
        match result {
            Ok((report, mut changes)) => {
                fault::point("imagelist.refresh.judged")?;
                changes.push(put_subscription(&subscription)?);
                self.commit(changes).await?;
                fault::point("imagelist.refresh.after")?;
                Ok(report)
            }
            Err(error) => {
                self.commit(vec![put_subscription(&subscription)?]).await?;
                Err(error)
            }
        }
    }

    /// Judges what was fetched and says what it changes; the subscription is changed in place when it is accepted.
    /// `announce` makes events of new images.
    async fn take(
        &self,
        subscription: &mut Subscription,
        fetched: Fetched,
        announce: bool,
    ) -> Result<(Report, Vec<Change>)> {
        let list = subscription.identifier.clone();
        let refused =
            |uri: &str, source| Error::Refused { uri: fetch::without_password(uri), source };
        let (message, validators) = match fetched {
            Fetched::Message { bytes, validators } => (bytes, validators),
            Fetched::Refused(refusal) => return Err(refused(&subscription.uri, refusal)),
            Fetched::Offer(offer) => {
                let accepted = self.offer(subscription, &offer).await?;
                return self.accept(subscription, accepted, offer.message, announce).await;
            }
            // The stored message is judged again: its signer may have been revoked, its time may have passed.
            Fetched::Unchanged => match self.latest(&list).await? {
                Some(latest) => (latest.message, subscription.validators.clone()),
                None => {
                    let uri = fetch::without_password(&subscription.uri);
                    return Err(fetch::FetchError::Status { uri, status: 304 }.into());
                }
            },
        };
        let principals: Vec<Principal> = self
            .endorsers()
            .await?
            .into_iter()
            .filter(|endorser| subscription.endorsers.contains(&endorser.id))
            .flat_map(|endorser| endorser.principals)
            .collect();
        let accepted = self
            .judge(
                message.clone(),
                Some(list.clone()),
                Some(principals),
                subscription.stored.clone(),
                subscription.settings.rules,
            )
            .await?
            .map_err(|source| refused(&subscription.uri, source))?;
        subscription.validators = validators;
        self.accept(subscription, accepted, message, announce).await
    }

    /// What a registry offers now; images that it has, but that do not count, stay as they were accepted before.
    async fn offer(&self, subscription: &Subscription, offer: &Offer) -> Result<Accepted> {
        let mut accepted = offered(offer, subscription.stored.as_ref());
        if !offer.held.is_empty()
            && let Some(latest) = self.latest(&subscription.identifier).await?
        {
            let kept = latest.list.images.into_iter();
            accepted.list.images.extend(kept.filter(|i| offer.held.contains(&i.identifier)));
        }
        Ok(accepted)
    }

    /// What an accepted list changes.
    async fn accept(
        &self,
        subscription: &mut Subscription,
        accepted: Accepted,
        message: Vec<u8>,
        announce: bool,
    ) -> Result<(Report, Vec<Change>)> {
        let list = subscription.identifier.clone();
        let mut report = Report {
            changed: accepted.outcome != Outcome::Unchanged,
            same_version: accepted.outcome == Outcome::SameVersion,
            ..Report::default()
        };
        // A database that was taken over knows the message, but has not brought its list in force.
        if !report.changed && subscription.current.is_some() {
            return Ok((report, Vec::new()));
        }
        if report.same_version {
            let version = &accepted.list.version;
            tracing::warn!(list, version, "another list of the same version is taken");
        }
        if accepted.list.uri != subscription.uri {
            tracing::warn!(
                list,
                subscribed = fetch::without_password(&subscription.uri),
                says = fetch::without_password(&accepted.list.uri),
                "the list says that it is elsewhere"
            );
        }
        subscription.title = accepted.list.title.clone();
        subscription.description = accepted.list.description.clone();
        subscription.list_uri = accepted.list.uri.clone();
        subscription.stored = Some(stored(&accepted));
        subscription.current = Some(self.current(&accepted));
        let known = self.known_images(&list).await?;
        let mut changes = apply::apply(subscription, &accepted.list, known, &mut report)?;
        if announce {
            changes.extend(self.new_image_events(&report)?);
        }
        let latest = Latest { message, list: accepted.list };
        changes.push(Change::put(format!("{LATEST}{list}"), encode(&latest)?));
        Ok((report, changes))
    }

    /// Reads a list in force again without fetching: for a database that was taken over.
    pub(super) async fn judge_again(
        &self,
        subscription: &mut Subscription,
        message: Vec<u8>,
    ) -> Result<(Report, Vec<Change>)> {
        let validators = subscription.validators.clone();
        self.take(subscription, Fetched::Message { bytes: message, validators }, false).await
    }
}

/// Where a subscription is fetched: the site's address, or the list's own on the same host when the site allows it.
fn source(subscription: &Subscription) -> String {
    if subscription.settings.follow_list_uri
        && let (Ok(site), Ok(own)) =
            (fetch::address(&subscription.uri), fetch::address(&subscription.list_uri))
        && site.scheme() == own.scheme()
        && site.host_str() == own.host_str()
        && site.port_or_known_default() == own.port_or_known_default()
    {
        return subscription.list_uri.clone();
    }
    subscription.uri.clone()
}
