//! Commands of the openstack form.

use super::Command;

pub mod agentupdate;
mod base64;
mod inject;
#[cfg(any(test, feature = "kmsactivate"))]
mod kmsactivate;
pub(crate) mod password;
mod replace;
pub mod resetnetwork;
mod version;

pub use version::VERSION;

/// All of them.
pub fn all() -> Vec<Box<dyn Command>> {
    vec![
        Box::new(version::Version),
        Box::new(version::Features),
        Box::new(password::KeyInit),
        Box::new(password::Password),
        Box::new(inject::InjectFile),
        Box::new(inject::FileInject),
        Box::new(resetnetwork::ResetNetwork),
        Box::new(agentupdate::AgentUpdate),
        #[cfg(feature = "kmsactivate")]
        Box::new(kmsactivate::KmsActivate),
    ]
}
