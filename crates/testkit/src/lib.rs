//! What stands for the outside in tests: AWS in memory, which `tests/aws/aws_adapters` holds to what the real services do,
//! and an API server in memory, which `docs/simulation.md` describes.

pub mod clock;
pub mod cluster;
pub mod lease;
pub mod memory;
