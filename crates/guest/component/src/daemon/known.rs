//! What is defined, what is active, and who owns which name.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use super::{
    entry::{Entry, Loaded, Phase},
    own,
};
use crate::bus::object::Object;

/// All components.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By component name.
    pub(super) components: BTreeMap<String, Arc<Entry>>,
    /// Names on the bus that are served.
    routes: HashMap<String, Vec<Route>>,
    /// Files of which nothing is known but that they are refused.
    pub(super) broken: BTreeMap<PathBuf, String>,
    /// Nothing is activated any more.
    pub(super) ending: bool,
    own: own::Objects,
}

/// Who serves: a model of a component, or the daemon itself.
#[derive(Debug, Clone)]
pub(super) enum Route {
    Model { entry: Arc<Entry>, loaded: Arc<Loaded>, model: usize },
    Own,
}

impl Route {
    pub(super) fn objects<'a>(&'a self, own: &'a own::Objects) -> &'a [Object] {
        match self {
            Self::Model { loaded, model, .. } => &loaded.objects[*model],
            Self::Own => own.all(),
        }
    }
}

impl Known {
    /// Serves every name of a definition. Takes back what another definition of it served.
    pub(super) fn serve(&mut self, entry: &Arc<Entry>, loaded: &Arc<Loaded>) {
        self.silence(entry);
        let instance = &loaded.instance;
        let routes = (0..instance.models.len()).map(|model| Route::Model {
            entry: Arc::clone(entry),
            loaded: Arc::clone(loaded),
            model,
        });
        let all: Vec<Route> = routes.collect();
        for name in instance.names() {
            let number = instance.models.iter().position(|model| model.name == name);
            let routes = number.map_or_else(|| all.clone(), |number| vec![all[number].clone()]);
            self.routes.insert(name.to_owned(), routes);
        }
    }

    /// Serves no name of a component.
    pub(super) fn silence(&mut self, entry: &Arc<Entry>) {
        self.routes.retain(|_, routes| {
            !routes.iter().any(|route| matches!(route, Route::Model { entry: other, .. } if Arc::ptr_eq(other, entry)))
        });
        // A component without models serves its own name with nothing.
        let names: Vec<String> =
            entry.loaded().instance.names().into_iter().map(str::to_owned).collect();
        self.routes.retain(|name, routes| !(routes.is_empty() && names.contains(name)));
    }

    /// Whether a name is served by a component other than `entry`, or by the daemon.
    pub(super) fn is_taken(&self, name: &str, entry: &Arc<Entry>) -> bool {
        [own::NAME, own::MODEL].contains(&name)
            || self.routes.get(name).is_some_and(|routes| {
                routes.iter().any(|route| !matches!(route, Route::Model { entry: other, .. } if Arc::ptr_eq(other, entry)))
            })
    }

    /// Who may be meant by a destination: a model by its name, all models of a component by its, all there are
    /// by our unique name.
    pub(super) fn routes(&self, destination: &str) -> Vec<Route> {
        if [own::NAME, own::MODEL].contains(&destination) {
            return vec![Route::Own];
        }
        if let Some(routes) = self.routes.get(destination) {
            return routes.clone();
        }
        if !destination.starts_with(':') {
            return Vec::new();
        }
        let mut all = vec![Route::Own];
        for entry in self.components.values() {
            let state = entry.state();
            if state.phase != Phase::Inactive {
                all.extend((0..state.loaded.objects.len()).map(|model| Route::Model {
                    entry: Arc::clone(entry),
                    loaded: Arc::clone(&state.loaded),
                    model,
                }));
            }
        }
        all
    }

    pub(super) fn own(&self) -> &own::Objects {
        &self.own
    }
}
