//! The frame of the controllers and the Region controller, on a real API server.

mod children;
mod malformed;
mod regions;
#[path = "../support/mod.rs"]
mod support;
