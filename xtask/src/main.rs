//! The repository's own tasks: set-up, first lab, tests, checks. `cargo xtask` lists them.
#![allow(clippy::disallowed_methods)] // a task runner starts programs; vnode-action is for the product

mod ci;
mod counts;
mod dist;
mod fuzz;
mod lab;
mod opennebula;
mod programs;
mod setup;
mod shell;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK
  lab     set up, build, bring the first lab up, show it working, take it down
  test    set up, build, run all tests
  bench   set up, build optimised, run the benchmarks
  programs
          the host's programs, optimised, in target/release, as they are meant to be installed
  tidy    the rules of this repository: crate arrows, who may start programs, no unfinished code
  fuzz    a few seconds of every fuzz target
  ci      everything that a submission has to pass
  dist [--program FILE] [--out FOLDER]
          the guest agent for other machines: one static program, a Debian package, an archive; with a program
          that is built already, only packs it
  opennebula [--live URL [--auth FILE]]
          the cases of OpenNebula's publisher, against a stand-in, or a real server whose datastore takes files
          below /var/tmp; FILE (or ONE_AUTH) has `user:password`
  setup [lab|test|bench]   install the Debian packages only";

fn main() -> ExitCode {
    if let Some(done) = fuzz::as_wrapper() {
        return done;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["setup"] => setup::run(setup::For::Test),
        ["setup", "lab"] => setup::run(setup::For::Lab),
        ["setup", "test"] => setup::run(setup::For::Test),
        ["setup", "bench"] => setup::run(setup::For::Bench),
        ["lab"] => lab::run(),
        ["test"] => test::run(),
        ["bench"] => lab::bench(),
        ["programs"] => setup::run(setup::For::Lab).and_then(|()| programs::run()),
        ["tidy"] => tidy::run(),
        ["fuzz"] => fuzz::alone(),
        ["ci"] => ci::run(),
        ["opennebula", ref rest @ ..] => opennebula::run(rest),
        ["dist", ref rest @ ..] => dist::run(rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
