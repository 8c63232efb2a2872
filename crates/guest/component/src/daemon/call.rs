//! From a message to its one answer.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures_util::FutureExt;
use tracing::warn;
use zbus::{Message, message::Flags, message::Type};

use super::{
    SchemaUse, Shared,
    data::{self, Datum},
    entry::{Entry, Loaded, Phase, Place},
    known::Route,
    load::{Share, caller},
    own, undo,
};
use crate::{
    bus::{INTROSPECTABLE, PEER, introspect, object, object::Target, refusal::Refusal},
    definition::Operation,
    json,
    rpc_error::RpcError,
    script::{self, Request},
    yang::Direction,
};

/// What a call means.
enum Meaning {
    /// The answer is known.
    Answer(String),
    Nothing,
    Own(Target),
    Script(Box<Call>),
}

struct Call {
    entry: Arc<Entry>,
    loaded: Arc<Loaded>,
    model: usize,
    target: Target,
    /// Sets and Checks of a model keep their order.
    place: Option<Place>,
    running: super::entry::Running,
}

/// Takes one message. Never waits: what takes time goes on in a task of its own.
pub(super) fn dispatch(shared: &Arc<Shared>, message: Message) {
    match message.message_type() {
        Type::MethodCall => {}
        Type::Signal => {
            if message.header().member().is_some_and(|member| member.as_str() == "NameOwnerChanged")
            {
                shared.schema.changed(&message);
            }
            return;
        }
        _ => return,
    }
    let meaning = match Share::take(shared, message.data().len()) {
        Some(share) => meaning(shared, &message).map(|meaning| (meaning, share)),
        None => {
            let text = "too many calls are waiting; try again later";
            Err(RpcError::new("resource-denied", "", text).into())
        }
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let result = match meaning {
            Err(refusal) => Err(refusal),
            Ok((meaning, _share)) => {
                let done = AssertUnwindSafe(perform(&shared, &message, meaning)).catch_unwind();
                done.await.unwrap_or_else(|_| {
                    Err(Refusal::failed("the daemon has a defect, see its log"))
                })
            }
        };
        answer(&shared, &message, result).await;
    });
}

async fn answer(shared: &Arc<Shared>, call: &Message, result: Result<Option<String>, Refusal>) {
    let header = call.header();
    if header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) {
        return;
    }
    let reply = match &result {
        Ok(Some(text)) => Message::method_return(&header).build(&(text.as_str(),)),
        Ok(None) => Message::method_return(&header).build(&()),
        Err(refusal) => refusal.message(&header),
    };
    // What cannot be encoded is said so: no call is left without its answer.
    let reply = reply.or_else(|error| {
        Refusal::failed(format!("the answer cannot be sent: {error}")).message(&header)
    });
    let sent = match reply {
        Ok(reply) => shared.bus().send(&reply).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        // The bus is gone, and with it the caller's wait.
        warn!(%error, "an answer was not sent");
    }
}

fn meaning(shared: &Arc<Shared>, message: &Message) -> Result<Meaning, Refusal> {
    let header = message.header();
    let known = shared.known();
    let destination = header.destination().map_or("", |name| name.as_str());
    let routes = known.routes(destination);
    let path = header.path().map_or("", |path| path.as_str());
    let interface = header.interface().map(|interface| interface.as_str());
    let member = header.member().map_or("", |member| member.as_str());
    let objects = |route| Route::objects(route, known.own());
    match (interface, member) {
        (Some(INTROSPECTABLE), "Introspect") => {
            let all: Vec<&object::Object> = routes.iter().flat_map(objects).collect();
            let text = introspect::describe(&all, path);
            return text
                .map(Meaning::Answer)
                .ok_or_else(|| Refusal::no_object(format!("there is no object `{path}`")));
        }
        (Some(PEER), "Ping") => return Ok(Meaning::Nothing),
        (Some(PEER), "GetMachineId") => return machine_id().map(Meaning::Answer),
        (Some(known @ (INTROSPECTABLE | PEER)), _) => {
            return Err(Refusal::unknown_method(format!("`{known}` has no method `{member}`")));
        }
        _ => {}
    }
    let candidates: Vec<(usize, &[object::Object])> =
        routes.iter().enumerate().map(|(number, route)| (number, objects(route))).collect();
    let (number, method) = object::resolve(&candidates, path, interface, member)?;
    let signature = message.body().signature().to_string_no_parens();
    if signature != method.signature() {
        let text = format!("`{member}` takes `{}`, not `{signature}`", method.signature());
        return Err(Refusal::invalid_args(text));
    }
    let target = method.target;
    match &routes[number] {
        Route::Own => Ok(Meaning::Own(target)),
        Route::Model { entry, loaded, model } => {
            if entry.state().phase == Phase::Stopping {
                return Err(Refusal::failed(format!("`{}` is being deactivated", entry.name)));
            }
            let name = &loaded.instance.models[*model].name;
            let ordered = matches!(target, Target::Set | Target::Check);
            Ok(Meaning::Script(Box::new(Call {
                entry: Arc::clone(entry),
                loaded: Arc::clone(loaded),
                model: *model,
                target,
                place: ordered.then(|| entry.queue(name)),
                running: entry.enter(),
            })))
        }
    }
}

