//! Snapshot files.

use jiff::Timestamp;
use serde::Deserialize;

use super::{FileKind, Id, Vault};
use crate::{EngineError, SnapshotId, SnapshotInfo};

/// What is read of a snapshot file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub time: Timestamp,
    pub tree: Id,
    /// The run's id.
    #[serde(default)]
    pub label: String,
}

impl SnapshotRecord {
    /// One snapshot; [`EngineError::NoSnapshot`] where it is not there.
    pub(crate) fn read(vault: &Vault, id: &SnapshotId) -> Result<Self, EngineError> {
        let absent = || EngineError::NoSnapshot(id.to_string());
        vault
            .read(FileKind::Snapshot, Id::parse(id.as_str()).ok_or_else(absent)?)
            .map_err(|error| match error {
                EngineError::Store(crate::BlobError::NotFound(_)) => absent(),
                other => other,
            })
    }

    /// All snapshots, oldest first.
    pub(crate) fn read_all(vault: &Vault) -> Result<Vec<(SnapshotInfo, Self)>, EngineError> {
        let mut all = Vec::new();
        for (id, blob) in vault.list(FileKind::Snapshot)? {
            let record: Self = vault.read(FileKind::Snapshot, id)?;
            let id = id
                .to_string()
                .try_into()
                .map_err(|e| EngineError::Internal(format!("{e}")))?;
            all.push((
                SnapshotInfo {
                    id,
                    time: record.time,
                    run_id: record.label.clone(),
                    stored_at: Some(blob.last_modified),
                },
                record,
            ));
        }
        all.sort_by(|(a, _), (b, _)| (a.time, &a.id).cmp(&(b.time, &b.id)));
        Ok(all)
    }
}
