//! Opens that cannot leave their root, and bounded unpacking of archives.
//!
//! * [`Dir`] is a folder held by descriptor. Every path given to it is resolved by the kernel (`openat2`) with
//!   the folder as its limit: neither `..`, nor an absolute path, nor a symbolic link planted by a guest or an
//!   archive, nor a magic link of `/proc` leads out of it. There is no window between a check and its use.
//! * [`unpack`] turns a tar stream (plain, gzip or zstd, known by its first bytes) into files below a `Dir`, in
//!   one pass, with a bound on everything an archive's author controls.
//! * [`archive::Reader`] reads the members of a tar stream without unpacking it, under the same bounds.
//!
//! Nothing here knows what a node or an image is.

pub mod archive;
mod decoder;
mod dir;
mod list;
mod remove;
mod unpack;

pub use decoder::{Compression, Decoder};
pub use dir::{Dir, Error as DirError, Scope};
pub use unpack::{
    Devices, Error as UnpackError, Limits, Mode, Report, RootFileSystem, Whiteouts, unpack,
    unpack_tar,
};
