//! What stands for the outside in tests: AWS in memory. `tests/aws/aws_adapters` holds it to what the real services do.

pub mod memory;
