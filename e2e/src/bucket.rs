//! `tray-bucket` (`e2e/bucket`) on the local cluster: what only the operator's own library can write to the buckets, or read
//! in them.
//!
//! It runs inside the cluster's network, with a token of the operator's service account: AWS knows it as the operator.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::aws::{self, Facts};
use crate::cluster::Cluster;
use crate::demo::report::SnapshotReport;
use crate::error::{Error, Result};
use crate::files;
use crate::install::{self, NAMESPACE};
use crate::process::Program;

/// The program, with everything that it has to be told.
#[derive(Debug, Clone)]
pub struct Bucket {
    program: Program,
}

/// A run that was written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgedRun {
    /// Its id.
    pub run_id: String,
    /// Name of its OrgSnapshot.
    pub name: String,
}

/// A committed run: what the org's ledger says of it, and what of it lies in the bucket.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerRun {
    /// Its id.
    pub run_id: String,
    /// `Good` or `Suspicious`.
    pub verdict: String,
    /// Parts whose repository snapshot or archive is there.
    pub present: Vec<String>,
    /// Parts of which nothing is there.
    pub absent: Vec<String>,
    /// What is reported of it.
    #[serde(flatten)]
    pub report: SnapshotReport,
}

/// Whose key an org's data lies under, and what another org's mover was told.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignKey {
    /// Bucket.
    pub bucket: String,
    /// Its region, as S3 says it.
    pub bucket_region: String,
    /// The org's key.
    pub kms_key_arn: String,
    /// Objects in the org's repositories.
    pub objects: u64,
    /// The keys that S3 says they lie under.
    pub keys_in_use: Vec<String>,
    /// The pack that was tried.
    pub pack: String,
    /// Blobs in it, by the list that the org's own key opens.
    pub blobs: u64,
    /// The answers to the other org.
    pub refusals: Refusals,
}

/// An object under a delete marker.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// The object's key in the bucket.
    pub key: String,
    version_id: String,
}

/// What another org's mover, and its key, were told.
#[derive(Debug, Clone, Deserialize)]
pub struct Refusals {
    /// By S3, when it asked for a pack.
    pub s3: String,
    /// By KMS, when it asked to unwrap the master key.
    pub kms: String,
    /// By the engine, given the pack and the other key.
    pub pack: String,
    /// By the engine, given the repository and the other key.
    pub repository: String,
}

impl Bucket {
    /// Builds it, and takes a token for it.
    pub fn of(cluster: &Cluster) -> Result<Self> {
        let binary = install::build("tray-bucket")?;
        let folder = cluster.dir().root().join("bucket");
        files::make_dir(&folder)?;
        let token: PathBuf = folder.join("token");
        let issued = cluster
            .kubectl(["create", "token", "tray-operator", "--namespace", NAMESPACE])
            .args(["--audience=sts.amazonaws.com", "--duration=2h"])
            .run()?;
        files::write(&token, issued)?;
        let facts = Facts::read(cluster.dir())?;
        let program = Program::new(binary)
            .flag("ca-bundle", aws::authority(cluster.dir()))
            .flag("web-identity-token", &token)
            .env("KUBECONFIG", cluster.dir().kubeconfig())
            .env("TMPDIR", &folder)
            .env("AWS_ROLE_ARN", facts.operator_role_arn)
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
            // Any region: the stand-in's STS answers for all of them.
            .env("AWS_REGION", "us-east-2")
            .env("AWS_ENDPOINT_URL_STS", facts.endpoint)
            .env("ADMIN_ACCESS_KEY_ID", facts.admin.access_key_id)
            .env("ADMIN_SECRET_ACCESS_KEY", facts.admin.secret_access_key)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        Ok(Self {
            program: cluster.enter(program),
        })
    }

    /// Writes a good run of so many days ago. No operator may run.
    pub fn age_run(&self, org: &str, days: u32) -> Result<AgedRun> {
        self.ask(org, &["age-run", &format!("--days={days}")])
    }

    /// Every committed run of an org, by consistency point.
    pub fn runs(&self, org: &str) -> Result<Vec<LedgerRun>> {
        self.ask(org, &["runs"])
    }

    /// Restores every run that is not pruned into empty folders, compares them, and returns the runs' names.
    pub fn restore_all(&self, org: &str) -> Result<Vec<String>> {
        self.ask(org, &["restore-all"])
    }

    /// Tries on `org` what a mover of `other` has.
    pub fn try_foreign_key(&self, org: &str, other: &str) -> Result<ForeignKey> {
        self.ask(org, &["try-foreign-key", &format!("--other={other}")])
    }

    /// Disables the org's key, as an administrator.
    pub fn disable_key(&self, org: &str) -> Result<()> {
        self.ask(org, &["disable-key"])
    }

    /// Enables it again.
    pub fn enable_key(&self, org: &str) -> Result<()> {
        self.ask(org, &["enable-key"])
    }

    /// Deletes the largest pack of a volume's repository, as an administrator.
    pub fn delete_pack(&self, org: &str, volume: &str) -> Result<Deleted> {
        self.ask(org, &["delete-pack", &format!("--volume={volume}")])
    }

    /// Brings it back.
    pub fn undelete(&self, org: &str, deleted: &Deleted) -> Result<()> {
        let Deleted { key, version_id } = deleted;
        self.ask(
            org,
            &[
                "undelete",
                &format!("--key={key}"),
                &format!("--version-id={version_id}"),
            ],
        )
    }

    fn ask<T: DeserializeOwned>(&self, org: &str, command: &[&str]) -> Result<T> {
        let answer = self.program.clone().flag("org", org).args(command).run()?;
        serde_json::from_str(&answer).map_err(Error::unexpected(format!("tray-bucket {}", command.join(" "))))
    }
}
