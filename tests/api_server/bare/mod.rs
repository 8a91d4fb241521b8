//! On an API server of their own that has nothing of the chart but what a test puts there.

mod examples;
mod mover_objects;
mod org_children;
#[path = "../../support/mod.rs"]
mod support;
