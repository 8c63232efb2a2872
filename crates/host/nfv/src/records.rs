//! What is remembered: packages, instances, occurrences, subscriptions. Each is one entry of the store.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::problem::Problem;

/// Schema version of all records here.
pub(crate) const SCHEMA: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Onboarding {
    Created,
    Uploading,
    Processing,
    Onboarded,
    Error,
}

/// What the descriptor says, once the package is onboarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) vnfd_id: Uuid,
    pub(crate) provider: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// SHA-256 of the archive, hexadecimal.
    pub(crate) digest: String,
    /// The signature was checked and is good.
    pub(crate) signed: bool,
    pub(crate) artifacts: Vec<Artifact>,
    /// Aspects that scale, with their greatest level.
    pub(crate) aspects: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Artifact {
    pub(crate) path: String,
    pub(crate) digest: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: Uuid,
    pub(crate) onboarding: Onboarding,
    pub(crate) enabled: bool,
    pub(crate) product: Option<Product>,
    pub(crate) failure: Option<Problem>,
    pub(crate) user_data: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) configurable: Map<String, Value>,
    /// The package it is made from.
    pub(crate) package: Uuid,
    pub(crate) product: Product,
    /// The node it is in; chosen when it is first instantiated.
    pub(crate) node: Option<String>,
    pub(crate) instantiated: bool,
    /// What the last operation left; the watch knows better where it can be asked.
    pub(crate) started: bool,
    pub(crate) flavour: String,
    pub(crate) levels: BTreeMap<String, u32>,
    /// The occurrence that is not final.
    pub(crate) busy: Option<Uuid>,
}

impl Instance {
    /// Its name in its node: the same for the same instance always, and no other's.
    pub(crate) fn function(&self) -> String {
        format!("vnf-{}", self.id.simple())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Operation {
    Instantiate,
    Terminate,
    Operate,
    Heal,
    Scale,
    ModifyInfo,
    ChangeVnfpkg,
}

impl Operation {
    /// SOL003: whether what it did can be undone (`vnf.md` 4.2).
    pub(crate) fn rolls_back(self, params: &Value) -> bool {
        match self {
            Self::Terminate | Self::Heal => false,
            Self::Scale => params["type"] != "SCALE_IN",
            Self::Instantiate | Self::Operate | Self::ModifyInfo | Self::ChangeVnfpkg => true,
        }
    }
}

/// SOL003's states of an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Phase {
    Starting,
    Processing,
    Completed,
    FailedTemp,
    Failed,
    RollingBack,
    RolledBack,
}

impl Phase {
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::RolledBack)
    }

    /// Something is going on in the node.
    pub(crate) fn is_running(self) -> bool {
        matches!(self, Self::Processing | Self::RollingBack)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Occurrence {
    pub(crate) id: Uuid,
    pub(crate) instance: Uuid,
    pub(crate) operation: Operation,
    pub(crate) phase: Phase,
    pub(crate) entered: Timestamp,
    pub(crate) started: Timestamp,
    /// The request's body.
    pub(crate) params: Value,
    pub(crate) cancel_pending: bool,
    pub(crate) error: Option<Problem>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Basic {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for Basic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Basic").field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) id: Uuid,
    pub(crate) callback: String,
    pub(crate) filter: Value,
    pub(crate) basic: Option<Basic>,
    /// SOL003's `verbosity: SHORT`: notifications without their long members.
    pub(crate) short: bool,
    /// Version of the interface it was made by, which its links point to.
    pub(crate) version: String,
}
