//! The kinds of group `platform.tray.ai`: types, schemas, rules and columns, one file per kind, and [`kinds`], the
//! table of them.
//!
//! Rules about one object are CEL in the CRDs (refused with 422). What may never change is in admission policies
//! (refused with 403), since GitOps tools answer 422 by re-creating the object. What needs a second object is the
//! controllers' check and ends in a condition. Doc comments on fields are what `kubectl explain` shows.

#![allow(
    unreachable_pub,
    reason = "kube's derive repeats each type in a module of its own, which the lint takes for the type"
)]

pub mod backup_schedule;
pub mod conditions;
pub mod crds;
pub mod kinds;
pub mod orgrestore;
pub mod orgsnapshot;
pub mod orgtombstone;
pub mod region;
pub mod retention_policy;
pub mod shared;
pub mod support_access;
pub mod trayorg;
pub mod workload;
