//! The S3, KMS and STS adapters against the AWS stand-in: over TLS, with real signatures, IAM and session policies, as the
//! roles that `docs/aws` describes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

#[path = "aws_adapters/blobs.rs"]
mod blobs;
#[path = "aws_adapters/faults.rs"]
mod faults;
#[path = "aws_adapters/keys.rs"]
mod keys;
#[path = "aws_adapters/objects.rs"]
mod objects;
#[path = "aws_adapters/records.rs"]
mod records;
#[path = "aws_adapters/sessions.rs"]
mod sessions;
