//! Pure builders of the objects that the operator makes.

pub mod mover_job;
