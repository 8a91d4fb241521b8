//! What tests against a real API server share.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

pub(crate) mod api_server;
pub(crate) mod aws;
pub(crate) mod chart;
pub(crate) mod flux;
pub(crate) mod installed;
pub(crate) mod objects;
pub(crate) mod operator;
pub(crate) mod org_world;
pub(crate) mod orgs;
pub(crate) mod reachability;
pub(crate) mod requests;
pub(crate) mod runs;
pub(crate) mod tools;
