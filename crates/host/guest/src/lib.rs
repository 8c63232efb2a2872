//! The agent inside a guest, from the host's side.
//!
//! [`probe`] finds out which agent answers on a connection (a unix socket, a virtio-serial port's socket, the pipes of
//! a program): ours, or QEMU's. The [`Guest`] it gives runs programs, moves files and asks for facts in the same words
//! for both. A guest is never trusted: everything it sends is bounded in size and time, and what it breaks is its own
//! connection.
//!
//! ```no_run
//! # async fn example(stream: tokio::io::DuplexStream) -> vnode_guest::Result<()> {
//! use vnode_guest::{ExecSpec, FileSpec};
//! let guest = vnode_guest::probe(stream).await?;
//! guest.ping().await?;
//! guest.write_file(FileSpec::new("/etc/motd"), &b"hello\n"[..]).await?;
//! let mut exec = guest.exec(ExecSpec { argv: vec!["true".into()], ..ExecSpec::default() }).await?;
//! let exit = exec.wait().await?;
//! # Ok(())
//! # }
//! ```

mod archive;
mod error;
mod exec;
mod file;
mod guest;
pub mod native;
mod options;
mod pieces;
mod probe;
pub mod qga;
mod text;

pub use error::{Class, Error, Result};
pub use exec::{Control, Exec, ExecSpec, Exit, Reader, Size, Writer};
pub use file::{FileHead, FileReader, FileSpec};
pub use guest::{Form, Guest, Shutdown};
pub use options::Options;
pub use probe::{Stream, probe, probe_with};
