//! The configuration: TOML, with drop-ins.
