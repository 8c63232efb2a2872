//! Who may sign: endorsers, and the subscriptions they are linked with.

use vnode_store::Change;

use super::{Error, Lists, MAX_ENDORSER_ID, Result, encode, put_subscription, read};
use crate::{
    name::{Principal, canonical},
    record::{ENDORSERS, EndorserRecord},
};

impl Lists {
    /// All endorsers, by id.
    pub async fn endorsers(&self) -> Result<Vec<EndorserRecord>> {
        self.all(ENDORSERS).await
    }

    /// Makes an endorser of certificates' subjects and issuers.
    pub async fn create_endorser(&self, id: &str, principals: Vec<Principal>) -> Result<()> {
        let _changing = self.changing.lock().await;
        let change = self.endorser_change(id, principals).await?;
        self.commit(vec![change]).await
    }

    pub(super) async fn endorser_change(
        &self,
        id: &str,
        principals: Vec<Principal>,
    ) -> Result<Change> {
        let printable = id.chars().all(|c| !c.is_control() && c != '/');
        if id.is_empty() || id.len() > MAX_ENDORSER_ID || !printable {
            let name = id.chars().take(40).flat_map(char::escape_default).collect();
            return Err(Error::EndorserId { name });
        }
        for known in self.endorsers().await? {
            if known.id == id {
                return Err(Error::Exists { what: "endorser", name: id.to_owned() });
            }
            for taken in &known.principals {
                let taken = canonical(&taken.subject);
                if let Some(mine) = principals.iter().find(|p| canonical(&p.subject) == taken) {
                    return Err(Error::SubjectTaken {
                        subject: mine.subject.clone(),
                        endorser: known.id,
                    });
                }
            }
        }
        let record = EndorserRecord { id: id.to_owned(), principals };
        Ok(Change::create(format!("{ENDORSERS}{id}"), encode(&record)?))
    }

    /// Removes an endorser and its links; false when there was none.
    pub async fn delete_endorser(&self, id: &str) -> Result<bool> {
        let _changing = self.changing.lock().await;
        let key = format!("{ENDORSERS}{id}");
        if self.store.get(&key).await.map_err(read)?.is_none() {
            return Ok(false);
        }
        let mut changes = vec![Change::delete(key)];
        for mut subscription in self.subscriptions().await? {
            if let Some(at) = subscription.endorsers.iter().position(|e| e == id) {
                subscription.endorsers.remove(at);
                changes.push(put_subscription(&subscription)?);
            }
        }
        self.commit(changes).await?;
        Ok(true)
    }

    /// Lets an endorser sign a subscription's list, or no longer.
    pub async fn link(&self, endorser: &str, list: &str, linked: bool) -> Result<()> {
        let _changing = self.changing.lock().await;
        let mut subscription = self.subscription(list).await?;
        if linked
            && self.store.get(&format!("{ENDORSERS}{endorser}")).await.map_err(read)?.is_none()
        {
            return Err(Error::Unknown { what: "endorser", name: endorser.to_owned() });
        }
        subscription.endorsers.retain(|e| e != endorser);
        if linked {
            subscription.endorsers.push(endorser.to_owned());
        }
        self.commit(vec![put_subscription(&subscription)?]).await
    }
}
