//! Commands of the openstack form.

use super::Command;

mod base64;
mod inject;
mod password;
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
    ]
}
