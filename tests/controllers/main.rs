//! The controllers on a real API server, with an administrator's rights and without the chart's policies, under operators
//! that each test starts, ends and counts the requests of.
//!
//! `backups`, `children`, `election`, `malformed`, `regions` and `usage` share an API server. The other parts include `support`
//! for themselves and so have one each: their operators work on all that they find there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]
#![allow(clippy::duplicate_mod, reason = "some parts have an API server of their own")]

mod backup_places;
mod backups;
mod children;
mod election;
mod gitops_kstatus;
mod malformed;
mod org_silence;
mod org_webhook_requests;
mod reference_counts;
mod regions;
mod restores;
mod staging;
#[path = "../support/mod.rs"]
mod support;
mod waits;
mod words;
