//! Units of systemd: control groups of their names, in the tree that systemd would have them in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::common::{Pkg, Process, Service, eventually, unique};

/// A folder of a unit. Removed with the value.
struct Unit(PathBuf);

impl Unit {
    /// `None`: it cannot be made here.
    fn new(name: &str) -> Option<Self> {
        let trees = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let tree = trees.iter().find(|tree| Path::new(tree).join("cgroup.procs").exists());
        let path = Path::new(tree?).join(name);
        match fs::create_dir(&path) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                println!("skipped: {}: {error}", path.display());
                None
            }
        }
    }

    /// A process that enters the unit, and then becomes a program.
    fn run(&self, program: &Path) -> Process {
        let procs = self.0.join("cgroup.procs");
        let line = format!("echo 0 > {} && exec {}", procs.display(), program.display());
        Process::start(Command::new("/bin/sh").args(["-c", &line]))
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // Its processes leave it a moment after they have ended.
        eventually("the unit is empty", || fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn a_function_is_there_as_long_as_its_unit_has_a_process() {
    let service = Service::start();
    let name = unique("u");
    let unit = format!("vnode-{name}@1.service");
    let (Some(own), Some(other)) = (Unit::new(&unit), Unit::new(&format!("other-{unit}"))) else {
        println!("skipped: needs root and a tree of control groups");
        return;
    };
    let package =
        Pkg::watched(&service, "x", "p").set("process", json!({ "by": "unit", "name": unit }));
    service.instantiate(&package);
    let program = service.program(&name);
    let stranger = other.run(&program);
    let first = own.run(&program);
    service.tells(&["START"]);
    assert_eq!(service.status("x")["pids"], json!([first.0.id()]));
    let asked = service.ask(json!({ "verb": "process", "name": unit, "by": "unit" }));
    assert_eq!((&asked["state"], &asked["count"]), (&json!("RUNNING"), &json!(1)));
    // Another of the unit, by whatever name.
    let second = own.run(Path::new("/bin/cat"));
    eventually("both are seen", || {
        (service.status("x")["pids"].as_array()?.len() == 2).then_some(())
    });
    first.stop();
    eventually("the second alone", || {
        (service.status("x")["pids"] == json!([second.0.id()])).then_some(())
    });
    assert_eq!(service.told(), ["START"]);
    second.stop();
    service.tells(&["START", "TERMINATE"]);
    let again = own.run(&program);
    service.tells(&["START", "TERMINATE", "START"]);
    again.stop();
    stranger.stop();
    service.tells(&["START", "TERMINATE", "START", "TERMINATE"]);
}
