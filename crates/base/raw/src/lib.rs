//! System calls that touch nothing but the kernel: a child that borrows our memory (`clone` with `CLONE_VM`) shares our
//! `errno` too, which a call of the C library's would overwrite under us.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_long};

pub mod capability;

/// Whether a child may run beside the thread that made it. Where we have no system calls of our own, that thread stands
/// still, and so does its `errno`.
pub const BESIDE: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Result of a system call, or the number of its error.
pub type Outcome = Result<usize, c_int>;

/// One argument of a system call.
pub trait Argument {
    /// As it lies in a register.
    fn word(self) -> usize;
}

impl Argument for usize {
    fn word(self) -> usize {
        self
    }
}

impl Argument for c_int {
    fn word(self) -> usize {
        // Sign extension, as C does it.
        self as isize as usize
    }
}

impl Argument for u32 {
    fn word(self) -> usize {
        self as usize
    }
}

impl<T> Argument for *const T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

impl<T> Argument for *mut T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

/// Makes a system call with up to five arguments; those that are not given are zero. Unsafe, as [`system`] is.
#[macro_export]
macro_rules! call {
    ($number:expr) => { $crate::system($number, [0; 5]) };
    ($number:expr, $($argument:expr),+) => {{
        let mut words = [0_usize; 5];
        let given = [$($crate::Argument::word($argument)),+];
        let mut at = 0;
        while at < given.len() {
            words[at] = given[at];
            at += 1;
        }
        $crate::system($number, words)
    }};
}

/// Makes the system call of this number.
///
/// # Errors
/// The kernel's, by its number.
///
/// # Safety
/// As of the system call: pointers are valid, and what it changes may be changed.
#[cfg(target_arch = "x86_64")]
pub unsafe fn system(number: c_long, [a, b, c, d, e]: [usize; 5]) -> Outcome {
    let result: isize;
    // SAFETY: the kernel's calling convention: it changes rax, rcx and r11 alone, and what the caller vouches for.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    outcome(result)
}

/// Makes the system call of this number.
///
/// # Errors
/// The kernel's, by its number.
///
/// # Safety
/// As of the system call: pointers are valid, and what it changes may be changed.
#[cfg(target_arch = "aarch64")]
pub unsafe fn system(number: c_long, [a, b, c, d, e]: [usize; 5]) -> Outcome {
    let result: isize;
    // SAFETY: the kernel's calling convention: it changes x0 alone, and what the caller vouches for.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            options(nostack)
        );
    }
    outcome(result)
}

/// Makes the system call of this number, by way of the C library, which writes this thread's `errno`.
///
/// # Errors
/// The kernel's, by its number.
///
/// # Safety
/// As of the system call: pointers are valid, and what it changes may be changed.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub unsafe fn system(number: c_long, [a, b, c, d, e]: [usize; 5]) -> Outcome {
    // SAFETY: as the caller vouches.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result < 0 {
        // SAFETY: the address of this thread's own.
        return Err(unsafe { *libc::__errno_location() });
    }
    Ok(result as usize)
}

/// The kernel gives errors as small negative numbers.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn outcome(result: isize) -> Outcome {
    match result {
        -4095..=-1 => Err(-(result as c_int)),
        result => Ok(result as usize),
    }
}
