//! tray-operator: runs orgs in segregated regions, keeps each one there, snapshots, prunes and restores it.
//!
//! What it is made of (`tests/checkout/architecture.rs` and Cargo hold who may use whom):
//! `tray-domain` the rules, pure · `tray-api` the kinds · `tray-ledger` the ledger's protocol · `tray-ports` what is needed of the
//! outside · `tray-mover` the data plane · `tray-engine` repositories. Here: `resources` builds objects, `adapters` are the only users
//! of the Kubernetes and AWS clients, `controllers` render with `resources`
//! and act through `adapters`, and none imports another; `cli`, `operator`, `responder`
//! and `mover_process` put it all together.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod controllers;
pub mod mover_process;
pub mod operator;
pub mod resources;
pub mod responder;
pub mod telemetry;
