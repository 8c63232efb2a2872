//! Keeping the agent's memory small: it lives in other people's machines.

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
const SETTLE: std::time::Duration = std::time::Duration::from_secs(1);

/// Waits until the start is over, and lets go of its code.
pub async fn settle() {
    tokio::time::sleep(SETTLE).await;
    if let Err(error) = let_go_of_start() {
        tracing::debug!(%error, "the start's code stays in memory");
    }
}

/// Lets go of the code that only the start needed. What is used again comes back from the page cache as it is called.
///
/// # Errors
/// When the kernel does not tell where our code lies, or keeps it.
fn let_go_of_start() -> std::io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for line in maps.lines() {
        // start-end rights offset device inode path
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some("r-xp")) = (words.next(), words.next()) else { continue };
        if words.nth(3).map(std::path::Path::new) != Some(program.as_path()) {
            continue;
        }
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let Some((start, end)) = range.split_once('-') else { continue };
        let (Some(start), Some(end)) = (number(start), number(end)) else { continue };
        let length = end.saturating_sub(start);
        let start = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: a mapping of our program's file that was never writable holds what the file holds; dropped pages are
        // read again from it. The kernel named its bounds just now, and code is never unmapped.
        unsafe { rustix::mm::madvise(start, length, rustix::mm::Advice::LinuxDontNeed)? };
    }
    Ok(())
}
