//! What makes a component known to systemd and to the bus: units, activation and policy files, written below a
//! root of the caller's choice.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::definition::Component;

const UNITS: &str = "lib/systemd/system";
const ACTIVATION: &str = "usr/share/dbus-1/system-services";
const POLICY: &str = "etc/vci/bus.d";
const BUS_UNIT: &str = "vyatta-vci-bus.service";
const OUR_UNIT: &str = "ephemerad.service";
/// Where units are enabled.
const ENABLED: &str = "etc/systemd/system";

/// What is written at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    /// A link to another name in the same folder, or to a path.
    Link(String),
}

/// One file of an installed component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Below the root, without a leading `/`.
    pub path: PathBuf,
    pub content: Content,
}

/// Why a component is not installed.
#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Everything that `component` needs; its unit is called `unit`, without `.service`.
pub fn files(component: &Component, unit: &str) -> Vec<Installed> {
    let text = |path: PathBuf, text| Installed { path, content: Content::Text(text) };
    let unit_file = format!("{unit}.service");
    let mut files = vec![text(Path::new(UNITS).join(&unit_file), unit_text(component))];
    // What `systemctl enable` would make, which asks a service manager that a root of its own does not have.
    for target in wanted_by(component) {
        let path = Path::new(ENABLED).join(format!("{target}.wants")).join(&unit_file);
        files.push(Installed { path, content: Content::Link(format!("/{UNITS}/{unit_file}")) });
    }
    for name in component.names() {
        let alias = format!("{name}.service");
        if alias != unit_file {
            let content = Content::Link(unit_file.clone());
            files.push(Installed { path: Path::new(UNITS).join(&alias), content });
        }
        files.push(text(Path::new(ACTIVATION).join(&alias), activation_text(name)));
        files.push(text(Path::new(POLICY).join(format!("{name}.conf")), policy_text(name)));
    }
    files
}

/// Units that bring this one up.
fn wanted_by(component: &Component) -> Vec<&'static str> {
    let ephemeral = component.ephemeral.then_some(OUR_UNIT);
    let boot = ["multi-user.target"].into_iter().chain(ephemeral);
    boot.filter(|_| component.start_on_boot).collect()
}

/// The systemd unit.
pub fn unit_text(component: &Component) -> String {
    let mut after = component.after.clone();
    after.push(BUS_UNIT.to_owned());
    let mut unit = String::from("[Unit]\n");
    let mut line = |text: String| {
        unit.push_str(&text);
        unit.push('\n');
    };
    line(format!("Description={}", component.description));
    if !component.before.is_empty() {
        line(format!("Before={}", component.before.join(" ")));
    }
    if component.ephemeral {
        after.push(OUR_UNIT.to_owned());
    }
    line(format!("After={}", after.join(" ")));
    if component.ephemeral {
        line(format!("PartOf={OUR_UNIT}"));
    }
    line(format!("BindsTo={BUS_UNIT}"));
    line("\n[Service]\nType=notify\nRestart=on-failure".to_owned());
    let start = component.exec_name.clone();
    if component.ephemeral {
        line("RemainAfterExit=true".to_owned());
        let activate = format!("/lib/vci/ephemera/bin/activate -component {}", component.name);
        line(format!("ExecStart={}", start.unwrap_or(activate)));
        line(format!("ExecStop=/lib/vci/ephemera/bin/deactivate -component {}", component.name));
    } else {
        line(format!("ExecStart={}", start.unwrap_or_default()));
    }
    line("\n[Install]".to_owned());
    let wanted = wanted_by(component);
    if !wanted.is_empty() {
        line(format!("WantedBy={}", wanted.join(" ")));
    }
    let aliases: Vec<String> =
        component.names().iter().map(|name| format!("{name}.service")).collect();
    line(format!("Alias={}", aliases.join(" ")));
    unit
}

/// The file by which the bus starts the unit when the name is called.
pub fn activation_text(name: &str) -> String {
    format!(
        "[D-BUS Service]\nNotify=true\nName={name}\nExec=/bin/systemctl start {name}\nUser=root\n\
         SystemdService={name}.service\n"
    )
}

/// The bus policy of one name.
pub fn policy_text(name: &str) -> String {
    format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\"\n \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig>\n  \
         <policy user=\"root\">\n    <allow own=\"{name}\"/>\n    <allow send_destination=\"*\"/>\n  \
         </policy>\n</busconfig>\n"
    )
}

/// Writes files below a root; each appears whole or not at all.
///
/// # Errors
/// When one cannot be written; those before it stay.
pub fn write(root: &Path, files: &[Installed]) -> Result<(), Error> {
    for file in files {
        let path = root.join(&file.path);
        let failed = |doing| {
            let path = path.clone();
            move |source| Error::Io { doing, path, source }
        };
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let new = folder.join(format!(".{name}.new"));
        // Left by one who was stopped here.
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed("replace")(error));
        }
        match &file.content {
            Content::Text(text) => fs::write(&new, text).map_err(failed("write"))?,
            Content::Link(to) => std::os::unix::fs::symlink(to, &new).map_err(failed("link"))?,
        }
        fs::rename(&new, &path).map_err(failed("replace"))?;
    }
    Ok(())
}

