//! The main job on real input: three orgs in three regions, snapshots under a writer, a loss, a restore, and the proof.
//!
//! Everything that is reported comes from the API's, the stand-in's and SQL's answers. The end-to-end tests walk the same
//! steps.

pub mod database;
pub mod kube;
pub mod orgs;
pub mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::database::{Commits, Database};
use self::kube::Kube;
use self::orgs::{ORGS, Org};
use self::report::{Report, RestoreReport, SnapshotReport};
use crate::error::{Error, Result};
use crate::paths::workspace;
use crate::{Cluster, Progress, aws, files, install};

/// The org whose volumes are destroyed.
const VICTIM: &str = "acme";
/// MiB of files in each web volume.
const WEB_MEBIBYTES: u32 = 64;

/// Runs the demo on a running cluster, and writes `target/demo/result.json`.
pub fn run(cluster: &Cluster, progress: Progress) -> Result<()> {
    let mut clock = Steps::start(progress);
    let kube = Kube::of(cluster);

    install::install(cluster, progress)?;
    clock.done("install", "the operator is installed");
    orgs::apply_examples(&kube, cluster.dir())?;
    for org in &ORGS {
        org.await_ready(&kube)?;
    }
    clock.done("orgs", "three orgs are Ready");

    let mut report = Report::default();
    for org in &ORGS {
        let found = org.report(&kube)?;
        for pod in &found.pods {
            println!(
                "  {:8} {:8} on {} in {}",
                org.name, pod.name, pod.node, pod.node_region
            );
        }
        report.orgs.push(found);
    }
    report.refusal = orgs::try_wrong_region(&kube, &ORGS[0])?;
    println!("  refused: {}", report.refusal);
    clock.done("refusal", "a pod in the wrong region was refused");

    let first: Vec<SnapshotReport> = ORGS
        .iter()
        .map(|org| org.first_snapshot(&kube))
        .collect::<Result<_>>()?;
    for org in &ORGS {
        org.database(&kube).fill()?;
        org.fill_web(&kube, WEB_MEBIBYTES)?;
        org.make_foreign_objects(&kube)?;
    }
    clock.done("fill", "databases and web volumes are filled");

    let mut logs = Vec::new();
    let mut commits: BTreeMap<&str, Commits> = BTreeMap::new();
    for (round, name) in [(1, "first"), (2, "second")] {
        let mut writers = Vec::new();
        for org in &ORGS {
            if round == 2 {
                org.database(&kube).change()?;
            }
            writers.push((
                org,
                org.database(&kube)
                    .start_writer(&cluster.dir().log(&format!("writer-{}", org.name)))?,
            ));
        }
        for org in &ORGS {
            org.ask_snapshot(&kube, &format!("{}-{name}", org.name))?;
        }
        for org in &ORGS {
            let snapshot = org.await_snapshot(&kube, &format!("{}-{name}", org.name))?;
            println!(
                "  {:8} read {:>6.1} MiB, added {:>6.1} MiB in {} s, in {}",
                org.name,
                mebibytes(snapshot.bytes_read),
                mebibytes(snapshot.bytes_added),
                snapshot.seconds,
                snapshot.bucket_region
            );
            logs.push((org.name, snapshot));
        }
        for (org, writer) in writers {
            commits.entry(org.name).or_default().append(writer.stop()?);
        }
        clock.done(
            &format!("snapshot-{round}"),
            "every org has a snapshot, taken under a writer",
        );
    }
    for (org, first) in report.orgs.iter_mut().zip(first) {
        org.snapshots.push(first);
        let of_org = logs
            .iter()
            .filter(|(name, _)| *name == org.name)
            .map(|(_, snapshot)| snapshot.clone());
        org.snapshots.extend(of_org);
    }

    let victim = ORGS
        .iter()
        .find(|org| org.name == VICTIM)
        .ok_or_else(|| unexpected("the orgs", "none to restore"))?;
    let acknowledged = commits.remove(VICTIM).unwrap_or_default();
    let restore = lose_and_restore(&kube, victim, &acknowledged, &mut clock)?;
    if let Some(org) = report.orgs.iter_mut().find(|org| org.name == VICTIM) {
        org.restore = Some(restore);
    }

    let by_root = aws::root_requests(cluster.dir())?;
    if !by_root.is_empty() {
        return Err(unexpected(
            "the AWS stand-in's log",
            &format!("a root key was used: {}", by_root.join(", ")),
        ));
    }
    for (org, found) in ORGS.iter().zip(&mut report.orgs) {
        org.verdicts(&kube, found)?;
    }
    report.seconds = clock.seconds;
    let folder = workspace().join("target/demo");
    files::make_dir(&folder)?;
    report.write(&folder.join("result.json"))?;
    println!("{}", report.table());
    progress.step(format!(
        "done; the whole result is in {}",
        folder.join("result.json").display()
    ));
    Ok(())
}

/// Destroys the volumes of an org, restores the newest good run, and compares.
pub fn lose_and_restore(
    kube: &Kube,
    org: &Org,
    acknowledged: &Commits,
    clock: &mut Steps,
) -> Result<RestoreReport> {
    let database = org.database(kube);
    let point = org.consistency_point(kube)?;
    let committed = acknowledged.before(point);
    let (rows_before, checksum_before) = database.heartbeats(committed)?;
    org.destroy(kube)?;
    org.await_data_lost(kube)?;
    clock.done("lose", "the volumes are destroyed, and the operator says so");
    let seconds = org.restore(kube, &format!("{}-back", org.name))?;
    clock.done("restore", "the restore has succeeded");
    let (rows_after, checksum_after) = database.heartbeats(committed)?;
    check(
        org,
        &database,
        (rows_before, &checksum_before),
        (rows_after, &checksum_after),
    )?;
    org.expect_foreign_objects(kube)?;
    clock.done(
        "compare",
        "every committed row is there, pg_amcheck is clean, foreign objects are back",
    );
    Ok(RestoreReport {
        rows_before,
        rows_after,
        checksum_before,
        checksum_after,
        seconds,
    })
}

fn check(org: &Org, database: &Database, before: (u64, &str), after: (u64, &str)) -> Result<()> {
    if before != after {
        let detail = format!(
            "{} rows ({}) became {} rows ({})",
            before.0, before.1, after.0, after.1
        );
        return Err(unexpected(
            &format!("the database of {} after its restore", org.name),
            &detail,
        ));
    }
    let (highest, gapless) = database.highest_heartbeat()?;
    if !gapless {
        let detail = format!("rows are missing below {highest}");
        return Err(unexpected(
            &format!("the database of {} after its restore", org.name),
            &detail,
        ));
    }
    database.amcheck()
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
        self.seconds
            .insert(name.to_owned(), self.began.elapsed().as_secs_f64());
        self.began = Instant::now();
        self.progress.step(text);
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
