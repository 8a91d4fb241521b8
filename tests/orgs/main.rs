//! The life of orgs on a real API server, with the operator's own rights and under the chart's policies.
//!
//! Each part includes `support` for itself and so has an API server and an operator of its own: they differ in the
//! controllers that run and in the policies, and an operator works on every org that it finds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]
#![allow(clippy::duplicate_mod, reason = "each part has an API server of its own")]

mod gitops_flux;
mod org_controller;
mod org_crds;
mod org_requests;
mod org_webhooks;
