//! What is tested against the AWS stand-in.
//!
//! Each part includes `support` for itself and so has a stand-in of its own: movers bring it large bodies, and the adapters
//! await answers within half a second.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]
#![allow(clippy::duplicate_mod, reason = "each part has a stand-in of its own")]

mod aws_adapters;
mod mover_aws;
