//! Every rule of the CRDs and every admission policy, on a real API server: what it lets through and what it refuses. A
//! rule or a validation that refuses no case of these tables fails a test, so none is added untested.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod crds;
mod edit;
mod policies;
mod reattach;
mod rights;
#[path = "../support/mod.rs"]
mod support;
