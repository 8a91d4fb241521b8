//! What the controller makes of what it sees, without a cluster.

mod backups;
mod placement;
mod places;
mod residency;
mod retention;
mod status;
mod support;
mod tombstone;
mod webhook;
mod world;
