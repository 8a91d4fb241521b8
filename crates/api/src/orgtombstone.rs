//! `OrgTombstone`: what is still held of an org that is gone, and until when.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tray_domain::backup_place::BackupPlace;

use super::trayorg::{Acknowledgement, MOST_ACKNOWLEDGEMENTS, PinnedRegion};

/// What is still held of an org whose TrayOrg was deleted. Never its spec: that is in Git.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "platform.tray.ai",
    version = "v1alpha1",
    kind = "OrgTombstone",
    shortname = "otomb",
    category = "tray",
    derive = "PartialEq",
    doc = "What is still held of an org whose TrayOrg was deleted: its namespace with all volumes, its key, its snapshots. Written by the operator. The org is taken up again, with all of it, when the TrayOrg is applied again under the same name, orgId and region by somebody who has the verb `reattach` on it; the tombstone goes once that org is Ready. This version of the operator erases nothing: what a tombstone names stays after `purgeAt`, too, until a version that erases is installed. It has no status.",
    printcolumn(name = "Org", type_ = "string", json_path = ".spec.org"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region.name"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(name = "Deleted", type_ = "date", json_path = ".spec.deletedAt"),
    printcolumn(name = "Purge-At", type_ = "string", json_path = ".spec.purgeAt"),
    printcolumn(name = "Org-Id", type_ = "string", json_path = ".spec.orgId", priority = 1),
    printcolumn(
        name = "Namespace",
        type_ = "string",
        json_path = ".spec.namespace",
        priority = 1
    ),
    printcolumn(
        name = "Erasure-Starts",
        type_ = "string",
        json_path = ".spec.erasureStartsAt",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct OrgTombstoneSpec {
    /// Name of the TrayOrg that is gone.
    #[schemars(length(min = 1, max = 40))]
    pub org: String,
    /// Its orgId: `spec.orgId` of the TrayOrg that takes everything up again.
    #[schemars(
        length(min = 36, max = 36),
        regex(pattern = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
    )]
    pub org_id: String,
    /// Where its data is, and stays.
    pub region: PinnedRegion,
    /// Its namespace, which is kept with all volume claims.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Its KMS key; absent where the operator did not know it when the org went (the ledger does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub kms_key_arn: Option<String>,
    /// Where its snapshots are: as it was pinned, and as it is again when the org is back. Absent where it was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupPlace>,
    /// The host of its webhooks, which stays the org's own: it goes by the orgId.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub webhook_host: Option<String>,
    /// Values of annotations `platform.tray.ai/accept-…` that were looked at: none of them is carried out again when the org is back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["annotation".into(), "value".into()]))]
    #[schemars(length(max = MOST_ACKNOWLEDGEMENTS))]
    pub acknowledgements: Vec<Acknowledgement>,
    /// Why it is gone: Deletion = its TrayOrg was deleted.
    pub reason: TombstoneReason,
    /// When its TrayOrg was deleted.
    pub deleted_at: Time,
    /// From then on nothing needs to be kept any more: the later of `deletedAt` plus the RetentionPolicy's
    /// `termination.purgeAfterDays`, and 10 days after the operator first saw the deletion. It never changes. Nothing
    /// is erased by this version.
    pub purge_at: Time,
    /// 9 days before `purgeAt`, since a KMS key waits at least 7 days before it is destroyed. It never changes. Nothing
    /// is erased by this version.
    pub erasure_starts_at: Time,
}

/// Why an org is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TombstoneReason {
    Deletion,
}
