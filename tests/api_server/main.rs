//! What the API server answers while no operator runs. First of all every rule of the CRDs and every admission policy: what
//! it lets through and what it refuses. A rule or a validation that refuses no case of these tables fails a test, so none is
//! added untested.
//!
//! `crds` to `rights` share an API server that has the chart's policies. `bare` and `org_creation` include `support` for
//! themselves and so have another one each: without these policies, and with more of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]
#![allow(clippy::duplicate_mod, reason = "some parts have an API server of their own")]

mod bare;
mod crds;
mod edit;
mod org_creation;
mod policies;
mod reattach;
mod rights;
#[path = "../support/mod.rs"]
mod support;
