//! What the allocator keeps, and the pages of the program's own file.
#![allow(unsafe_code)]

use std::{io, path::Path};

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

/// Lets go of what the allocator holds and nobody has, and of the pages of our program's file: most of it only the start
/// needed. What is used again comes back from the page cache as it is touched.
///
/// # Errors
/// When the kernel does not tell where our code lies, or keeps it.
pub fn let_go() -> io::Result<()> {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator's own function, which takes its lock; it touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for line in maps.lines() {
        // proc(5): start-end rights offset device inode path
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        if words.nth(3).map(Path::new) != Some(program.as_path()) {
            continue;
        }
        // Constants lie before the code. What lies behind it was written when the program started.
        if !matches!(rights, "r--p" | "r-xp") {
            break;
        }
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let Some((start, end)) = range.split_once('-') else { continue };
        let (Some(start), Some(end)) = (number(start), number(end)) else { continue };
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_goes_on_without_its_pages() {
        super::let_go().expect("the kernel tells where our code lies");
        super::let_go().expect("and again");
    }
}
