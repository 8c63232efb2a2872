//! Asking components, and the daemon, as any client of the bus does.

use futures_util::StreamExt;
use serde_json::{Value, json};
use thiserror::Error;
use zbus::{Connection, Message, MessageStream, message::Type};

use crate::{
    bus::{READ, RUNNING, STATE, WRITE, names as bus_names, refusal::Refusal, socket},
    daemon::{OWN_MODEL, OWN_MODULE, schema},
    json::{self, NotJson},
    names,
    rpc_error::RpcError,
};

/// Why a request did not succeed.
#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot reach the bus at {address}; is its daemon running?")]
    Bus {
        address: String,
        #[source]
        source: zbus::Error,
    },
    /// The operation failed, with the record.
    #[error("{0}")]
    Failed(Box<RpcError>),
    /// The bus or the service refused.
    #[error("{text} ({name})")]
    Refused { name: String, text: String },
    #[error("the data are {0}")]
    Json(#[from] NotJson),
    #[error("there is no model that serves `{0}`; `component ls` lists them")]
    NoModel(String),
    #[error("`{0}` is not MODULE:NAME, or makes no name that the bus allows")]
    Name(String),
    #[error("the connection to the bus was lost")]
    Lost,
    #[error("the answer cannot be read")]
    Answer(#[source] zbus::Error),
}

/// A connection to the bus, for requests.
#[derive(Debug, Clone)]
pub struct Client {
    bus: Connection,
}

/// What was told by a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub path: String,
    pub interface: String,
    pub member: String,
    /// JSON.
    pub data: String,
}

