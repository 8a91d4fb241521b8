//! The main job on real input: three orgs in three regions, snapshots under a writer, a loss, a restore, and the proof.
//!
//! Everything that is reported comes from the API's, the stand-in's and SQL's answers. The end-to-end tests walk the same
//! steps.

pub mod aged;
pub mod database;
pub mod keys;
pub mod kube;
pub mod loss;
pub mod orgs;
pub mod report;
pub mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::database::Commits;
use self::kube::Kube;
use self::orgs::ORGS;
use self::report::Report;
use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::paths::workspace;
use crate::{Cluster, Progress, aws, files, install};

/// The org whose volumes are destroyed.
const VICTIM: &str = "acme";
/// MiB of files in each web volume.
const WEB_MEBIBYTES: u32 = 64;

/// Runs the demo on a running cluster, and writes [`result`].
pub fn run(cluster: &Cluster, mut steps: Steps) -> Result<()> {
    let result = result();
    let progress = steps.progress;
    let kube = Kube::of(cluster)?;
    let mut report = Report::default();

    install::install(cluster, progress)?;
    steps.time("install");
    place(cluster, &kube, &mut report, &mut steps)?;
    fill(&kube, &mut report, &mut steps)?;
    let commits = copy_under_writers(cluster, &kube, &mut report, &mut steps)?;
    let bucket = Bucket::of(cluster)?;
    try_foreign_keys(&bucket, &report, &mut steps)?;
    prune(&kube, &bucket, &mut report, &mut steps)?;
    for (org, found) in ORGS.iter().zip(&mut report.orgs) {
        if org.name == VICTIM {
            let held = loss::lose(&kube, org, &commits, &mut steps)?;
            found.restore = Some(loss::bring_back(&kube, org, held, &mut steps)?);
        }
        org.verdicts(&kube, found)?;
    }
    for org in &ORGS {
        let refusal = support::put_out(cluster, &kube, org)?;
        println!("  {refusal}");
    }
    steps.done("support-out", "support is out of every org, and refused");
    refuse_root_keys(cluster)?;

    report.seconds = steps.seconds;
    if let Some(folder) = result.parent() {
        files::make_dir(folder)?;
    }
    report.write(&result)?;
    println!("{}", report.table());
    progress.step(format!("done; the whole result is in {}", result.display()));
    Ok(())
}

/// Where the demo's result is.
pub fn result() -> PathBuf {
    workspace().join("target/demo/result.json")
}

/// Three orgs in three regions, and a pod that is tried elsewhere.
fn place(cluster: &Cluster, kube: &Kube, report: &mut Report, steps: &mut Steps) -> Result<()> {
    orgs::apply_examples(cluster)?;
    for org in &ORGS {
        org.await_ready(kube)?;
    }
    steps.done("orgs", "three orgs are Ready");
    for org in &ORGS {
        support::let_in(cluster, kube, org)?;
    }
    steps.done("support", "an Admin of every org has let support in, to debug");
    for org in &ORGS {
        let found = org.report(kube)?;
        for pod in &found.pods {
            println!(
                "  {:8} {:8} on {} in {}",
                org.name, pod.name, pod.node, pod.node_region
            );
        }
        report.orgs.push(found);
    }
    report.refusal = orgs::try_wrong_region(kube, &ORGS[0])?;
    println!("  {}", report.refusal);
    steps.done("refusal", "a pod in the wrong region was refused");
    Ok(())
}

/// Data in every volume, and objects that the operator never made. Before it, the snapshot that each org gets by itself.
fn fill(kube: &Kube, report: &mut Report, steps: &mut Steps) -> Result<()> {
    for (org, found) in ORGS.iter().zip(&mut report.orgs) {
        found.snapshots.push(org.first_snapshot(kube)?);
    }
    steps.done("first-snapshot", "every org has its first snapshot");
    for org in &ORGS {
        org.database(kube).fill()?;
        org.fill_web(kube, WEB_MEBIBYTES)?;
        org.make_foreign_objects(kube)?;
    }
    steps.done("fill", "databases and web volumes are filled");
    Ok(())
}

