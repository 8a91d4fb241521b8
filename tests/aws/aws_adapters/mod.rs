//! The S3, KMS and STS adapters against the AWS stand-in: over TLS, with real signatures, IAM and session policies, as the
//! roles that `docs/aws` describes.

#[path = "../../support/mod.rs"]
mod support;

mod blobs;
mod faults;
mod keys;
mod objects;
mod records;
mod sessions;
