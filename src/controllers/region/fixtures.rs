//! A Region for tests.

use serde_json::json;
use tray_api::region::{Region, RegionSpec};

/// A Region `eu` in eu-west-1, backed up to eu-central-1.
pub(crate) fn region() -> Region {
    serde_json::from_value(json!({
        "apiVersion": "platform.tray.ai/v1alpha1",
        "kind": "Region",
        "metadata": {"name": "eu", "uid": "region-uid", "generation": 1, "resourceVersion": "1"},
        "spec": {
            "jurisdiction": "EU",
            "cloudRegion": "eu-west-1",
            "zones": ["eu-west-1a", "eu-west-1b"],
            "storage": {"storageClassName": "org-encrypted"},
            "backup": {
                "bucket": "tray-backups-eu",
                "bucketOwner": "111122223333",
                "cloudRegion": "eu-central-1",
                "kms": {"ledgerKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/ledger"},
                "moverRoleArn": "arn:aws:iam::111122223333:role/tray-mover"
            }
        }
    }))
    .unwrap()
}

/// Its spec.
pub(crate) fn spec() -> RegionSpec {
    region().spec
}
