//! The event program against a server that keeps images: a stand-in, or with `VNODE_ONE_LIVE=URL` a real one.
#![allow(clippy::disallowed_methods)] // the program is run as vmcatcher runs it, not by vnode-action
#![allow(clippy::unwrap_used)] // helpers panic as tests do: that is the report

mod dispatch;
mod expire;
mod fake;
mod files;
mod hostile;
mod killed;
mod lists;
mod register;
mod replace;
mod site;

/// Not a test: the event program itself, in a process of its own, when another test asks for it.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(site::CHILD) else { return };
    if let Ok(faults) = std::env::var("VNODE_FAULT") {
        vnode_operation::fault::arm(&faults).expect("faults are well formed");
    }
    let arguments = arguments.split('\u{1f}').map(Into::into);
    let code = vnode_opennebula::program::main(arguments, std::env::vars_os());
    std::process::exit(i32::from(code));
}
