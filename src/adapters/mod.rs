//! The only users of the Kubernetes and AWS clients.

pub mod aws_client;
pub mod aws_error;
pub mod aws_regions;
pub mod blob_store;
pub mod clock;
mod error_chain;
pub mod kms;
pub mod kube;
pub mod ledger_reader;
pub mod mover_credentials;
pub mod s3;
pub mod s3_bucket;
mod s3_rules;
pub mod sts;
