//! What tests against a real API server share.
//!
//! API server, operator and AWS stand-in are statics of these modules, started by whoever asks first. So a module that includes
//! this one for itself has its own, and one program holds tests that must not meet: an operator works on every org and every
//! Region of its API server.
#![allow(dead_code, reason = "whoever includes it uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

pub(crate) mod api_server;
pub(crate) mod aws;
pub(crate) mod chart;
pub(crate) mod clock;
pub(crate) mod flux;
pub(crate) mod hooks;
pub(crate) mod installed;
pub(crate) mod objects;
pub(crate) mod operator;
pub(crate) mod org_world;
pub(crate) mod orgs;
pub(crate) mod reachability;
pub(crate) mod requests;
pub(crate) mod runs;
pub(crate) mod tools;
