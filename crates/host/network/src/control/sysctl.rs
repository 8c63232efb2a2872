//! Kernel parameters of the host that control networks need, and their old values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::not_built;
use crate::{Host, Result};

/// Old values of the parameters [`root_prepare`] changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSysctls {
    /// Path to old value; only those that were changed.
    pub changed: BTreeMap<String, String>,
}

/// Sets what the host needs for labs and returns what it changed. Keep the first answer: a second call changes nothing and
/// returns nothing.
pub fn root_prepare(_host: &Host) -> Result<SavedSysctls> {
    not_built("sysctl")
}

/// Puts old values back, each only while it still has the value [`root_prepare`] gave it.
pub fn root_restore(_host: &Host, _saved: &SavedSysctls) -> Result<()> {
    not_built("sysctl")
}
