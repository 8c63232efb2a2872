//! The service as a process of its own, real packages, real processes.
#![allow(clippy::disallowed_methods, reason = "tests start programs to watch them")]

#[path = "vnf/attending.rs"]
mod attending;
#[path = "vnf/common.rs"]
mod common;
#[path = "vnf/confining.rs"]
mod confining;
#[path = "vnf/crashes.rs"]
mod crashes;
#[path = "vnf/examples.rs"]
mod examples;
#[path = "vnf/hardened.rs"]
mod hardened;
#[path = "vnf/identities.rs"]
mod identities;
#[path = "vnf/legacy.rs"]
mod legacy;
#[path = "vnf/limits.rs"]
mod limits;
#[path = "vnf/load.rs"]
mod load;
#[path = "vnf/operations.rs"]
mod operations;
#[path = "vnf/packages.rs"]
mod packages;
#[path = "vnf/reference.rs"]
mod reference;
#[path = "vnf/repeating.rs"]
mod repeating;
#[path = "vnf/scripts.rs"]
mod scripts;
#[path = "vnf/units.rs"]
mod units;
#[path = "vnf/watching.rs"]
mod watching;

#[path = "vnf/cases.rs"]
mod cases;

/// Not a test: the service of the others, started by them as a process.
#[test]
#[ignore = "started by the other tests"]
fn service_of_the_tests() {
    use clap::Parser;
    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: vnode_vnf::cli::Args,
    }
    let words = std::env::var("VNF_TEST_SERVICE").expect("who starts it says how");
    let args = Cli::parse_from(["vnf"].into_iter().chain(words.split('\n'))).args;
    std::process::exit(vnode_vnf::cli::run(args).into());
}

/// Not a test: a process with more than one thread, which does as its environment says when it is given a line.
#[test]
#[ignore = "started by the other tests"]
fn process_of_the_tests() {
    identities::process();
}