/// Two snapshots of every org while a writer commits rows; between them one row in a hundred changes. Returns what the
/// writer of [`VICTIM`] committed when.
fn copy_under_writers(
    cluster: &Cluster,
    kube: &Kube,
    report: &mut Report,
    steps: &mut Steps,
) -> Result<Commits> {
    let mut commits = Commits::default();
    for round in ["first", "second"] {
        let mut writers = Vec::new();
        for org in &ORGS {
            let database = org.database(kube);
            if round == "second" {
                database.change()?;
            }
            let log = cluster.dir().log(&format!("writer-{}", org.name));
            writers.push((org.name, database.start_writer(&log)?));
        }
        for org in &ORGS {
            org.ask_snapshot(kube, &format!("{}-{round}", org.name))?;
        }
        for (org, found) in ORGS.iter().zip(&mut report.orgs) {
            let snapshot = org.await_snapshot(kube, &format!("{}-{round}", org.name))?;
            println!(
                "  {:8} read {:>6.1} MiB, added {:>6.1} MiB in {} s, in {} under {}",
                org.name,
                mebibytes(snapshot.bytes_read),
                mebibytes(snapshot.bytes_added),
                snapshot.seconds,
                snapshot.bucket_region,
                snapshot.kms_key_arn
            );
            found.snapshots.push(snapshot);
        }
        for (name, writer) in writers {
            let written = writer.stop()?;
            if name == VICTIM {
                commits.append(written);
            }
        }
        let step = format!("{round}-snapshot-under-a-writer");
        steps.done(
            &step,
            &format!("the {round} snapshot under a writer is committed for every org"),
        );
    }
    Ok(commits)
}

/// Everything in the buckets lies elsewhere and under its org's own key, and the next org's key opens none of it.
fn try_foreign_keys(bucket: &Bucket, report: &Report, steps: &mut Steps) -> Result<()> {
    let others = ORGS.iter().cycle().skip(1);
    for ((org, other), found) in ORGS.iter().zip(others).zip(&report.orgs) {
        let tried = keys::try_foreign_key(bucket, org, other, &found.cloud_region)?;
        println!(
            "  {:8} {} objects in {} ({}), all under {}",
            org.name, tried.objects, tried.bucket, tried.bucket_region, tried.kms_key_arn
        );
        println!(
            "    {}'s mover: S3 says {}, KMS says {}; with {}'s key {} does not open",
            other.name,
            code(&tried.refusals.s3),
            code(&tried.refusals.kms),
            other.name,
            tried.pack
        );
    }
    steps.done(
        "keys",
        "every object is in another region under its org's own key, and no pack opens with another org's",
    );
    Ok(())
}

/// The code in what AWS said, as "AccessDenied, HTTP 403".
fn code(refusal: &str) -> &str {
    let words = refusal.split(": ").find(|words| words.contains("HTTP "));
    words.unwrap_or(refusal)
}

/// A run of 15 days ago goes, and no other.
fn prune(kube: &Kube, bucket: &Bucket, report: &mut Report, steps: &mut Steps) -> Result<()> {
    let pruned = aged::prune_aged_runs(kube, bucket, &ORGS)?;
    for (found, run) in report.orgs.iter_mut().zip(pruned) {
        println!(
            "  {:8} {} is pruned, every other run can be restored",
            found.name, run.name
        );
        found.snapshots.push(run);
    }
    steps.done("prune", "the run of 15 days ago is pruned");
    Ok(())
}

/// After the set-up nothing was asked with a root key.
fn refuse_root_keys(cluster: &Cluster) -> Result<()> {
    let by_root = aws::root_requests(cluster.dir())?;
    if by_root.is_empty() {
        return Ok(());
    }
    let detail = format!("a root key was used: {}", by_root.join(", "));
    Err(unexpected("the AWS stand-in's log", &detail))
}

/// Steps with their times.
pub struct Steps {
    /// Where they are shown.
    pub progress: Progress,
    /// When the present one began.
    pub began: Instant,
    /// How long each took.
    pub seconds: BTreeMap<String, f64>,
}

impl Steps {
    /// The first step begins.
    pub fn start(progress: Progress) -> Self {
        Self {
            progress,
            began: Instant::now(),
            seconds: BTreeMap::new(),
        }
    }

    /// The present step has ended.
    pub fn done(&mut self, name: &str, text: &str) {
        self.time(name);
        self.progress.step(text);
    }

    /// The same for one that has said so itself.
    pub fn time(&mut self, name: &str) {
        self.seconds
            .insert(name.to_owned(), self.began.elapsed().as_secs_f64());
        self.began = Instant::now();
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn unexpected(what: &str, detail: &str) -> Error {
    Error::Unexpected {
        what: what.to_owned(),
        detail: detail.to_owned(),
    }
}

/// How long anything may take on a slow machine before it is called stuck.
const PATIENCE: Duration = Duration::from_secs(300);
