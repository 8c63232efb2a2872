//! The objects of a model, and which operation a call means.

use crate::{
    bus::{READ, RUNNING, STATE, WRITE, refusal::Refusal},
    definition::Model,
    names,
};

/// What a method does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Get,
    Set,
    Check,
    State,
    /// The RPC of this number in the model.
    Rpc(usize),
    /// One of the daemon's own.
    Own(Own),
}

/// RPCs of the daemon's own modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Activate,
    Deactivate,
    Reload,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) name: String,
    /// Names of the arguments, all strings.
    pub(crate) input: &'static [&'static str],
    /// It gives a string.
    pub(crate) output: Option<&'static str>,
    pub(crate) target: Target,
}

impl Method {
    fn new(
        name: &str,
        input: &'static [&'static str],
        output: Option<&'static str>,
        target: Target,
    ) -> Self {
        Self { name: name.to_owned(), input, output, target }
    }

    pub(crate) fn rpc(name: &str, target: Target) -> Self {
        Self::new(&names::camel(name), &["metadata", "input"], Some("output"), target)
    }

    /// Signature of its arguments.
    pub(crate) fn signature(&self) -> String {
        "s".repeat(self.input.len())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) methods: Vec<Method>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) path: String,
    pub(crate) interfaces: Vec<Interface>,
}

impl Object {
    fn add(&mut self, interface: &str, method: Method) {
        match self.interfaces.iter_mut().find(|known| known.name == interface) {
            Some(known) => known.methods.push(method),
            None => self
                .interfaces
                .push(Interface { name: interface.to_owned(), methods: vec![method] }),
        }
    }
}

/// Adds a method to the object of this path.
pub(crate) fn add(objects: &mut Vec<Object>, path: &str, interface: &str, method: Method) {
    let at = objects.iter().position(|object| object.path == path).unwrap_or_else(|| {
        objects.push(Object { path: path.to_owned(), interfaces: Vec::new() });
        objects.len() - 1
    });
    objects[at].add(interface, method);
}

/// The object from which state is read.
pub(crate) fn state() -> Object {
    let mut object = Object { path: STATE.to_owned(), interfaces: Vec::new() };
    object.add(READ, Method::new("Get", &[], Some("data"), Target::State));
    object
}

/// The objects of a model. `/state` is there only when something answers it, unless `strict`.
pub(crate) fn of_model(model: &Model, strict: bool) -> Vec<Object> {
    let mut objects = Vec::new();
    add(&mut objects, RUNNING, READ, Method::new("Get", &[], Some("data"), Target::Get));
    add(&mut objects, RUNNING, WRITE, Method::new("Set", &["data"], None, Target::Set));
    add(&mut objects, RUNNING, WRITE, Method::new("Check", &["data"], None, Target::Check));
    if model.state.is_some() || strict {
        objects.push(state());
    }
    for (number, rpc) in model.rpcs.iter().enumerate() {
        let (path, interface) = (names::rpc_path(&rpc.module), names::rpc_interface(&rpc.module));
        add(&mut objects, &path, &interface, Method::rpc(&rpc.name, Target::Rpc(number)));
    }
    objects
}

/// Finds the one method that a call means, among the objects of every model it may be addressed to.
pub(crate) fn resolve<'a, T: Copy>(
    candidates: &[(T, &'a [Object])],
    path: &str,
    interface: Option<&str>,
    member: &str,
) -> Result<(T, &'a Method), Refusal> {
    let at_path: Vec<(T, &'a Object)> = candidates
        .iter()
        .flat_map(|(candidate, objects)| objects.iter().map(move |object| (*candidate, object)))
        .filter(|(_, object)| object.path == path)
        .collect();
    if at_path.is_empty() {
        return Err(Refusal::no_object(format!("there is no object `{path}`")));
    }
    let interfaces: Vec<(T, &'a Interface)> = at_path
        .iter()
        .flat_map(|(candidate, object)| object.interfaces.iter().map(move |i| (*candidate, i)))
        .filter(|(_, known)| interface.is_none_or(|name| known.name == name))
        .collect();
    if interfaces.is_empty() {
        let name = interface.unwrap_or_default();
        return Err(Refusal::unknown_interface(format!("`{path}` has no interface `{name}`")));
    }
    let methods: Vec<(T, &'a Method)> = interfaces
        .iter()
        .flat_map(|(candidate, i)| i.methods.iter().map(move |method| (*candidate, method)))
        .filter(|(_, method)| method.name == member)
        .collect();
    match (&methods[..], interface) {
        ([one], _) => Ok(*one),
        ([], Some(name)) => {
            Err(Refusal::unknown_method(format!("`{name}` of `{path}` has no method `{member}`")))
        }
        ([], None) => Err(Refusal::unknown_interface(format!(
            "the call to `{member}` of `{path}` names no interface"
        ))),
        _ => Err(Refusal::no_object(format!(
            "several models answer to `{path}`: call one of them by its own name"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b03_b04_what_is_not_there() {
        let mut objects = vec![state()];
        add(&mut objects, "/m/rpc", "yang.module.M.RPC", Method::rpc("do-it", Target::Rpc(0)));
        let candidates = [(1, &objects[..])];
        let name = |result: Result<(i32, &Method), Refusal>| match result {
            Ok((_, method)) => method.name.clone(),
            Err(Refusal::Named(name, _)) => name.rsplit('.').next().unwrap().to_owned(),
            Err(Refusal::Record(_)) => panic!(),
        };
        assert_eq!(name(resolve(&candidates, "/x", Some(READ), "Get")), "NoSuchObject");
        assert_eq!(name(resolve(&candidates, "/state", Some(WRITE), "Set")), "UnknownInterface");
        assert_eq!(name(resolve(&candidates, "/state", Some(READ), "Set")), "UnknownMethod");
        assert_eq!(name(resolve(&candidates, "/state", None, "Set")), "UnknownInterface");
        assert_eq!(name(resolve(&candidates, "/m/rpc", None, "DoIt")), "DoIt");
        let two = [(1, &objects[..]), (2, &objects[..])];
        assert_eq!(name(resolve(&two, "/state", Some(READ), "Get")), "NoSuchObject");
    }
}