impl Client {
    /// # Errors
    /// When the bus cannot be reached.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let failed = |source| Error::Bus { address: address.to_owned(), source };
        let bus = socket::connect(address).await.map_err(failed)?;
        Ok(Self { bus })
    }

    /// The running configuration of a model.
    ///
    /// # Errors
    /// As the model answers.
    pub async fn get(&self, model: &str) -> Result<String, Error> {
        text(&self.call(model, RUNNING, READ, "Get", &()).await?)
    }

    /// The operational state of a model.
    ///
    /// # Errors
    /// As the model answers.
    pub async fn state(&self, model: &str) -> Result<String, Error> {
        text(&self.call(model, STATE, READ, "Get", &()).await?)
    }

    /// Applies a configuration.
    ///
    /// # Errors
    /// As the model answers.
    pub async fn set(&self, model: &str, data: &str) -> Result<(), Error> {
        self.call(model, RUNNING, WRITE, "Set", &(json::exact(data)?,)).await.map(drop)
    }

    /// Has a configuration judged.
    ///
    /// # Errors
    /// As the model answers.
    pub async fn check(&self, model: &str, data: &str) -> Result<(), Error> {
        self.call(model, RUNNING, WRITE, "Check", &(json::exact(data)?,)).await.map(drop)
    }

    /// Calls an RPC of a model.
    ///
    /// # Errors
    /// As the model answers.
    pub async fn rpc(
        &self,
        model: &str,
        module: &str,
        rpc: &str,
        metadata: &str,
        input: &str,
    ) -> Result<String, Error> {
        if names::unusable(module, rpc).is_some() {
            return Err(Error::Name(format!("{module}:{rpc}")));
        }
        let (path, interface) = (names::rpc_path(module), names::rpc_interface(module));
        let body = (json::exact(metadata)?, json::exact(input)?);
        text(&self.call(model, &path, &interface, &names::camel(rpc), &body).await?)
    }

    /// Has the daemon activate a component; active already is success.
    ///
    /// # Errors
    /// When there is none of this name, its Start fails, or a name is refused.
    pub async fn activate(&self, component: &str) -> Result<(), Error> {
        self.own("activate", component).await
    }

    /// Has the daemon deactivate a component; not active is success.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn deactivate(&self, component: &str) -> Result<(), Error> {
        self.own("deactivate", component).await
    }

    async fn own(&self, rpc: &str, component: &str) -> Result<(), Error> {
        let input = json!({ "ephemerad-v1:component": component }).to_string();
        self.rpc(OWN_MODEL, OWN_MODULE, rpc, "{}", &input).await.map(drop)
    }

    /// Every component the daemon knows, with its state.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn list(&self) -> Result<Vec<Value>, Error> {
        let state: Value = serde_json::from_str(&self.state(OWN_MODEL).await?).unwrap_or_default();
        let list = &state["vnode-component-v1:components"]["component"];
        Ok(list.as_array().cloned().unwrap_or_default())
    }

    /// The model that serves an RPC.
    ///
    /// # Errors
    /// When none is known to.
    pub async fn model_of(&self, module: &str, rpc: &str) -> Result<String, Error> {
        let wanted = format!("{module}:{rpc}");
        for component in self.list().await? {
            for model in component["model"].as_array().into_iter().flatten() {
                let serves =
                    model["rpc"].as_array().is_some_and(|rpcs| rpcs.iter().any(|r| *r == *wanted));
                if serves && let Some(name) = model["name"].as_str() {
                    return Ok(name.to_owned());
                }
            }
        }
        Err(Error::NoModel(wanted))
    }

    /// Has the schema service check a notification, when it is on the bus.
    ///
    /// # Errors
    /// As it answers.
    pub async fn validate(
        &self,
        module: &str,
        notification: &str,
        data: &str,
    ) -> Result<(), Error> {
        if !bus_names::is_served(&self.bus, schema::NAME).await.map_err(Error::Answer)? {
            return Ok(());
        }
        let question = json!({
            "yangd-v1:module-name": module,
            "yangd-v1:name": notification,
            "yangd-v1:input": json::exact(data)?,
        });
        let body = ("{}", question.to_string());
        let answer =
            self.call(schema::NAME, schema::PATH, schema::INTERFACE, "ValidateNotification", &body);
        answer.await.map(drop)
    }

    /// Tells everybody who listens.
    ///
    /// # Errors
    /// When the data are not JSON, or the bus is gone.
    pub async fn emit(&self, module: &str, notification: &str, data: &str) -> Result<(), Error> {
        if names::unusable(module, notification).is_some() {
            return Err(Error::Name(format!("{module}:{notification}")));
        }
        let data = json::exact(data)?;
        let (path, interface) =
            (names::notification_path(module), names::notification_interface(module));
        let signal = Message::signal(path, interface, names::camel(notification)).build(&(data,));
        self.bus.send(&signal.map_err(Error::Answer)?).await.map_err(Error::Answer)?;
        // A message with an answer, so that the signal is on its way before we go.
        let bus = "org.freedesktop.DBus";
        self.call(bus, "/org/freedesktop/DBus", bus, "GetId", &()).await.map(drop)
    }

    /// Listens to the notifications of a module, or of all.
    ///
    /// # Errors
    /// When the bus refuses.
    pub async fn watch(&self, module: Option<&str>) -> Result<Watch, Error> {
        let stream = MessageStream::from(&self.bus);
        let mut rule = "type='signal'".to_owned();
        if let Some(module) = module {
            if names::unusable(module, "x").is_some() {
                return Err(Error::Name(module.to_owned()));
            }
            rule = format!("{rule},interface='{}'", names::notification_interface(module));
        }
        let bus = "org.freedesktop.DBus";
        self.call(bus, "/org/freedesktop/DBus", bus, "AddMatch", &(rule,)).await?;
        Ok(Watch { stream })
    }

    async fn call<B>(
        &self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: &B,
    ) -> Result<Message, Error>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let reply =
            self.bus.call_method(Some(destination), path, Some(interface), member, body).await;
        reply.map_err(|error| match Refusal::of_bus(&error) {
            Refusal::Record(record) => Error::Failed(record),
            Refusal::Named(name, text) => Error::Refused { name, text },
        })
    }
}

/// Notifications as they come.
#[derive(Debug)]
pub struct Watch {
    stream: MessageStream,
}

impl Watch {
    /// Waits for the next one.
    ///
    /// # Errors
    /// When the bus is gone.
    pub async fn next(&mut self) -> Result<Notification, Error> {
        loop {
            let message = self.stream.next().await.ok_or(Error::Lost)?.map_err(Error::Answer)?;
            let header = message.header();
            let interface = header.interface().map_or("", |interface| interface.as_str());
            let is_yang =
                interface.starts_with("yang.module.") && interface.ends_with(".Notification");
            if message.message_type() != Type::Signal || !is_yang {
                continue;
            }
            if let Ok((data,)) = message.body().deserialize::<(String,)>() {
                return Ok(Notification {
                    path: header.path().map_or_else(String::new, ToString::to_string),
                    interface: interface.to_owned(),
                    member: header.member().map_or_else(String::new, ToString::to_string),
                    data,
                });
            }
        }
    }
}

fn text(message: &Message) -> Result<String, Error> {
    let (text,) = message.body().deserialize::<(String,)>().map_err(Error::Answer)?;
    Ok(text)
}
