//! The frame of the controllers, the Region and the backup controller, on a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod backups;
mod children;
mod election;
mod malformed;
mod regions;
#[path = "../support/mod.rs"]
mod support;
mod usage;
