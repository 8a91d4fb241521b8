//! What the demo found, assembled from the API's, S3's and SQL's answers only: `target/demo/result.json` and a table.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The whole result.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// One entry an org.
    pub orgs: Vec<OrgReport>,
    /// The API server's message when a pod was tried in the wrong region.
    pub refusal: String,
    /// Seconds each step took.
    pub seconds: BTreeMap<String, f64>,
}

/// One org.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrgReport {
    /// TrayOrg.
    pub name: String,
    /// Its Region object.
    pub region: String,
    /// The pinned cloud region.
    pub cloud_region: String,
    /// Its running pods.
    pub pods: Vec<PodReport>,
    /// Its runs in the order taken, the aged one last.
    pub snapshots: Vec<SnapshotReport>,
    /// Its restore, where one was done.
    pub restore: Option<RestoreReport>,
    /// RPO verdict.
    pub rpo: String,
    /// RTO verdict.
    pub rto: String,
}

/// A pod and where it runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// Pod.
    pub name: String,
    /// Node.
    pub node: String,
    /// The region label of that Node.
    pub node_region: String,
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotReport {
    /// OrgSnapshot.
    pub name: String,
    /// Bucket.
    pub bucket: String,
    /// Region of the bucket, as S3 says it.
    pub bucket_region: String,
    /// The org's key.
    pub kms_key_arn: String,
    /// Bytes read from the sources.
    pub bytes_read: u64,
    /// Bytes the bucket grew by.
    pub bytes_added: u64,
    /// Files.
    pub files: u64,
    /// Kubernetes objects.
    pub objects: u64,
    /// From the start of the run to its commit.
    pub seconds: u64,
    /// Whether it has been pruned.
    pub pruned: bool,
}

/// A restore and the comparison after it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// Rows committed before the consistency point of the run restored, counted then.
    pub rows_before: u64,
    /// The same rows, read after the restore.
    pub rows_after: u64,
    /// Their checksum then.
    pub checksum_before: String,
    /// Their checksum after the restore.
    pub checksum_after: String,
    /// From the OrgRestore's creation to its end.
    pub seconds: u64,
}

impl Report {
    /// Writes `result.json`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(Error::unexpected("the demo's result"))?;
        std::fs::write(path, text + "\n").map_err(Error::file("write", path))
    }

    /// The closing table.
    pub fn table(&self) -> String {
        let header = ["ORG", "REGION", "NODE REGION", "RUNS", "RPO", "RESTORE S", "RTO"];
        let mut rows: Vec<Vec<String>> = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.orgs.iter().map(|org| {
            let mut node_regions: Vec<&str> = org.pods.iter().map(|pod| pod.node_region.as_str()).collect();
            node_regions.dedup();
            vec![
                org.name.clone(),
                format!("{} ({})", org.region, org.cloud_region),
                node_regions.join(", "),
                org.snapshots.len().to_string(),
                org.rpo.clone(),
                org.restore
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |restore| restore.seconds.to_string()),
                org.rto.clone(),
            ]
        }));
        let widths: Vec<usize> = (0..header.len())
            .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default())
            .collect();
        rows.iter().fold(String::new(), |mut table, row| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            // Writing to a String cannot fail.
            let _ = writeln!(table, "  {}", line.trim_end());
            table
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_an_org_and_names_every_region_its_pods_run_in() {
        let pod = |region: &str| PodReport {
            name: "p".into(),
            node: "n".into(),
            node_region: region.into(),
        };
        let org = OrgReport {
            name: "acme".into(),
            pods: vec![pod("eu-west-1"), pod("eu-west-1"), pod("us-west-2")],
            ..OrgReport::default()
        };
        let table = Report {
            orgs: vec![org],
            ..Report::default()
        }
        .table();
        assert_eq!(table.lines().count(), 2);
        assert!(table.contains("eu-west-1, us-west-2"), "{table}");
    }
}
