//! The schema service, which knows every YANG module of a DANOS system.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use zbus::Connection;

use crate::bus::{names, refusal::Refusal};

pub(crate) const NAME: &str = "net.vyatta.vci.config.yangd.v1";
pub(crate) const PATH: &str = "/yangd_v1/rpc";
pub(crate) const INTERFACE: &str = "yang.module.YangdV1.RPC";

/// Whether it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Use {
    /// When it is on the bus.
    #[default]
    Auto,
    /// Always; without it every RPC fails, as upstream.
    Always,
    Never,
}

/// What is known of it.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    served: AtomicBool,
}

impl Schema {
    /// Looks whether it is there, and asks to be told when that changes.
    pub(super) async fn begin(&self, bus: &Connection, wanted: Use) {
        if wanted == Use::Never {
            return;
        }
        let served = async {
            names::follow(bus, NAME).await?;
            names::is_served(bus, NAME).await
        };
        match served.await {
            Ok(served) => self.served.store(served, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "cannot ask for the schema service"),
        }
    }

    /// Takes a signal of the bus: the service came or went.
    pub(super) fn changed(&self, message: &zbus::Message) {
        const BUS: &str = "org.freedesktop.DBus";
        // Anybody on the bus can send this to us; only the bus itself has its name.
        let header = message.header();
        let of_the_bus = header.sender().is_some_and(|sender| sender.as_str() == BUS)
            && header.interface().is_some_and(|interface| interface.as_str() == BUS);
        if !of_the_bus {
            return;
        }
        let body = message.body();
        if let Ok((NAME, _, new)) = body.deserialize::<(&str, &str, &str)>() {
            self.served.store(!new.is_empty(), Ordering::Relaxed);
        }
    }

    /// Has the input of an RPC checked.
    pub(super) async fn check(
        &self,
        bus: &Connection,
        wanted: Use,
        module: &str,
        rpc: &str,
        input: &str,
    ) -> Result<(), Refusal> {
        let ask = match wanted {
            Use::Always => true,
            Use::Auto => self.served.load(Ordering::Relaxed),
            Use::Never => false,
        };
        if !ask {
            return Ok(());
        }
        let question = json!({
            "yangd-v1:rpc-module-name": module,
            "yangd-v1:rpc-name": rpc,
            "yangd-v1:rpc-input": input,
        });
        let body = ("{}", question.to_string());
        let asked =
            bus.call_method(Some(NAME), PATH, Some(INTERFACE), "ValidateRpcInput", &body).await;
        match asked {
            Ok(_) => Ok(()),
            Err(error @ zbus::Error::MethodError(..)) => Err(Refusal::of_bus(&error)),
            Err(error) => Err(Refusal::failed(format!(
                "the schema service `{NAME}` cannot be asked: {error}"
            ))),
        }
    }
}
