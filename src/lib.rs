//! tray-operator: runs orgs in segregated regions, keeps each one there, snapshots, prunes and restores it.
//!
//! Who may use whom (`tests/architecture.rs` holds it):
//! `main, cli -> everything` · `controllers -> api, domain, resources, ports, telemetry` ·
//! `mover -> domain, ports, engine, telemetry` · `resources -> api, domain` ·
//! `adapters -> ports, api, domain, engine's BlobStore` · `ports -> domain` · `api -> domain's constant tables`.
//! `domain` is pure: no Kubernetes, no AWS, no runtime and no clock; `now` is an argument.

pub mod adapters;
pub mod api;
pub mod cli;
pub mod config;
pub mod controllers;
pub mod domain;
pub mod mover;
pub mod ports;
pub mod resources;
pub mod telemetry;
