//! Keeping the agent's memory small: it lives in other people's machines.

use std::{sync::Arc, time::Duration};

use crate::channel::Busy;

/// Has the allocator give back what large requests needed, and not make an arena for each thread. To be called first,
/// before there is a second thread.
pub fn bound_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets three numbers of the allocator; nobody allocates meanwhile, for there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 512 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 10);
    }
}

/// After this the start is over.
const SETTLE: Duration = Duration::from_secs(1);
/// Looked at so often while there are requests: after one to two of these without any, the next is not expected soon.
const QUIET: Duration = Duration::from_secs(5);

/// Lets go of the code that only the start needed, and whenever nobody has asked for a while, of what the requests
/// needed. An agent that nobody asks is not woken: this runs after the start, and once or twice after each time of
/// work.
pub async fn settle(busy: Arc<Busy>) {
    let mut wait = SETTLE;
    loop {
        let seen = busy.begun();
        tokio::time::sleep(wait).await;
        wait = QUIET;
        if busy.is_idle() && busy.begun() == seen {
            if let Err(error) = let_go() {
                tracing::debug!(%error, "code that is not used stays in memory");
                return;
            }
            busy.begins(seen).await;
        }
        busy.idle().await;
    }
}

/// Lets go of the pages of our program's file. What is used again comes back from the page cache as it is touched.
///
/// # Errors
/// When the kernel does not tell where our code lies, or keeps it.
fn let_go() -> std::io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for line in maps.lines() {
        // start-end rights offset device inode path
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        if words.nth(3).map(std::path::Path::new) != Some(program.as_path()) {
            continue;
        }
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let Some((start, end)) = range.split_once('-') else { continue };
        let (Some(start), Some(end)) = (number(start), number(end)) else { continue };
        // Constants lie before the code. What lies behind it was written when the program started.
        if !matches!(rights, "r--p" | "r-xp") {
            break;
        }
        let length = end.saturating_sub(start);
        let start = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: a mapping of our program's file that was never writable holds what the file holds; dropped pages are
        // read again from it. The kernel named its bounds just now, and code is never unmapped.
        unsafe { rustix::mm::madvise(start, length, rustix::mm::Advice::LinuxDontNeed)? };
        if rights == "r-xp" {
            break;
        }
    }
    Ok(())
}
