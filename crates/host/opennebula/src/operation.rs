//! An image's switch as one operation, each step with its inverse.
//!
//! | step | does | inverse |
//! |---|---|---|
//! | prepare | makes the disk | removes it |
//! | allocate | registers it as `ID_NEW_TIME`, private | deletes the image |
//! | ready | waits until the server has copied it | - |
//! | remember | writes down what the present image is (A) | - |
//! | dress | gives the new one owner, group, permissions, disabled (E) | - |
//! | retire | renames the present one `ID_EXPIRED_TIME` (C) | gives it its name again |
//! | promote | renames the new one `ID` (D) | takes the name again |
//! | withdraw | gives the old one to the administrator, 700, disabled, marked (B) | gives everything back |
//! | tidy | removes the prepared disk | - |
//!
//! So the new image is whole and usable before the old one loses its name, and only the two renames lie between.
//! Withdrawing without a successor is `remember`, `retire`, `withdraw`.

pub(crate) mod journal;
mod runner;
pub(crate) mod steps;

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vnode_operation::{Plan, Step};

use crate::{image::Permissions, names::Standing, settings::Settings};

pub(crate) use runner::{Ended, perform, undo};

/// Registers an image, in the place of another when there is one.
pub(crate) const PUBLISH: &str = "opennebula.publish";
/// Withdraws an image.
pub(crate) const WITHDRAW: &str = "opennebula.withdraw";
/// Undoes one of these that could not be undone at its time.
pub(crate) const UNDO: &str = "opennebula.undo";

/// Steps, in their order.
const PUBLISHING: &[&str] = &[
    "opennebula.prepare",
    "opennebula.allocate",
    "opennebula.ready",
    "opennebula.remember",
    "opennebula.dress",
    "opennebula.retire",
    "opennebula.promote",
    "opennebula.withdraw",
    "opennebula.tidy",
];
const WITHDRAWING: &[&str] = &["opennebula.remember", "opennebula.retire", "opennebula.withdraw"];

/// All that an operation is to do, stored with its plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// [`PUBLISH`] or [`WITHDRAW`].
    pub(crate) kind: String,
    pub(crate) identifier: String,
    /// `HOST:FOLDER:RUN`, an attribute of the image it registers.
    pub(crate) run: String,
    pub(crate) at: Timestamp,
    /// Names of the image it registers: the last one, and until then.
    pub(crate) name: String,
    pub(crate) staged: String,
    /// Name of the image it withdraws.
    pub(crate) expired: String,
    /// Number of the image it withdraws.
    pub(crate) present: Option<i64>,
    pub(crate) new: Option<Registration>,
}

/// What is registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) file: PathBuf,
    pub(crate) format: Option<String>,
    pub(crate) disk_folder: PathBuf,
    pub(crate) datastore: i64,
    /// Variables of the event.
    pub(crate) event: Vec<(String, String)>,
    /// What the image has been before, when there is none at present.
    pub(crate) memory: Option<Standing>,
    /// For an image that has never been there.
    pub(crate) group: Option<i64>,
    pub(crate) permissions: Option<Permissions>,
}

impl Job {
    fn kinds(&self) -> &'static [&'static str] {
        if self.kind == PUBLISH { PUBLISHING } else { WITHDRAWING }
    }

    /// The plan, one step after the other.
    pub(crate) fn plan(&self, settings: &Settings) -> Result<Plan, serde_json::Error> {
        let mut plan = Plan::new(&self.kind, format!("opennebula/image/{}", self.identifier));
        plan.data = serde_json::to_value(self)?;
        let call = Duration::from_secs(settings.call_limit);
        let long = settings.ready_limit() + Duration::from_secs(60);
        let mut before = None;
        for kind in self.kinds() {
            let what = kind.rsplit('.').next().unwrap_or_default();
            let mut step = Step::new(*kind, format!("{what} `{}`", self.identifier))
                .needs(before)
                .deadline(call * 8);
            if matches!(what, "prepare" | "ready") {
                step = step.deadline(long);
            }
            if what == "ready" {
                step = step.waits();
            }
            before = Some(plan.push(step));
        }
        Ok(plan)
    }

    /// The plan that undoes it, as one step.
    fn undoing(&self, settings: &Settings) -> Result<Plan, serde_json::Error> {
        let mut plan = Plan::new(UNDO, format!("opennebula/image/{}", self.identifier));
        plan.data = serde_json::to_value(self)?;
        let limit = Duration::from_secs(settings.call_limit) * 16;
        plan.push(Step::new(UNDO, format!("undo `{}`", self.identifier)).deadline(limit));
        Ok(plan)
    }
}
