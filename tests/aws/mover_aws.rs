//! Movers as processes against the AWS stand-in: real files in, session credentials that allow one part and nothing else,
//! and what the bucket holds at the end.

#[path = "../support/mod.rs"]
mod support;

use std::{fs, future, path::Path, process::ExitCode, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use support::aws::{StandIn, stand_in};
use tray_domain::{
    archived_kinds::ObjectKind,
    bucket_layout,
    ids::{KmsKeyArn, OrgId, PartId, RunId, SweepId},
    ledger::Event,
    manifest::{Consistency, PartRecord, PartSource, PlannedPart, RunPlan},
    mover_task::{
        Action, BucketLocation, CA_BUNDLE_FILE, CREDENTIALS_FILE, FailureReason, MoverOutcome, MoverTask,
        TASK_FILE,
    },
    run_plan::{self, CopiedPart, RunFacts},
    session_policy::{MASTER_KEY_PURPOSE, SessionScope, session_policy},
    stage::Stage,
};
use tray_ledger::{Ledger, LedgerStore, ObjectStore, PutOutcome};
use tray_mover::{
    Places,
    ports::{NamespaceObjects, ObjectError, ObjectPage, ServedKind},
};
use tray_operator::{
    adapters::{clock::SystemClock, kms::KmsKeys, s3::S3Store, sts::StsSessions},
    mover_process,
};
use tray_ports::{Clock as _, KeyService, SessionIssuer};

fn run(last: char) -> RunId {
    format!("01ARZ3NDEKTSV4RRFFQ69G5FA{last}").parse().unwrap()
}
fn volume() -> PartId {
    "data-db-0".parse().unwrap()
}
fn objects_part() -> PartId {
    "objects".parse().unwrap()
}

fn source() -> PartSource {
    PartSource::Volume {
        claim_uid: "claim".to_owned(),
        workload: "db".to_owned(),
        paths: vec![],
    }
}
fn copy(run_id: &RunId) -> Action {
    Action::SnapshotVolume {
        run_id: run_id.clone(),
        part: volume(),
        paths: vec![],
        consistency: Consistency::AtRest,
        consistency_point: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}
fn prune(sweep_id: &SweepId, remove: Vec<RunId>) -> Action {
    Action::Prune {
        sweep_id: sweep_id.clone(),
        planned_at: "2100-01-01T00:00:00Z".parse().unwrap(),
        volumes: vec![volume()],
        remove,
        keep_delete_hours: 23,
        keep_pack_hours: 72,
    }
}

/// An org with a key and a wrapped master key, as the operator leaves it before the first mover.
struct Org {
    aws: &'static StandIn,
    location: BucketLocation,
    id: OrgId,
    key: KmsKeyArn,
    bucket: S3Store,
    ledger: Ledger,
    folder: tempfile::TempDir,
}

impl Org {
    async fn new(id: &str) -> Self {
        let aws = stand_in().await;
        let location = aws.location(aws.place("eu"), "");
        let id: OrgId = id.parse().unwrap();
        let operator = aws.admin();
        let keys = KmsKeys::new(&operator, &location).unwrap();
        let key = keys.ensure_key(&id, "intent").await.unwrap();
        let wrapped = keys
            .generate_wrapped_key(&key, &id, MASTER_KEY_PURPOSE)
            .await
            .unwrap();
        let object = json!({
            "formatVersion": 1, "kmsKeyArn": key, "purpose": MASTER_KEY_PURPOSE,
            "ciphertext": aws_smithy_types::base64::encode(wrapped),
        });
        let bucket = S3Store::new(&operator, &location).unwrap();
        let name = bucket_layout::wrapped_key(&location.prefix, &id);
        bucket
            .put_if_absent(&name, object.to_string().into(), &key)
            .await
            .unwrap();
        let ledger_key = aws.place("eu").ledger_key_arn.parse().unwrap();
        let store = Arc::new(S3Store::new(&operator, &location).unwrap());
        let ledger = LedgerStore::new()
            .open(store, &location.prefix, ledger_key, id.clone(), "cluster")
            .await
            .unwrap();
        ledger.claim(SystemClock.now()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        for name in ["task", "volume", "cache"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self {
            aws,
            location,
            id,
            key,
            bucket,
            ledger,
            folder,
        }
    }

    async fn tell(&self, event: Event) {
        self.ledger.append(event, SystemClock.now()).await.unwrap();
    }

    /// Begins a restore of that run.
    async fn begin_restore(&self, run_id: RunId) {
        let restore = "r (uid)".to_owned();
        self.tell(Event::RestorePlanned { restore, run_id }).await;
    }

    /// Begins a run of one part.
    async fn begin(&self, run_id: &RunId, part: PartId, source: PartSource) -> RunPlan {
        let plan = RunPlan {
            run_id: run_id.clone(),
            snapshot_name: format!("acme-{run_id}"),
            slot: None,
            parts: vec![PlannedPart {
                part,
                source,
                consistency: Consistency::AtRest,
            }],
            excluded: vec![],
            not_copied: None,
            objectives: None,
        };
        self.tell(Event::RunPlanned { plan: plan.clone() }).await;
        plan
    }

    async fn commit(&self, plan: &RunPlan, record: &PartRecord, pod_uid: &str) {
        let facts = RunFacts {
            org_id: self.id.clone(),
            cluster_uid: "cluster".to_owned(),
            stage: Stage::Production,
            kms_key_arn: self.key.clone(),
            bucket: self.location.bucket.clone(),
            bucket_cloud_region: self.location.cloud_region.clone(),
            prefix: self.location.prefix.clone(),
            operator_version: "0".to_owned(),
        };
        let copied = CopiedPart {
            record: record.clone(),
            pod_uid: pod_uid.to_owned(),
            hook_started_at: None,
        };
        let manifest = run_plan::manifest(plan, &facts, &[copied], vec![]).unwrap();
        let manifest = Box::new(manifest);
        self.tell(Event::RunCommitted { manifest }).await;
    }

    fn volume(&self) -> std::path::PathBuf {
        self.folder.path().join("volume")
    }

    /// Runs a mover with the rights of `scope`: its exit code, as text since it compares by nothing else, and its outcome.
    async fn mover(&self, pod_uid: &str, scope: &SessionScope, action: Action) -> (String, MoverOutcome) {
        let places = Places {
            task: self.folder.path().join("task"),
            volume: self.volume(),
            cache: self.folder.path().join("cache"),
            termination_log: self.folder.path().join("termination-log"),
            pod_uid: pod_uid.to_owned(),
        };
        let ledger_key = self.aws.place("eu").ledger_key_arn.parse().unwrap();
        let policy = session_policy(scope, &self.location, &self.id, &self.key, &ledger_key).unwrap();
        let issuer = StsSessions::new(&self.aws.operator().await, &self.location).unwrap();
        let lifetime = Duration::from_hours(1);
        let session = issuer
            .assume(&self.aws.mover_role_arn, pod_uid, &policy, lifetime)
            .await
            .unwrap();
        let task = MoverTask {
            org_id: self.id.clone(),
            location: self.location.clone(),
            kms_key_arn: self.key.clone(),
            action,
        };
        fs::write(places.task.join(TASK_FILE), serde_json::to_vec(&task).unwrap()).unwrap();
        fs::write(
            places.task.join(CREDENTIALS_FILE),
            serde_json::to_vec(&session).unwrap(),
        )
        .unwrap();
        fs::copy(&self.aws.ca_bundle, places.task.join(CA_BUNDLE_FILE)).unwrap();
        let log = places.termination_log.clone();
        let connect = async |task: &MoverTask, places: &Places, ca: Option<Vec<u8>>| {
            // All is the process's own but for the Kubernetes API, which is not here.
            let aws_only = MoverTask {
                action: prune(&SweepId::of(Timestamp::UNIX_EPOCH, &task.org_id), vec![]),
                ..task.clone()
            };
            let mut ports = mover_process::connect(&aws_only, places, ca).await?;
            ports.objects = Some(Arc::new(OneSecret));
            Ok(ports)
        };
        let code = tray_mover::run(places, connect, future::pending()).await;
        (
            format!("{code:?}"),
            serde_json::from_slice(&fs::read(log).unwrap()).unwrap(),
        )
    }

    async fn snapshot(&self, pod_uid: &str, run_id: RunId) -> PartRecord {
        let scope = SessionScope::SnapshotVolume {
            run_id: run_id.clone(),
            volume: volume(),
        };
        let plan = self.begin(&run_id, volume(), source()).await;
        let (code, outcome) = self.mover(pod_uid, &scope, copy(&run_id)).await;
        assert_eq!(code, format!("{:?}", ExitCode::SUCCESS), "{outcome:?}");
        let MoverOutcome::Snapshotted { record } = outcome else {
            panic!("{outcome:?}")
        };
        let name = bucket_layout::part_record(&self.location.prefix, &self.id, &run_id, &volume(), pod_uid);
        let written = self.bucket.get(&name).await.unwrap().unwrap();
        assert_eq!(serde_json::from_slice::<PartRecord>(&written).unwrap(), *record);
        self.commit(&plan, &record, pod_uid).await;
        *record
    }

    fn restore(record: &PartRecord) -> Action {
        Action::RestoreVolume {
            restore: "r (uid)".to_owned(),
            run_id: record.run_id.clone(),
            part: volume(),
            repository_snapshot: record.repository_snapshot.clone().unwrap(),
            content_digest: record.content_digest.clone(),
        }
    }
}

/// A namespace with one Secret.
struct OneSecret;

#[async_trait::async_trait]
impl NamespaceObjects for OneSecret {
    async fn served_kinds(&self) -> Result<Vec<ServedKind>, ObjectError> {
        Ok(vec![])
    }
    async fn list(&self, kind: &ObjectKind, _: Option<&str>) -> Result<ObjectPage, ObjectError> {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "data": {"k": "dg=="}});
        Ok(ObjectPage {
            objects: if kind.plural == "secrets" {
                vec![secret]
            } else {
                vec![]
            },
            next: None,
        })
    }
    async fn get(&self, _: &ObjectKind, _: &str) -> Result<Option<Value>, ObjectError> {
        Ok(None)
    }
    async fn create(&self, _: &ObjectKind, _: &Value) -> Result<PutOutcome, ObjectError> {
        Ok(PutOutcome::Created)
    }
    async fn replace(&self, _: &ObjectKind, _: &Value) -> Result<(), ObjectError> {
        Ok(())
    }
}

fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = vec![];
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(root).unwrap().display().to_string();
                found.push((name, fs::read(entry.path()).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Bytes that neither compress nor repeat.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_copied_restored_and_pruned_with_credentials_for_just_that() {
    let org = Org::new("7c9e6679-7425-40de-944b-e07fc1f90ae7").await;
    fs::create_dir_all(org.volume().join("backup/base")).unwrap();
    fs::write(org.volume().join("backup/base/1"), noise(1, 3 << 20)).unwrap();
    fs::write(org.volume().join("empty"), "").unwrap();
    let first = org.snapshot("pod-1", run('V')).await;
    assert!(first.bytes_added > 3 << 20, "{first:?}");

    fs::write(org.volume().join("backup/base/2"), noise(2, 1 << 16)).unwrap();
    let second = org.snapshot("pod-2", run('W')).await;
    assert!(second.bytes_added < 1 << 20, "{second:?}");
    let kept = files(&org.volume());

    // The first copy goes.
    org.tell(Event::Pruned {
        run_id: run('V'),
        why: "old".to_owned(),
    })
    .await;
    let sweep_id = SweepId::of(SystemClock.now(), &org.id);
    org.tell(Event::sweep_planned(sweep_id.clone())).await;
    let action = prune(&sweep_id, vec![run('V')]);
    let (_, outcome) = org.mover("pod-3", &SessionScope::Prune, action.clone()).await;
    let MoverOutcome::Pruned { volumes } = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(volumes[0].removed_snapshots, 1);
    // Its part record with it.
    let records = bucket_layout::runs(&org.location.prefix, &org.id);
    let left = org.bucket.list(&records).await.unwrap();
    let left: Vec<&str> = left.iter().map(|object| &object.key[records.len()..]).collect();
    assert_eq!(left, [format!("{}/parts/{}/pod-2.json", run('W'), volume())]);
    // A leader that is behind starts the pruner of a sweep that has ended.
    let failed = None;
    org.tell(Event::SweepEnded { sweep_id, failed }).await;
    let (code, outcome) = org.mover("pod-late", &SessionScope::Prune, action).await;
    assert_eq!(code, format!("{:?}", ExitCode::from(2)));
    assert!(is_not_open(&outcome), "{outcome:?}");

    // The volume is lost; the second copy brings it back.
    fs::remove_dir_all(org.volume()).unwrap();
    fs::create_dir(org.volume()).unwrap();
    let scope = SessionScope::RestoreVolume { volume: volume() };
    org.begin_restore(second.run_id.clone()).await;
    let prove = |capacity_bytes| Action::ProveVolume {
        restore: "r (uid)".to_owned(),
        run_id: second.run_id.clone(),
        part: volume(),
        repository_snapshot: second.repository_snapshot.clone().unwrap(),
        content_digest: second.content_digest.clone(),
        capacity_bytes,
    };
    let (_, outcome) = org.mover("pod-proof", &scope, prove(1 << 30)).await;
    assert_eq!(outcome, MoverOutcome::Proven { bytes: second.bytes });
    let (_, outcome) = org.mover("pod-small", &scope, prove(1 << 20)).await;
    assert!(
        matches!(
            &outcome,
            MoverOutcome::Failed {
                reason: FailureReason::TargetFailed,
                ..
            }
        ),
        "{outcome:?}"
    );
    let (code, outcome) = org.mover("pod-4", &scope, Org::restore(&second)).await;
    assert!(
        matches!(outcome, MoverOutcome::RestoredVolume { .. }),
        "{outcome:?}"
    );
    assert_eq!(code, format!("{:?}", ExitCode::SUCCESS));
    assert_eq!(files(&org.volume()), kept);

    let (_, outcome) = org.mover("pod-5", &scope, Org::restore(&first)).await;
    assert!(matches!(outcome, MoverOutcome::Failed { .. }), "{outcome:?}");
}

fn is_not_open(outcome: &MoverOutcome) -> bool {
    matches!(
        outcome,
        MoverOutcome::Failed {
            reason: FailureReason::NotOpen,
            ..
        }
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_whose_run_has_ended_writes_nothing() {
    let org = Org::new("7c9e6679-7425-40de-944b-e07fc1f90af0").await;
    fs::write(org.volume().join("f"), "x").unwrap();
    org.begin(&run('V'), volume(), source()).await;
    org.tell(Event::RunAborted {
        run_id: run('V'),
        why: "another leader ended it".to_owned(),
    })
    .await;
    let scope = SessionScope::SnapshotVolume {
        run_id: run('V'),
        volume: volume(),
    };
    let (code, outcome) = org.mover("pod-1", &scope, copy(&run('V'))).await;
    assert_eq!(code, format!("{:?}", ExitCode::from(2)));
    assert!(is_not_open(&outcome), "{outcome:?}");
    let repository = bucket_layout::volume_repository(&org.location.prefix, &org.id, &volume());
    assert!(org.bucket.list(&repository).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_archived_and_restored_with_credentials_for_just_that() {
    let org = Org::new("7c9e6679-7425-40de-944b-e07fc1f90ae8").await;
    let scope = SessionScope::SnapshotObjects { run_id: run('V') };
    let action = Action::SnapshotObjects {
        run_id: run('V'),
        part: objects_part(),
        namespace: "n".into(),
    };
    let plan = org.begin(&run('V'), objects_part(), PartSource::Objects {}).await;
    let (_, outcome) = org.mover("pod-1", &scope, action.clone()).await;
    let MoverOutcome::Snapshotted { record } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(record.objects, 1);
    // A second pod of the part finds the archive, may not overwrite it, and proves it.
    let (_, outcome) = org.mover("pod-2", &scope, action).await;
    let MoverOutcome::Snapshotted { record: again } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(again.content_digest, record.content_digest);

    let scope = SessionScope::RestoreObjects { run_id: run('V') };
    org.commit(&plan, &record, "pod-1").await;
    org.begin_restore(run('V')).await;
    let action = Action::ProveObjects {
        restore: "r (uid)".to_owned(),
        run_id: run('V'),
        content_digest: record.content_digest.clone(),
    };
    let (_, outcome) = org.mover("pod-proof", &scope, action).await;
    assert!(matches!(outcome, MoverOutcome::Proven { .. }), "{outcome:?}");
    let action = Action::RestoreObjects {
        restore: "r (uid)".to_owned(),
        run_id: run('V'),
        namespace: "n".into(),
        content_digest: record.content_digest.clone(),
    };
    let (_, outcome) = org.mover("pod-3", &scope, action).await;
    assert!(
        matches!(outcome, MoverOutcome::RestoredObjects { created: 1, .. }),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_with_the_credentials_of_another_part_gets_nowhere() {
    let org = Org::new("7c9e6679-7425-40de-944b-e07fc1f90ae9").await;
    fs::write(org.volume().join("f"), "x").unwrap();
    let scope = SessionScope::SnapshotVolume {
        run_id: run('V'),
        volume: "data-web-0".parse().unwrap(),
    };
    org.begin(&run('V'), volume(), source()).await;
    let (code, outcome) = org.mover("pod-1", &scope, copy(&run('V'))).await;
    assert_ne!(code, format!("{:?}", ExitCode::SUCCESS));
    assert!(
        matches!(&outcome, MoverOutcome::Failed { reason: FailureReason::BucketFailed, message } if message.contains("denied")),
        "{outcome:?}"
    );
    let repository = bucket_layout::volume_repository(&org.location.prefix, &org.id, &volume());
    assert!(org.bucket.list(&repository).await.unwrap().is_empty());
}