async fn perform(
    shared: &Arc<Shared>,
    message: &Message,
    meaning: Meaning,
) -> Result<Option<String>, Refusal> {
    match meaning {
        Meaning::Answer(text) => Ok(Some(text)),
        Meaning::Nothing => Ok(None),
        Meaning::Own(target) => {
            let body = message.body();
            let input = match target {
                Target::State => "",
                _ => body.deserialize::<(&str, &str)>().map_err(|e| unreadable(&e))?.1,
            };
            own::answer(shared, target, input).await.map(Some)
        }
        Meaning::Script(call) => {
            let entry = Arc::clone(&call.entry);
            let began = Instant::now();
            let result = script(shared, message, *call).await;
            entry.count(began.elapsed(), result.as_ref().err().map(Refusal::text));
            result
        }
    }
}

async fn script(
    shared: &Arc<Shared>,
    message: &Message,
    call: Call,
) -> Result<Option<String>, Refusal> {
    let Call { entry, loaded, model: number, target, mut place, running: _running } = call;
    let model = &loaded.instance.models[number];
    let strict = shared.options.strict_compat;
    let body = message.body();
    let bad = |error: json::NotJson| Refusal::failed(error.to_string());
    let (mut metadata, mut input, mut called) = (None, None, None);
    let (operation, command, key) = match target {
        Target::Get => (Operation::Get, model.get.as_ref(), Operation::Get.word().to_owned()),
        Target::State => {
            (Operation::State, model.state.as_ref(), Operation::State.word().to_owned())
        }
        Target::Set | Target::Check => {
            let operation = if target == Target::Set { Operation::Set } else { Operation::Check };
            let (text,) = body.deserialize::<(&str,)>().map_err(|e| unreadable(&e))?;
            input = Some(json::exact(text).map_err(bad)?.to_owned());
            let command = if target == Target::Set { &model.set } else { &model.check };
            (operation, command.as_ref(), operation.word().to_owned())
        }
        Target::Rpc(rpc) => {
            called = Some(rpc);
            let rpc = &model.rpcs[rpc];
            let (meta, text) = body.deserialize::<(&str, &str)>().map_err(|e| unreadable(&e))?;
            let wanted = shared.options.schema;
            if wanted == SchemaUse::Always || !data::knows(&loaded, number, &rpc.module) {
                shared.schema.check(&shared.bus(), wanted, &rpc.module, &rpc.name, text).await?;
            }
            metadata = Some(json::exact(meta).map_err(bad)?.to_owned());
            input = Some(json::exact(text).map_err(bad)?.to_owned());
            (Operation::Rpc, Some(&rpc.command), rpc.key())
        }
        Target::Own(_) => return Err(Refusal::unknown_method("no model has this operation")),
    };
    let datum = |direction| Datum { model: number, operation, rpc: called, direction };
    if let Some(input) = &input {
        data::check(shared, &loaded, datum(Direction::Input), input).await?;
    }
    let Some(command) = command else { return absent(operation, strict, &key) };
    let age = model.settings.state_cache.filter(|_| operation == Operation::State);
    if let Some(data) = age.and_then(|age| entry.cached(&model.name, age)) {
        return Ok(Some(data));
    }
    if let Some(place) = &mut place {
        place.wait().await;
    }
    let slot = loaded.slots.acquire().await;
    let turn = shared.scripts.acquire().await;
    if operation == Operation::Set {
        undo::remember(shared, &entry, &loaded, number).await;
    }
    let cancelled = entry.state().cancelled.clone();
    // Kept for the time when it is what was set last.
    let kept = model.settings.abort.as_ref().and_then(|_| input.clone());
    let request = Request {
        operation,
        message: &key,
        component: &loaded.instance.name,
        model: &model.name,
        command,
        settings: &model.settings,
        input,
        metadata: metadata.as_deref(),
        caller: caller(shared, message, model).await,
        bus: &shared.options.bus,
        strict,
    };
    let result = script::run(request, &cancelled).await;
    if operation == Operation::Set {
        match (&result, kept) {
            (Ok(_), Some(kept)) => undo::applied(&entry, &loaded, number, &kept),
            (Err(_), _) => undo::undo(shared, &entry, &loaded, number).await,
            _ => {}
        }
        entry.forget();
    }
    drop((slot, turn, place));
    let output = result.map_err(|error| spoken(error, operation, strict))?;
    if matches!(operation, Operation::Set | Operation::Check) {
        return Ok(None);
    }
    data::check(shared, &loaded, datum(Direction::Output), &output).await?;
    if age.is_some() {
        entry.keep(&model.name, &output);
    }
    Ok(Some(output))
}

/// An operation that the model does not have.
fn absent(operation: Operation, strict: bool, key: &str) -> Result<Option<String>, Refusal> {
    match operation {
        Operation::Set | Operation::Check => Ok(None),
        _ if strict => Err(Refusal::failed(format!("the model has no `{key}`"))),
        _ => Ok(Some("{}".to_owned())),
    }
}

/// The record; upstream gives it to Set, Check and RPC only.
fn spoken(error: Box<RpcError>, operation: Operation, strict: bool) -> Refusal {
    if strict && matches!(operation, Operation::Get | Operation::State) {
        return Refusal::failed(error.to_string());
    }
    Refusal::Record(error)
}

fn unreadable(error: &zbus::Error) -> Refusal {
    Refusal::invalid_args(error.to_string())
}

fn machine_id() -> Result<String, Refusal> {
    for file in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
        if let Ok(text) = std::fs::read_to_string(file)
            && text.trim().len() == 32
        {
            return Ok(text.trim().to_owned());
        }
    }
    Err(Refusal::failed("this machine has no id in /etc/machine-id"))
}
