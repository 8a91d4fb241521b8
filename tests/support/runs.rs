//! Ledgers as an operator would have left them, with AWS in memory.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use tray_domain::{
    bucket_layout,
    ids::{OrgId, PartId, RunId},
    ledger::Event,
    manifest::{FORMAT_VERSION, PartRecord, RunPlan},
    run_plan::{self, CopiedPart, RunFacts},
    stage::Stage,
};
use tray_ledger::{Ledger, LedgerStore, ObjectStore};

use super::operator::Operator;

/// The key that ledgers are under.
pub(crate) const LEDGER_KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/ledger";

/// The key of an org whose ledger was begun here.
const ORG_KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/org";

/// The ledger of an org, as it is now.
pub(crate) async fn ledger(operator: &Operator, id: &OrgId) -> Ledger {
    let store: Arc<dyn ObjectStore> = operator.regions.store.clone();
    LedgerStore::new()
        .open(store, "", LEDGER_KEY.parse().unwrap(), id.clone(), "cluster")
        .await
        .unwrap()
}

/// The ledger of an org that was begun, with the wrapped key that nothing of it opens without. Its digest is not recorded: as
/// by an operator from before that was.
pub(crate) async fn begun(operator: &Operator, id: &OrgId, at: Timestamp) -> Ledger {
    let key = bucket_layout::wrapped_key("", id);
    let wrapped =
        json!({"formatVersion": 1, "kmsKeyArn": ORG_KEY, "purpose": "master-key", "ciphertext": ""});
    operator.regions.store.overwrite(&key, wrapped.to_string());
    let ledger = ledger(operator, id).await;
    ledger.claim(at).await.unwrap();
    ledger
}

/// Writes a good run of the org's objects.
pub(crate) async fn commit(ledger: &Ledger, plan: RunPlan, stage: Stage, at: Timestamp) {
    let copied = CopiedPart {
        record: record(&plan.run_id, &run_plan::objects_part(), 3, at),
        pod_uid: "pod".into(),
        hook_started_at: None,
    };
    let facts = RunFacts {
        org_id: ledger.org_id().clone(),
        cluster_uid: "cluster".into(),
        stage,
        kms_key_arn: ORG_KEY.parse().unwrap(),
        bucket: "tray-backups-eu".into(),
        bucket_cloud_region: "eu-central-1".into(),
        prefix: String::new(),
        operator_version: "0".into(),
    };
    let manifest = Box::new(run_plan::manifest(&plan, &facts, &[copied], vec![]).unwrap());
    ledger.append(Event::RunPlanned { plan }, at).await.unwrap();
    ledger.append(Event::RunCommitted { manifest }, at).await.unwrap();
}

/// What a mover would record of a part with this many objects, of 100 bytes each.
pub(crate) fn record(run_id: &RunId, part: &PartId, objects: u64, at: Timestamp) -> PartRecord {
    PartRecord {
        format_version: FORMAT_VERSION,
        run_id: run_id.clone(),
        part: part.clone(),
        repository_snapshot: None,
        files: 0,
        objects,
        bytes: 100 * objects,
        bytes_read: 300,
        bytes_added: 100,
        content_digest: "digest".into(),
        started_at: at,
        finished_at: at,
        warnings: vec![],
        left_out: vec![],
        verified: true,
        engine_version: "engine".into(),
    }
}
