//! Very many programs started beside a function, and very many functions (PW-32, PW-37). `bench/` has both at full size.

use std::{
    process::Command,
    sync::mpsc::{TryRecvError, channel},
    time::Duration,
};

use serde_json::json;

use crate::common::{Pkg, Service, unique};

/// Of 50 ms each; ten seconds are full of them in `bench/`.
const LIVES: usize = 8;
const LIFE: Duration = Duration::from_millis(50);
/// A hundred in `bench/`.
const FUNCTIONS: usize = 40;

#[test]
fn pw_32_no_life_is_missed_however_much_is_started_beside_it() {
    let service = Service::start();
    if service.ask(json!({ "verb": "info" }))["watch"] != "connector" {
        return println!("skipped: no process connector here, and a look may come too late");
    }
    let name = unique("l");
    service.instantiate(&Pkg::watched(&service, "load", &name).calm());
    let (going, over) = channel::<()>();
    std::thread::scope(|scope| {
        // It ends with the scope, however that ends.
        let _going = going;
        // As many as the machine starts, one after the other.
        scope.spawn(move || {
            while over.try_recv() == Err(TryRecvError::Empty) {
                Command::new("/bin/true").status().expect("it runs");
            }
        });
        let mut expected = Vec::new();
        for _ in 0..LIVES {
            let running = service.run_as(&name);
            // It is the length of this life that is tested.
            std::thread::sleep(LIFE);
            running.stop();
            expected.extend(["START", "TERMINATE"]);
            service.tells(&expected);
            service.settled();
        }
    });
}

#[test]
fn pw_37_many_functions_take_little_memory() {
    let service = Service::start();
    let before = service.memory("RssAnon");
    service.push(&Pkg::watched(&service, "many", &unique("m")));
    for number in 0..FUNCTIONS {
        let name = format!("f{number}");
        service.ask(json!({ "verb": "instantiate", "package": "many", "name": name }));
    }
    let after = service.memory("RssAnon");
    // Of the program itself as much as it is built with; 16 MiB are for a hundred, and for all of it.
    let most = 16 * 1024 * FUNCTIONS as u64 / 100;
    assert!(after - before <= most, "{before} KiB, with {FUNCTIONS} functions {after} KiB");
}
