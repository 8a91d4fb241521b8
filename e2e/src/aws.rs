//! The AWS stand-in (`e2e/aws`) as a service of the cluster: S3, KMS, IAM and STS over TLS, in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::files;
use crate::inside::{ExtraService, Inside, TOKEN_ISSUER};
use crate::paths::{Cache, ClusterDir, workspace};
use crate::process::Program;
use crate::topology::{CLUSTER_ADDRESS, GATEWAY};
use crate::wait;

/// The port of the stand-in, on all of the cluster's addresses.
pub const PORT: u16 = 4566;

/// The stand-in, started beside Kubernetes.
pub const SERVICE: ExtraService = ExtraService {
    name: "the AWS stand-in",
    prepare,
    start,
};

/// What the stand-in's set-up made: `facts.json` in [`ClusterDir::aws`].
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The one endpoint of all services, for pods and nodes.
    pub endpoint: String,
    /// The account that owns the buckets.
    pub account: String,
    /// The role of the operator, assumed with a token of its service account.
    pub operator_role_arn: String,
    /// The role that the operator assumes for every part of a run.
    pub mover_role_arn: String,
    /// A user who may do everything, for tests.
    pub admin: AccessKey,
    /// By the Region's name: where its backups go.
    pub places: BTreeMap<String, Place>,
    /// By the Region's name: the bucket of its access records.
    pub log_buckets: BTreeMap<String, String>,
}

/// A user's access key.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessKey {
    /// Its id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
}

/// Where the backups of one Region go.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The Region's own cloud region.
    pub cloud_region: String,
    /// The bucket.
    pub bucket: String,
    /// The bucket's cloud region.
    pub bucket_region: String,
    /// The account that owns it.
    pub bucket_owner: String,
    /// The key of the ledgers.
    pub ledger_key_arn: String,
}

impl Facts {
    /// Of the cluster in `dir`.
    pub fn read(dir: &ClusterDir) -> Result<Self> {
        let path = facts_path(dir);
        serde_json::from_str(&files::read(&path)?).map_err(Error::unexpected(path.display().to_string()))
    }
}

/// The stand-in's endpoint for pods and nodes.
pub fn endpoint() -> String {
    format!("https://{GATEWAY}:{PORT}")
}

/// The authority that signed the stand-in's certificate, PEM.
pub fn authority(dir: &ClusterDir) -> PathBuf {
    dir.aws().join("ca.crt")
}

/// The stand-in's log of requests: one JSON object a line, with the principal who asked.
pub fn requests_log(dir: &ClusterDir) -> PathBuf {
    dir.aws().join("requests.jsonl")
}

/// What was asked with a root key after the set-up, `<principal> <service>:<action>` each: nothing, unless somebody other
/// than the set-up holds one. Whoever asks first with an identity of their own ends the set-up.
pub fn root_requests(dir: &ClusterDir) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Request {
        principal: String,
        service: String,
        action: String,
    }
    let path = requests_log(dir);
    let (mut set_up, mut found) = (true, Vec::new());
    for line in files::read(&path)?.lines() {
        let Request {
            principal,
            service,
            action,
        } = serde_json::from_str(line).map_err(Error::unexpected(path.display().to_string()))?;
        if !principal.ends_with(":root") {
            // A web identity is anonymous until it has its session.
            set_up &= principal == "anonymous" && service != "sts";
        } else if !set_up {
            found.push(format!("{principal} {service}:{action}"));
        }
    }
    Ok(found)
}

fn facts_path(dir: &ClusterDir) -> PathBuf {
    dir.aws().join("facts.json")
}

fn prepare(cache: &Cache) -> Result<()> {
    python(cache).map(drop)
}

fn start(inside: &Inside) -> Result<()> {
    let name = "aws";
    let folder = inside.dir.aws();
    files::make_dir(&folder)?;
    inside.daemons.start(
        name,
        Program::new(python(inside.cache)?)
            .args(["-m", "standin"])
            .flag("dir", &folder)
            // All of the network namespace's addresses; from the machine only its end of the link leads there.
            .args(["--bind=0.0.0.0"])
            .flag("port", PORT.to_string())
            .flag("host", GATEWAY.to_string())
            .flag("host", CLUSTER_ADDRESS.to_string())
            .flag("issuer", TOKEN_ISSUER)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .directory(&source()),
    )?;
    let facts = facts_path(inside.dir);
    wait::until(
        "the AWS stand-in did not answer",
        Duration::from_mins(1),
        &inside.dir.log(name),
        || Ok(facts.exists().then_some(())),
    )
}

/// The Python of the stand-in's virtual environment, which is made where the cache lacks it.
fn python(cache: &Cache) -> Result<PathBuf> {
    let path = Program::new("python3")
        .arg(source().join("prepare.py"))
        .env("TRAY_CACHE", cache.root())
        .run()?;
    Ok(Path::new(path.trim()).to_owned())
}

fn source() -> PathBuf {
    workspace().join("e2e/aws")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_are_read_as_the_set_up_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let dir = ClusterDir::new(folder.path());
        files::write(
            &facts_path(&dir),
            r#"{"endpoint": "https://10.199.0.1:4566", "caBundle": "/run/tray/aws/ca.crt", "account": "111122223333",
                "operatorRoleArn": "arn:o", "moverRoleArn": "arn:m", "admin": {"accessKeyId": "i", "secretAccessKey": "s"},
                "places": {"eu": {"cloudRegion": "eu-west-1", "bucket": "b", "bucketRegion": "eu-central-1",
                                  "bucketOwner": "111122223333", "ledgerKeyArn": "arn:k"}},
                "logBuckets": {"eu": "l"}}"#,
        )
        .unwrap();
        let facts = Facts::read(&dir).unwrap();
        assert_eq!(facts.endpoint, endpoint());
        assert_eq!(facts.places["eu"].bucket_region, "eu-central-1");
        assert_eq!(facts.log_buckets["eu"], "l");
    }

    #[test]
    fn root_keys_are_for_the_set_up_only() {
        let folder = tempfile::tempdir().unwrap();
        let dir = ClusterDir::new(folder.path());
        let line = |principal: &str, action: &str| {
            let (service, action) = action.split_once(':').unwrap();
            format!(
                r#"{{"principal": "{principal}", "service": "{service}", "action": "{action}", "status": 200}}"#
            )
        };
        let mut lines = vec![
            line("arn:aws:iam::1:root", "iam:CreateRole"),
            line("anonymous", ":"),
            line("arn:aws:iam::2:root", "s3:CreateBucket"),
            line("anonymous", "sts:AssumeRoleWithWebIdentity"),
            line("arn:aws:sts::1:assumed-role/tray-operator/s", "s3:PutObject"),
        ];
        files::write(&requests_log(&dir), lines.join("\n")).unwrap();
        assert_eq!(root_requests(&dir).unwrap(), Vec::<String>::new());

        lines.push(line("arn:aws:iam::1:root", "s3:DeleteObject"));
        files::write(&requests_log(&dir), lines.join("\n")).unwrap();
        assert_eq!(
            root_requests(&dir).unwrap(),
            ["arn:aws:iam::1:root s3:DeleteObject"]
        );
    }

    #[test]
    fn facts_that_are_not_there_are_named() {
        let error = Facts::read(&ClusterDir::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/aws/facts.json"), "{error}");
    }
}
