//! Whole movers over fakes of everything outside.

mod engine;
mod fakes;
mod objects;
mod open;
mod process;
mod prune;
mod volume;