/// Removes what [`write`] wrote. Gives what could not be removed: a package's removal never fails for it.
pub fn remove(root: &Path, files: &[Installed]) -> Vec<Error> {
    let gone = |file: &Installed| {
        let path = root.join(&file.path);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Some(Error::Io { doing: "remove", path, source })
            }
            _ => None,
        }
    };
    files.iter().filter_map(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(keys: &str) -> Component {
        let text = format!(
            "[Vyatta Component]\nName=net.test\nDescription=A test\n{keys}\n[Model net.test]\n[Model net.test.v2]\n"
        );
        Component::read(text.as_bytes()).unwrap().value
    }

    #[test]
    fn c11_c12_c13_a_normal_component() {
        let unit = unit_text(&component("ExecName=/bin/x -a\nBefore=a,b\nAfter=c"));
        assert_eq!(
            unit,
            "[Unit]\nDescription=A test\nBefore=a.service b.service\nAfter=c.service vyatta-vci-bus.service\n\
             BindsTo=vyatta-vci-bus.service\n\n[Service]\nType=notify\nRestart=on-failure\nExecStart=/bin/x -a\n\n\
             [Install]\nAlias=net.test.service net.test.v2.service\n"
        );
        let plain = unit_text(&component("ExecName=/bin/x\nStartOnBoot=true"));
        assert!(!plain.contains("Before=") && plain.contains("\nAfter=vyatta-vci-bus.service\n"));
        assert!(plain.contains("\nWantedBy=multi-user.target\n"));
    }

    #[test]
    fn c14_c15_an_ephemeral_component() {
        let unit = unit_text(&component("Ephemeral=true\nStartOnBoot=true\nAfter=c"));
        for line in [
            "After=c.service vyatta-vci-bus.service ephemerad.service",
            "PartOf=ephemerad.service",
            "RemainAfterExit=true",
            "ExecStart=/lib/vci/ephemera/bin/activate -component net.test",
            "ExecStop=/lib/vci/ephemera/bin/deactivate -component net.test",
            "WantedBy=multi-user.target ephemerad.service",
        ] {
            assert!(unit.lines().any(|l| l == line), "{line}\n{unit}");
        }
        assert!(
            unit_text(&component("Ephemeral=true\nExecName=/own")).contains("\nExecStart=/own\n")
        );
    }

    #[test]
    fn c16_c17_activation_and_policy() {
        let lines: Vec<String> =
            activation_text("net.test.v2").lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "[D-BUS Service]",
                "Notify=true",
                "Name=net.test.v2",
                "Exec=/bin/systemctl start net.test.v2",
                "User=root",
                "SystemdService=net.test.v2.service"
            ]
        );
        let policy = policy_text("net.test");
        assert!(
            policy.contains("<allow own=\"net.test\"/>")
                && policy.contains("<policy user=\"root\">")
        );
    }

    #[test]
    fn c18_every_name_has_its_files() {
        let files = files(&component("Ephemeral=true"), "my-package");
        let paths: Vec<_> = files.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(
            paths,
            [
                "lib/systemd/system/my-package.service",
                "lib/systemd/system/net.test.service",
                "usr/share/dbus-1/system-services/net.test.service",
                "etc/vci/bus.d/net.test.conf",
                "lib/systemd/system/net.test.v2.service",
                "usr/share/dbus-1/system-services/net.test.v2.service",
                "etc/vci/bus.d/net.test.v2.conf",
            ]
        );
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &files).unwrap();
        write(root.path(), &files).unwrap();
        let link = fs::read_link(root.path().join(paths[1])).unwrap();
        assert_eq!(link.to_str(), Some("my-package.service"));
        assert!(remove(root.path(), &files).is_empty());
        assert!(remove(root.path(), &files).is_empty());
        assert!(!root.path().join(paths[0]).exists());
    }

    #[test]
    fn c15_what_starts_at_boot_is_enabled_without_a_service_manager() {
        let links = |keys: &str| {
            let files = files(&component(keys), "pkg").into_iter();
            let enabled = files.filter(|file| file.path.starts_with(ENABLED));
            enabled.map(|file| (file.path.display().to_string(), file.content)).collect::<Vec<_>>()
        };
        let to = || Content::Link("/lib/systemd/system/pkg.service".to_owned());
        let boot = ("etc/systemd/system/multi-user.target.wants/pkg.service".to_owned(), to());
        let ours = ("etc/systemd/system/ephemerad.service.wants/pkg.service".to_owned(), to());
        assert_eq!(links("Ephemeral=true\nStartOnBoot=true"), [boot.clone(), ours]);
        assert_eq!(links("ExecName=/bin/x\nStartOnBoot=true"), [boot]);
        assert_eq!(links("Ephemeral=true"), []);
    }
}
