//! tray-operator: runs orgs in segregated regions, keeps each one there, snapshots, prunes and restores it.
//!
//! Who may use whom (`tests/architecture.rs` holds it):
//! `main, cli, operator, responder -> everything` · `controllers -> api, domain, resources, ports, config, telemetry, adapters::kube` ·
//! `mover -> domain, ports, engine, telemetry` · `resources -> api, domain` ·
//! `adapters -> ports, api, domain, resources, telemetry, engine's BlobStore` · `ports -> domain` · `api -> domain's constant tables`.
//! Controllers hand the Kubernetes client to `adapters::kube` and never call it themselves.
//! `domain` is pure: no Kubernetes, no AWS, no runtime and no clock; `now` is an argument.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod controllers;
pub mod mover_process;
pub mod operator;
pub mod resources;
pub mod responder;
pub mod telemetry;
