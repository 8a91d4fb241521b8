//! What the files of the checkout say by themselves: no API server, no AWS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod api_crds;
mod architecture;
mod chart_rights;
mod gitops_health;
mod hook_script;
#[path = "../support/mod.rs"]
mod support;
