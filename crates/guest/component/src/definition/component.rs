//! The `.component` file: what the installer and the configuration daemon need to know.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::ini::{Document, MAX_FILE, Section};

use super::{
    Read,
    finding::{Finding, Invalid, settle},
};

/// What a component file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Component {
    pub name: String,
    pub description: String,
    /// Command line of the unit; `None` for an ephemeral component that gives none.
    pub exec_name: Option<String>,
    /// Served by us, with scripts.
    pub ephemeral: bool,
    pub start_on_boot: bool,
    /// Owner of modules that nobody claims.
    pub default_component: bool,
    pub config_files: Vec<String>,
    /// Names of units, each ending in `.service`.
    pub before: Vec<String>,
    pub after: Vec<String>,
    pub models: Vec<ComponentModel>,
}

/// One model of a component file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ComponentModel {
    pub name: String,
    pub modules: Vec<String>,
    pub model_sets: Vec<String>,
    pub imports_required_for_check: Vec<String>,
}

const SECTION: &str = "Vyatta Component";
const KEYS: [&str; 9] = [
    "Name",
    "Description",
    "ExecName",
    "Ephemeral",
    "StartOnBoot",
    "DefaultComponent",
    "ConfigFile",
    "Before",
    "After",
];
const MODEL_KEYS: [&str; 3] = ["Modules", "ModelSets", "ImportsRequiredForCheck"];

impl Component {
    /// Reads a component file.
    ///
    /// # Errors
    /// With everything that was found, when the file is refused.
    pub fn read(bytes: &[u8]) -> Result<Read<Self>, Invalid> {
        let document = Document::read(bytes)?;
        let mut reader = Reader {
            document: &document,
            findings: document.warnings.iter().cloned().map(Into::into).collect(),
        };
        reader.twice(bytes);
        let component = reader.component();
        settle(component, reader.findings)
    }

    /// The model that belongs to a set.
    pub fn model_of_set(&self, set: &str) -> Option<&ComponentModel> {
        self.models.iter().find(|model| model.model_sets.iter().any(|name| name == set))
    }

    /// The component's name and those of its models, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names = vec![self.name.as_str()];
        for model in &self.models {
            if !names.contains(&model.name.as_str()) {
                names.push(&model.name);
            }
        }
        names
    }
}

