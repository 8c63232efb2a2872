//! Commands of our own form.

use futures_util::future::BoxFuture;
use serde_json::Value;
use vnode_protocol::frame::Exit;

use super::{Command, CommandError};
use crate::{
    context::Context,
    parser::native::{Inbox, Outbox},
};

/// Makes a command that sends and takes bytes while it runs: of our own form alone, and nothing where there is no stream.
macro_rules! streamed {
    ($type:ident, $name:literal, $about:literal,
        |$context:ident, $value:ident, $io:ident| $body:expr) => {
        #[doc = $about]
        #[derive(Debug)]
        pub(in crate::command::native) struct $type;

        impl $crate::command::Command for $type {
            fn name(&self) -> &str {
                $name
            }

            fn form(&self) -> $crate::command::Form {
                $crate::command::Form::Native
            }

            fn run<'a>(
                &'a self,
                _: &'a $crate::context::Context,
                _: serde_json::Value,
            ) -> futures_util::future::BoxFuture<
                'a,
                Result<serde_json::Value, $crate::command::CommandError>,
            > {
                Box::pin(async { Err($crate::command::native::needs_stream()) })
            }

            fn streaming(&self) -> Option<&dyn $crate::command::native::Streaming> {
                Some(self)
            }
        }

        impl $crate::command::native::Streaming for $type {
            fn stream<'a>(
                &'a self,
                $context: &'a $crate::context::Context,
                $value: serde_json::Value,
                $io: $crate::command::native::StreamIo,
            ) -> futures_util::future::BoxFuture<
                'a,
                Result<$crate::command::native::Ended, $crate::command::CommandError>,
            > {
                Box::pin(async move { $body })
            }
        }
    };
}

/// Makes a command that answers with one value.
macro_rules! native {
    ($type:ident, $name:literal, $about:literal, |$context:ident, $value:ident| $body:expr) => {
        #[doc = $about]
        #[derive(Debug)]
        pub(in crate::command::native) struct $type;

        impl $crate::command::Command for $type {
            fn name(&self) -> &str {
                $name
            }

            fn form(&self) -> $crate::command::Form {
                $crate::command::Form::Native
            }

            fn run<'a>(
                &'a self,
                $context: &'a $crate::context::Context,
                $value: serde_json::Value,
            ) -> futures_util::future::BoxFuture<
                'a,
                Result<serde_json::Value, $crate::command::CommandError>,
            > {
                Box::pin(async move { $body })
            }
        }
    };
}

mod events;
mod exec;
mod file;
mod metrics;
mod network;
mod simple;
mod user;
mod vnf;

pub use exec::{KEEP, end_those_left, keep, over};

/// All of them.
pub fn all() -> Vec<Box<dyn Command>> {
    vec![
        Box::new(simple::Ping),
        Box::new(simple::Info),
        Box::new(simple::Time),
        Box::new(simple::Shutdown),
        Box::new(metrics::Metrics),
        Box::new(network::Network),
        Box::new(exec::Exec),
        Box::new(exec::List),
        Box::new(exec::Show),
        Box::new(exec::Attach),
        Box::new(exec::Signal),
        Box::new(exec::End),
        Box::new(exec::Remove),
        Box::new(file::Get),
        Box::new(file::Put),
        Box::new(events::Events),
        Box::new(vnf::FileDelete),
        Box::new(vnf::Process),
        Box::new(vnf::Vnf),
    ]
}

/// A request's stream.
#[derive(Debug)]
pub struct StreamIo {
    pub inbox: Inbox,
    pub outbox: Outbox,
}

/// How a request with a stream ended.
#[derive(Debug)]
pub enum Ended {
    Response(Value),
    Exit(Exit),
}

/// A command that sends and takes bytes while it runs.
pub trait Streaming: Send + Sync {
    /// Does it. The future is dropped when the request is cancelled.
    fn stream<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
        io: StreamIo,
    ) -> BoxFuture<'a, Result<Ended, CommandError>>;
}

/// What a command with a stream answers where there is none.
fn needs_stream() -> CommandError {
    CommandError::unsupported("this command needs a channel with the native parser")
}

/// Reads a request's value.
fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, CommandError> {
    serde_json::from_value(value).map_err(|error| CommandError::invalid(error.to_string()))
}

/// What a program printed or a file held that we understand, or why not.
fn failed(
    action: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> CommandError {
    CommandError::failed(format!("cannot {action}")).with_source(error)
}
