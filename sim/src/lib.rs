//! A simulated world for the real controllers: `docs/simulation.md`.

pub mod aws;
pub mod calamities;
pub mod containers;
pub mod disks;
pub mod engine;
pub mod faults;
pub mod gate;
pub mod invariants;
pub mod kubernetes;
pub mod lies;
mod lock;
pub mod log;
pub mod manifests;
pub mod operators;
pub mod people;
pub mod process;
pub mod random;
pub mod simulation;
pub mod traffic;
pub mod trouble;
pub mod truth;
pub mod world;
