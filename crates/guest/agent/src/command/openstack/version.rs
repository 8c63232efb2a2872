//! `version` and `features`: what old clients ask first.

use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::Value;

use crate::{
    command::{Command, CommandError, Form},
    context::Context,
};

/// Digits and dots only, since clients compare it as Python's `LooseVersion`; and above every version of the
/// original (1.39.1), so that no client "upgrades" us to it (R-V1).
pub const VERSION: &str = concat!("2.", env!("CARGO_PKG_VERSION"));

/// Answers the version.
#[derive(Debug)]
pub(super) struct Version;

impl Command for Version {
    fn name(&self) -> &str {
        "version"
    }

    fn form(&self) -> Form {
        Form::Openstack
    }

    fn run<'a>(&'a self, _: &'a Context, _: Value) -> BoxFuture<'a, Result<Value, CommandError>> {
        async { Ok(VERSION.into()) }.boxed()
    }

    fn while_frozen(&self) -> bool {
        true
    }
}

/// Answers the names of the commands that can be called on this channel.
#[derive(Debug)]
pub(super) struct Features;

impl Command for Features {
    fn name(&self) -> &str {
        "features"
    }

    fn form(&self) -> Form {
        Form::Openstack
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        _: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        async {
            let on = context.commands().iter().filter(|(_, enabled)| *enabled);
            let names: Vec<&str> = on.map(|(command, _)| command.name()).collect();
            Ok(names.join(",").into())
        }
        .boxed()
    }

    fn while_frozen(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::command::{Policy, Registry};

    #[tokio::test]
    async fn mi_1_features_are_the_names_joined_by_commas() {
        let dir = tempfile::tempdir().unwrap();
        let policy = Policy { block: vec!["password".to_owned()], ..Policy::default() };
        let commands = Arc::new(Registry::built_in().for_form(Form::Openstack, &policy));
        let context = Context::builder(dir.path()).build().unwrap();
        let context = context.for_channel("test", Arc::clone(&commands));
        let answer = commands.call(&context, "features", Value::from("agent")).await;
        let answer = answer.result.unwrap();
        let names: Vec<&str> = answer.as_str().unwrap().split(',').collect();
        for there in ["version", "features", "keyinit", "injectfile", "file_inject"] {
            assert!(names.contains(&there), "{there} in {names:?}");
        }
        for absent in ["password", "agentupdate"] {
            assert!(!names.contains(&absent), "{absent} in {names:?}");
        }
        assert!(!answer.as_str().unwrap().contains(' '));
    }

    #[tokio::test]
    async fn mi_2_the_version_is_digits_and_dots() {
        let dir = tempfile::tempdir().unwrap();
        let context = Context::builder(dir.path()).build().unwrap();
        let answer = Version.run(&context, Value::from("agent")).await.unwrap();
        let parts: Vec<u32> =
            answer.as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
        assert!(parts > vec![1, 39, 1]);
    }
}
