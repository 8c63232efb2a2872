//! A host that attends: it is told of every event once, and its words of processes take the place of polling.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde_json::{Value, json};
use vnode_processes::{Sighting, Word};

use crate::common::{Pkg, Process, Service, eventually, unique};

/// A connection that attends, and what it was told first.
struct Host {
    to: UnixStream,
    from: BufReader<UnixStream>,
    first: Value,
}

impl Host {
    fn attend(service: &Service, terms: Value) -> Self {
        let mut to = UnixStream::connect(service.state().join("vnf.sock")).expect("it serves");
        to.set_read_timeout(Some(Duration::from_secs(120))).expect("a socket has one");
        let mut request = terms;
        request["verb"] = json!("attend");
        writeln!(to, "{request}").expect("it listens");
        let from = BufReader::new(to.try_clone().expect("a second handle"));
        let mut host = Self { to, from, first: Value::Null };
        host.first = host.item();
        host
    }

    fn item(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("it tells");
        let value: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: `{line}`"));
        value["item"].clone()
    }

    /// Events up to the first of that kind.
    fn until(&mut self, kind: &str) -> Vec<u64> {
        let mut numbers = Vec::new();
        loop {
            let event = self.item();
            numbers.push(event["seq"].as_u64().expect("a number"));
            if event["kind"] == kind {
                return numbers;
            }
        }
    }

    fn tell(&mut self, word: &Word) {
        writeln!(self.to, "{}", json!(word)).expect("it listens");
    }
}

fn mechanism(service: &Service, wanted: &str) {
    eventually(&format!("it watches by {wanted}"), || {
        (service.ask(json!({ "verb": "info" }))["watch"] == wanted).then_some(())
    });
}

#[test]
fn pw_34_a_host_takes_the_place_of_polling_and_sees_a_life_that_is_over() {
    let service = Service::with(&["--poll"], "");
    mechanism(&service, "polling");
    let mut host = Host::attend(&service, json!({ "processes": true }));
    assert_eq!(host.first["watch"], "host");
    mechanism(&service, "host");
    let name = unique("h");
    service.instantiate(&Pkg::watched(&service, "byhost", &name));

    // Nobody but the host has seen this one under the name.
    let brief = Process::start(&mut std::process::Command::new("/bin/cat"));
    let mut seen = Sighting::of(brief.0.id().cast_signed()).expect("it lives");
    seen.comm.clone_from(&name);
    brief.stop();
    host.tell(&Word::Look(vec![seen.clone()]));
    service.tells(&["START", "TERMINATE"]);
    service.settled();
    // Told of twice, it lived once.
    host.tell(&Word::Look(vec![seen]));
    host.tell(&Word::Missed);

    let running = service.run_as(&name);
    let pid = running.0.id().cast_signed();
    host.tell(&Word::Look(vec![Sighting::of(pid).expect("it lives")]));
    service.tells(&["START", "TERMINATE", "START"]);
    service.settled();
    drop(host);
    mechanism(&service, "polling");
    running.stop();
    service.tells(&["START", "TERMINATE", "START", "TERMINATE"]);
}

#[test]
fn a_host_that_has_lost_count_has_all_looked_at() {
    let service = Service::with(&["--poll"], "");
    let mut host = Host::attend(&service, json!({ "processes": true }));
    let name = unique("l");
    service.instantiate(&Pkg::watched(&service, "lost", &name));
    let running = service.run_as(&name);
    host.tell(&Word::Lost);
    service.tells(&["START"]);
    running.stop();
    service.tells(&["START", "TERMINATE"]);
}

#[test]
fn a_host_is_told_of_each_event_once_whoever_is_started_again() {
    let mut service = Service::start();
    let package = Pkg::new(&service, "told", "none-of-that-name").on("INSTANTIATE", "told IT");
    let mut host = Host::attend(&service, json!({}));
    let journal = host.first["journal"].clone();
    assert_eq!(host.first["after"], 0);
    service.instantiate(&package);
    let mut seen = host.until("vnf.script.ended");
    drop(host);

    // The host comes back: it goes on where it was.
    let after = *seen.last().expect("there was one");
    let mut host = Host::attend(&service, json!({ "journal": journal, "after": after }));
    assert_eq!((&host.first["journal"], &host.first["after"]), (&journal, &json!(after)));
    service.ask(json!({ "verb": "terminate", "name": "told" }));
    service.ask(json!({ "verb": "rm", "name": "told" }));
    seen.extend(host.until("vnf.instance.removed"));
    drop(host);

    // So it does when the service has died meanwhile.
    service.kill();
    service.run(&[], "");
    let after = *seen.last().expect("there was one");
    let mut host = Host::attend(&service, json!({ "journal": journal, "after": after }));
    service.instantiate(&package);
    seen.extend(host.until("vnf.script.ended"));
    drop(host);
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    let all = service.items(json!({ "verb": "events" }));
    let all: Vec<u64> = all.iter().map(|event| event["seq"].as_u64().expect("a number")).collect();
    for number in all.iter().filter(|number| *number <= seen.last().expect("there was one")) {
        assert!(seen.contains(number), "{number} was not told: {seen:?}");
    }

    // Another journal's numbers say nothing.
    let mut host = Host::attend(&service, json!({ "journal": "another", "after": after }));
    assert_eq!(host.first["after"], 0);
    assert_eq!(host.item()["seq"].as_u64(), all.first().copied());
}
