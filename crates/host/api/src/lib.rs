//! The daemon's HTTP API: what `vnode_lifecycle::Host` can do, for the command line and for other programs.
//!
//! ```text
//!  unix socket (root only) ─┐
//!                           ├─ serve ─▶ router: token, limits, metrics ─▶ routes/<resource> ─▶ Host
//!  TCP: TLS and a token ────┘                                               │
//!                                                     one form of error ◀───┘ error::Problem
//! ```
//!
//! * [`Api`] holds what handlers share; [`Api::router`] is all routes, [`serve()`] listens.
//! * [`Problem`] is every error, with the one table from its [`Code`] to HTTP status and exit code.
//! * [`message`] are bodies of requests and answers; views go through as the lifecycle has them.
//! * [`openapi_json`] describes it all; the same text is in `docs/reference/openapi.json`.
//!
//! Invariants: nothing here changes the world but through `Host`; a handler never waits for a client that
//! does not read; every body, time and number of streams is bounded.

pub mod error;
mod extract;
mod functions;
pub mod message;
mod metrics;
mod outcome;
mod router;
mod routes;
mod serve;
mod session;
mod shape;
pub mod socket;
mod state;
pub mod tls;
pub mod token;
pub mod topology;

pub use error::{CODES, Code, Finding, Place, Problem, Related};
pub use router::openapi_json;
pub use routes::stream::UPGRADE;
pub use serve::{GRACE, Listeners, Peer, serve};
pub use state::Api;
