//! What tests against a real API server share.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

pub mod api_server;
pub mod aws;
pub mod chart;
pub mod flux;
pub mod installed;
pub mod objects;
pub mod operator;
pub mod org_world;
pub mod orgs;
pub mod reachability;
pub mod requests;
pub mod runs;
pub mod tools;