struct Reader<'a> {
    document: &'a Document,
    findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    fn error(&mut self, line: usize, text: impl Into<String>) {
        self.findings.push(Finding::error(line, text));
    }

    fn warn(&mut self, line: usize, text: impl Into<String>) {
        self.findings.push(Finding::warning(line, text));
    }

    /// A section that is there twice; blanks around its header do not hide it.
    fn twice(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let mut seen = HashSet::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.starts_with('[')
                && let Some(close) = line.rfind(']')
                && !seen.insert(line[..=close].to_owned())
            {
                self.error(number, format!("section `{}` is there twice", &line[..=close]));
            }
        }
    }

    fn component(&mut self) -> Component {
        let mut component = Component::default();
        let Some(section) = self.document.section(SECTION) else {
            self.error(0, format!("there is no section `[{SECTION}]`"));
            return component;
        };
        self.unknown(section, &KEYS);
        component.name = self.required(section, "Name");
        component.description = self.required(section, "Description");
        component.ephemeral = self.boolean(section, "Ephemeral");
        component.start_on_boot = self.boolean(section, "StartOnBoot");
        component.default_component = self.boolean(section, "DefaultComponent");
        component.exec_name = self.text(section, "ExecName");
        if component.exec_name.is_none() && !component.ephemeral {
            let text = format!(
                "missing field `ExecName` in `[{SECTION}]`: needed unless `Ephemeral=true`"
            );
            self.error(section.line, text);
        }
        component.config_files = self.list(section, "ConfigFile");
        component.before = self.units(section, "Before");
        component.after = self.units(section, "After");
        if component.name.ends_with(".service") {
            self.error(
                section.line,
                format!("`Name` must not end in `.service`: `{}`", component.name),
            );
        } else if !component.name.is_empty() && !crate::names::is_bus_name(&component.name) {
            self.error(section.line, format!("`{}` is no name the bus allows", component.name));
        }
        for section in self.document.sections() {
            if let Some(name) = section.name.strip_prefix("Model ") {
                let model = self.model(section, name);
                self.claims(&component, &model, section.line);
                component.models.push(model);
            } else if section.name != SECTION && section.name != "DEFAULT" {
                self.warn(section.line, format!("section `[{}]` means nothing here", section.name));
            }
        }
        component
    }

    fn model(&mut self, section: &'a Section, name: &str) -> ComponentModel {
        self.unknown(section, &MODEL_KEYS);
        if !crate::names::is_bus_name(name) {
            self.error(section.line, format!("`{name}` is no name the bus allows"));
        }
        ComponentModel {
            name: name.to_owned(),
            modules: self.names(section, "Modules"),
            model_sets: self.names(section, "ModelSets"),
            imports_required_for_check: self.names(section, "ImportsRequiredForCheck"),
        }
    }

    fn claims(&mut self, component: &Component, model: &ComponentModel, line: usize) {
        for set in &model.model_sets {
            if let Some(other) = component.model_of_set(set) {
                let text = format!(
                    "models `{}` and `{}` both claim the set `{set}`",
                    other.name, model.name
                );
                self.error(line, text);
            }
        }
    }

    fn text(&mut self, section: &'a Section, key: &str) -> Option<String> {
        let value = self.document.get(section, key)?;
        if value.inherited {
            self.warn(
                section.line,
                format!("`{key}` comes from line {}, by the name", value.key.line),
            );
        }
        if let Some(cut) = &value.key.cut
            && key == "ExecName"
        {
            self.warn(
                value.key.line,
                format!("the command ends before `{cut}`, which is a comment"),
            );
        }
        Some(value.text).filter(|text| !text.is_empty())
    }

    fn required(&mut self, section: &'a Section, key: &str) -> String {
        self.text(section, key).unwrap_or_else(|| {
            self.error(section.line, format!("missing field `{key}` in `[{}]`", section.name));
            String::new()
        })
    }

    fn line(section: &Section, key: &str) -> usize {
        section.keys().find(|k| k.name == key).map_or(section.line, |key| key.line)
    }

    fn boolean(&mut self, section: &'a Section, key: &str) -> bool {
        let Some(text) = self.text(section, key) else { return false };
        match text.to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => {
                self.error(
                    Self::line(section, key),
                    format!("`{key}` is `true` or `false`, not `{text}`"),
                );
                false
            }
        }
    }

    /// A list whose entries hold no blanks.
    fn list(&mut self, section: &'a Section, key: &str) -> Vec<String> {
        let Some(text) = self.text(section, key) else { return Vec::new() };
        let entries: Vec<String> = entries(&text).map(str::to_owned).collect();
        if entries.iter().any(|entry| entry.contains(char::is_whitespace)) {
            let line = Self::line(section, key);
            self.error(
                line,
                format!("an entry of `{key}` holds a blank: `{text}`; commas part them"),
            );
        }
        entries
    }

    fn units(&mut self, section: &'a Section, key: &str) -> Vec<String> {
        let unit = |name: String| if name.ends_with(".service") { name } else { name + ".service" };
        self.list(section, key).into_iter().map(unit).collect()
    }

    fn names(&mut self, section: &'a Section, key: &str) -> Vec<String> {
        let Some(text) = self.text(section, key) else { return Vec::new() };
        let whole = text.trim().trim_end_matches(',');
        if whole.split(',').any(|entry| entry.trim().is_empty()) {
            self.warn(Self::line(section, key), format!("`{key}` has an empty entry: left out"));
        }
        entries(&text).map(str::to_owned).collect()
    }

    fn unknown(&mut self, section: &'a Section, known: &[&str]) {
        for key in section.keys() {
            if known.contains(&key.name.as_str()) {
                continue;
            }
            let meant = known.iter().find(|known| known.eq_ignore_ascii_case(&key.name));
            let hint = meant.map_or(String::new(), |meant| format!(": is `{meant}` meant?"));
            self.warn(key.line, format!("key `{}` means nothing here{hint}", key.name));
        }
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Why a folder of component files cannot be read.
#[derive(Debug, Error)]
pub enum FolderError {
    #[error("cannot read {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is refused", path.display())]
    Invalid {
        path: PathBuf,
        #[source]
        source: Invalid,
    },
}

/// Reads every file of a folder whose name ends in `.component`, not those of folders below it.
///
/// # Errors
/// At the first file that cannot be read or is refused.
pub fn read_folder(folder: &Path) -> Result<Vec<(PathBuf, Component)>, FolderError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Io { path, source }
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "component") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let bytes = read_file(&path).map_err(io(&path))?;
            let read = Component::read(&bytes)
                .map_err(|source| FolderError::Invalid { path: path.clone(), source })?;
            Ok((path, read.value))
        })
        .collect()
}

/// Reads a definition file, no more of it than one may have.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the reader says that it is too much.
    fs::File::open(path)?.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "component_tests.rs"]
mod tests;
