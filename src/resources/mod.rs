//! Pure builders of the objects that the operator makes.

pub mod child;
pub mod mover_job;
pub mod org;
pub mod support;
