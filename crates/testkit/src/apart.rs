//! A test in namespaces of a thread's own, for what needs no whole host.

use rustix::mount::MountPropagationFlags as Propagation;
use rustix::thread::UnshareFlags as Namespaces;

/// Runs a test on a thread, and those it starts, with mount and network namespaces of their own. A panic in it is the test's.
///
/// # Panics
/// Without root.
pub fn apart(test: impl FnOnce() + Send + 'static) {
    let tested = std::thread::spawn(move || {
        // SAFETY: only this thread, and those it starts, get other namespaces; nothing is shared that needs the old ones.
        unsafe { rustix::thread::unshare_unsafe(Namespaces::NEWNS | Namespaces::NEWNET) }
            .expect("root may make namespaces");
        rustix::mount::mount_change("/", Propagation::PRIVATE | Propagation::REC)
            .expect("mounts are kept apart");
        test();
    });
    if let Err(panic) = tested.join() {
        std::panic::resume_unwind(panic);
    }
}
