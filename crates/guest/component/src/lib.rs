//! Ephemeral components: bus names whose requests are served by running scripts.
//!
//! * [`definition`]: the `.component` and `.instance` files. [`ini`]: the dialect they are written in.
//! * [`names`]: how YANG names become names on the bus.
#![deny(unsafe_code)]

pub mod definition;
pub mod ini;
pub mod names;
