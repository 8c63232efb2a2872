//! `vnode`, as it is started: a small static program that does by itself what is done most often, and becomes the whole
//! one, `vnode-core` beside it, for everything else.
//!
//! Starting the whole program takes two milliseconds before its first own instruction counts: a hundred thousand
//! relocations, three libraries, the parser of the command line. `vnode exec NODE -- PROGRAM` is run in loops, and needs
//! none of it. What this one cannot do exactly as the whole program does it, it leaves to that: options, terminals,
//! another host, a daemon that is not there, an answer that is an error.
//!
//! The floor is two starts of an empty program, this one and the one in the node: 1.9 ms where both are linked with glibc.
//! The whole program by itself takes 5.4 ms for an exec, with this one before it 3.4, and 2.6 where this one is built for
//! musl (`cargo xtask programs`), which starts in 0.3 ms.

// Before `main` the standard library would look at its stack, its signals and its arguments, which costs a tenth of all.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code))] // tests begin elsewhere

mod exec;
mod sys;

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The whole program, beside this one.
const CORE: &str = "vnode-core";

/// # Safety
/// Called by the C library only, with what the kernel gave it.
#[cfg_attr(not(test), unsafe(export_name = "main"))]
unsafe extern "C" fn start(_: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the kernel ends the list with a null pointer, and each text with a NUL; they live as long as we do.
    let arguments: Vec<&'static CStr> = unsafe {
        (0..)
            .map(|at| *argv.add(at))
            .take_while(|a| !a.is_null())
            .map(|a| CStr::from_ptr(a))
            .collect()
    };
    let words: Option<Vec<&str>> = arguments.iter().map(|a| a.to_str().ok()).collect();
    if let Some(asked) = words.as_deref().and_then(exec::Asked::read)
        && let Some(code) = exec::run(&asked)
    {
        return code;
    }
    become_core(argv)
}

/// Goes on as the whole program, in this process; comes back when it is not there.
fn become_core(argv: *const *const c_char) -> c_int {
    let Ok(own) = std::fs::read_link("/proc/self/exe") else {
        return sys::fail("cannot tell where `vnode` is: is /proc mounted?");
    };
    let path = own.with_file_name(CORE);
    let Ok(file) = CString::new(path.as_os_str().as_bytes()) else {
        return sys::fail("the folder of `vnode` has a name that cannot be");
    };
    // SAFETY: the path is a text, and both lists are the kernel's own, unchanged.
    unsafe { libc::execv(file.as_ptr(), argv) };
    let error = std::io::Error::last_os_error();
    sys::fail(&format!(
        "cannot run `{}`: {error}\n  hint: install `{CORE}` beside `vnode`",
        path.display()
    ))
}

/// A variable of the environment that is set to something.
fn variable(name: &CStr) -> Option<OsString> {
    // SAFETY: nothing changes the environment of this program.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: the C library ends it with a NUL, and nothing changes it.
    let value = unsafe { CStr::from_ptr(value) };
    Some(OsString::from_vec(OsStr::from_bytes(value.to_bytes()).as_bytes().to_vec()))
}
