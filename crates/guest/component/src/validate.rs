//! Checking data against YANG, where the modules are known.

use std::fmt;

use crate::{
    definition::{Model, Operation},
    rpc_error::RpcError,
};

/// Checks what goes into a script and what comes out. That it is JSON was checked before.
pub trait Validator: fmt::Debug + Send + Sync {
    /// Checks the input of Set, Check and RPC; `key` is the operation's key in the instance file.
    ///
    /// # Errors
    /// The record that answers the call.
    fn input(
        &self,
        model: &Model,
        operation: Operation,
        key: &str,
        input: &str,
    ) -> Result<(), Box<RpcError>>;

    /// Checks the output of Get and RPC.
    ///
    /// # Errors
    /// The record that answers the call: the script is wrong.
    fn output(
        &self,
        model: &Model,
        operation: Operation,
        key: &str,
        input: Option<&str>,
        output: &str,
    ) -> Result<(), Box<RpcError>>;
}

/// No module is known: JSON is all that is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Syntax;

impl Validator for Syntax {
    fn input(&self, _: &Model, _: Operation, _: &str, _: &str) -> Result<(), Box<RpcError>> {
        Ok(())
    }

    fn output(
        &self,
        _: &Model,
        _: Operation,
        _: &str,
        _: Option<&str>,
        _: &str,
    ) -> Result<(), Box<RpcError>> {
        Ok(())
    }
}
