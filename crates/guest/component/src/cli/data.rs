//! The verbs that ask the bus.

use std::path::PathBuf;

use serde_json::Value;

use super::{BusArgs, Error, Target, input, print};
use crate::{
    client::{self, Client},
    json,
    yang::{Kind, Name, Schemas, Subject},
};

async fn connect(bus: &BusArgs) -> Result<Client, Error> {
    Ok(Client::connect(&bus.address).await?)
}

pub(super) async fn activate(target: &Target, on: bool) -> Result<(), Error> {
    let name = target.component.as_ref().or(target.name.as_ref());
    let name = name.ok_or_else(|| Error::Usage("name a component".to_owned()))?;
    let client = connect(&target.bus).await?;
    if !on {
        return Ok(client.deactivate(name).await?);
    }
    client.activate(name).await?;
    // The component's unit is of type notify; without systemd this does nothing.
    sd_notify::notify(&[sd_notify::NotifyState::Ready])
        .map_err(Error::io("tell the service manager that the component is active"))
}

pub(super) async fn list(bus: &BusArgs) -> Result<(), Error> {
    let components = connect(bus).await?.list().await?;
    if bus.json {
        return print(&Value::Array(components).to_string());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: Vec<String> = components.iter().map(|component| text(&component["name"])).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0).max("COMPONENT".len());
    print(&format!(
        "{:width$}  {:8}  {:>6}  {:>8}  LAST ERROR",
        "COMPONENT", "PHASE", "CALLS", "FAILURES"
    ))?;
    for (name, component) in names.iter().zip(&components) {
        let broken =
            component["broken"].as_str().map(|reason| format!("its file is refused: {reason}"));
        let error = broken.unwrap_or_else(|| text(&component["last-error"]));
        let line = format!(
            "{name:width$}  {:8}  {:>6}  {:>8}  {}",
            text(&component["phase"]),
            text(&component["calls"]),
            text(&component["failures"]),
            error.lines().next().unwrap_or_default(),
        );
        print(line.trim_end())?;
    }
    Ok(())
}

pub(super) async fn show(bus: &BusArgs, name: &str) -> Result<(), Error> {
    let components = connect(bus).await?.list().await?;
    let found = components.iter().find(|component| component["name"] == *name);
    let found = found.ok_or_else(|| client::Error::NoModel(name.to_owned()))?;
    if bus.json { print(&found.to_string()) } else { print(&format!("{found:#}")) }
}

pub(super) async fn get(bus: &BusArgs, model: &str) -> Result<(), Error> {
    print(&connect(bus).await?.get(model).await?)
}

pub(super) async fn state(bus: &BusArgs, model: &str) -> Result<(), Error> {
    print(&connect(bus).await?.state(model).await?)
}

pub(super) async fn set(bus: &BusArgs, model: &str, data: Option<&str>) -> Result<(), Error> {
    let data = input(data)?;
    Ok(connect(bus).await?.set(model, &data).await?)
}

pub(super) async fn check(bus: &BusArgs, model: &str, data: Option<&str>) -> Result<(), Error> {
    let data = input(data)?;
    Ok(connect(bus).await?.check(model, &data).await?)
}

pub(super) async fn rpc(
    bus: &BusArgs,
    rpc: &str,
    data: Option<&str>,
    model: Option<&str>,
    metadata: &str,
) -> Result<(), Error> {
    let (module, name) = split(rpc)?;
    let data = input(Some(data.unwrap_or("{}")))?;
    let client = connect(bus).await?;
    let model = match model {
        Some(model) => model.to_owned(),
        None => client.model_of(module, name).await?,
    };
    print(&client.rpc(&model, module, name, metadata, &data).await?)
}

pub(super) async fn emit(
    bus: &BusArgs,
    notification: &str,
    data: Option<&str>,
    folders: Option<&[PathBuf]>,
) -> Result<(), Error> {
    let (module, name) = split(notification)?;
    let data = input(data)?;
    let client = connect(bus).await?;
    if let Some(folders) = folders {
        match Subject::module(module, folders) {
            Some(subject) => {
                let text = json::exact(&data).map_err(client::Error::Json)?;
                let kind = Kind::Notification(Name { module, name });
                Schemas::default().check(&subject, kind, text).map_err(client::Error::Failed)?;
            }
            None => client.validate(module, name, &data).await?,
        }
    }
    Ok(client.emit(module, name, &data).await?)
}

pub(super) async fn watch(
    bus: &BusArgs,
    module: Option<&str>,
    count: Option<u64>,
) -> Result<(), Error> {
    let mut watch = connect(bus).await?.watch(module).await?;
    let mut left = count;
    while left != Some(0) {
        let told = watch.next().await?;
        let data: Value = serde_json::from_str(&told.data).unwrap_or(Value::String(told.data));
        let line =
            serde_json::json!({ "path": told.path, "notification": told.member, "data": data });
        print(&line.to_string())?;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

fn split(name: &str) -> Result<(&str, &str), Error> {
    Ok(name.split_once(':').ok_or_else(|| client::Error::Name(name.to_owned()))?)
}
