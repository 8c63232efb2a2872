//! Owning names on the bus.

use thiserror::Error;
use zbus::Connection;

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
/// A name that another holds is refused, not queued for.
const DO_NOT_QUEUE: u32 = 4;

/// Why a name is not ours.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("the bus name `{0}` belongs to another process")]
    Taken(String),
    #[error("cannot claim the bus name `{name}`")]
    Bus {
        name: String,
        #[source]
        source: zbus::Error,
    },
}

/// Claims a name. Ours already is no error.
pub(crate) async fn claim(bus: &Connection, name: &str) -> Result<(), Error> {
    let failed = |source| Error::Bus { name: name.to_owned(), source };
    let reply =
        bus.call_method(Some(BUS), BUS_PATH, Some(BUS), "RequestName", &(name, DO_NOT_QUEUE)).await;
    // 1: it is ours now. 4: it was before.
    match reply.map_err(failed)?.body().deserialize::<u32>().map_err(failed)? {
        1 | 4 => Ok(()),
        _ => Err(Error::Taken(name.to_owned())),
    }
}

/// Gives a name back. Not ours is no error.
pub(crate) async fn release(bus: &Connection, name: &str) -> Result<(), zbus::Error> {
    bus.call_method(Some(BUS), BUS_PATH, Some(BUS), "ReleaseName", &(name,)).await.map(drop)
}

/// User and process of a connection, as far as the bus tells.
pub(crate) async fn credentials(
    bus: &Connection,
    unique: &str,
) -> Result<crate::script::Caller, zbus::Error> {
    use std::collections::HashMap;
    let reply = bus
        .call_method(Some(BUS), BUS_PATH, Some(BUS), "GetConnectionCredentials", &(unique,))
        .await?;
    let body = reply.body();
    let table: HashMap<String, zbus::Variant<'_>> = body.deserialize()?;
    let number = |key: &str| match table.get(key) {
        Some(zbus::Variant::U32(number)) => Some(*number),
        _ => None,
    };
    Ok(crate::script::Caller { uid: number("UnixUserID"), pid: number("ProcessID") })
}

/// Whether somebody serves a name now, or would be started for it.
pub(crate) async fn is_served(bus: &Connection, name: &str) -> Result<bool, zbus::Error> {
    let owned = bus.call_method(Some(BUS), BUS_PATH, Some(BUS), "NameHasOwner", &(name,)).await?;
    if owned.body().deserialize::<bool>()? {
        return Ok(true);
    }
    let list = bus.call_method(Some(BUS), BUS_PATH, Some(BUS), "ListActivatableNames", &()).await?;
    Ok(list.body().deserialize::<Vec<String>>()?.iter().any(|known| known == name))
}

/// Asks to be told when a name changes its owner.
pub(crate) async fn follow(bus: &Connection, name: &str) -> Result<(), zbus::Error> {
    let rule = format!(
        "type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{name}'"
    );
    bus.call_method(Some(BUS), BUS_PATH, Some(BUS), "AddMatch", &(rule,)).await.map(drop)
}
