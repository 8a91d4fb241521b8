//! An org's volumes destroyed, restored, and compared.

use super::database::Commits;
use super::kube::Kube;
use super::orgs::Org;
use super::report::RestoreReport;
use super::{Steps, unexpected};
use crate::error::{Error, Result};
use crate::verdict::{Rows, judge};

/// What an org held when its newest good run was taken.
#[derive(Debug)]
pub struct Held {
    /// The writer's last row that was committed before the consistency point.
    committed: u64,
    /// The writer's rows up to it.
    pub rows: Rows,
    contents: Contents,
}

/// What nobody has changed since that run.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    /// How many workflow runs, and their checksum.
    workflow_runs: (u64, String),
    /// How many files the web server has, and their checksum.
    files: (u64, String),
}

impl Contents {
    fn read(kube: &Kube, org: &Org) -> Result<Self> {
        Ok(Self {
            workflow_runs: org.database(kube).workflow_runs()?,
            files: org.web_files(kube)?,
        })
    }
}

/// Takes down what the org holds and destroys its volumes. Nothing but the writer of `acknowledged` may have changed
/// anything since the newest good run.
pub fn lose(kube: &Kube, org: &Org, acknowledged: &Commits, clock: &mut Steps) -> Result<Held> {
    let committed = acknowledged.before(org.consistency_point(kube)?);
    if committed == 0 {
        return Err(unexpected(
            &format!("the writer of {}", org.name),
            "it committed nothing before the consistency point",
        ));
    }
    let held = Held {
        committed,
        rows: org.database(kube).rows(committed)?,
        contents: Contents::read(kube, org)?,
    };
    org.destroy(kube)?;
    org.await_data_lost(kube)?;
    clock.done("lose", "the volumes are destroyed, and the operator says so");
    Ok(held)
}

/// Restores the newest good run, and compares.
pub fn bring_back(kube: &Kube, org: &Org, held: Held, clock: &mut Steps) -> Result<RestoreReport> {
    let seconds = org.restore(kube, &format!("{}-back", org.name))?;
    clock.done("restore", "the restore has succeeded");
    let database = org.database(kube);
    let after = database.restored(held.committed)?;
    let restored = |what: &str| format!("{what} of {} after its restore", org.name);
    judge(&held.rows, &after).map_err(Error::unexpected(restored("the database")))?;
    let contents = Contents::read(kube, org)?;
    if contents != held.contents {
        let detail = format!("{:?} became {contents:?}", held.contents);
        return Err(unexpected(&restored("what volumes hold"), &detail));
    }
    database.amcheck()?;
    org.expect_foreign_objects(kube)?;
    println!(
        "  {:8} {} workflow runs and {} files are as they were, and {} rows of the writer",
        org.name, contents.workflow_runs.0, contents.files.0, after.rows.count
    );
    clock.done(
        "compare",
        "every committed row and every file is there, pg_amcheck is clean, foreign objects are back",
    );
    Ok(RestoreReport {
        rows_before: held.rows.count,
        rows_after: after.rows.count,
        checksum_before: held.rows.checksum,
        checksum_after: after.rows.checksum,
        seconds,
    })
}
