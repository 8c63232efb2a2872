//! In the place of libyang, in a program that was built without it: no module is ever known.

use std::path::PathBuf;

use super::{Kind, complaint::Complaint};

#[derive(Debug)]
pub(super) struct Context;

impl Context {
    pub(super) fn new(_: &[PathBuf]) -> Result<Self, String> {
        Err("this program was built without libyang".to_owned())
    }

    pub(super) fn load(&mut self, _: &str) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn has(&self, _: &str) -> bool {
        false
    }

    pub(super) fn check(&self, _: Kind<'_>, _: &[String], _: &str) -> Vec<Complaint> {
        Vec::new()
    }

    pub(super) fn is_state(&self, _: &str) -> Option<bool> {
        None
    }
}
