use std::{fs, sync::atomic::Ordering};

use tray_domain::{
    manifest::Consistency,
    mover_task::{Action, FailureReason, MoverOutcome},
};

use super::{
    engine::record,
    fakes::{Namespace, World, run},
};
use crate::perform;

fn world() -> World {
    let world = World::new(Namespace::default());
    fs::create_dir_all(world.volume().join("data")).unwrap();
    fs::create_dir_all(world.volume().join("backup")).unwrap();
    fs::write(world.volume().join("data/live"), "torn").unwrap();
    fs::write(world.volume().join("backup/base"), "whole").unwrap();
    world
}
fn snapshot(paths: &[&str]) -> Action {
    Action::SnapshotVolume {
        run_id: run(),
        part: "data-db-0".parse().unwrap(),
        paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        consistency: Consistency::Hooks,
        consistency_point: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}
fn restore(repository_snapshot: &str, content_digest: &str) -> Action {
    Action::RestoreVolume {
        restore: "r (uid)".into(),
        run_id: run(),
        part: "data-db-0".parse().unwrap(),
        repository_snapshot: repository_snapshot.to_owned(),
        content_digest: content_digest.to_owned(),
    }
}
async fn copied(world: &World) -> tray_domain::manifest::PartRecord {
    let outcome = perform(world.session("pod-1", snapshot(&["backup"])))
        .await
        .unwrap();
    let MoverOutcome::Snapshotted { record } = outcome else {
        unreachable!("a snapshot was asked for")
    };
    *record
}

#[tokio::test]
async fn a_volume_goes_to_the_bucket_and_comes_back() {
    let world = world();
    let said = copied(&world).await;
    let written = record(&world.bucket.of(&World::record_key("data-db-0", "pod-1")).unwrap());
    // What the volume's files are called stays in the org's part of the bucket.
    assert_eq!(said.warnings, [""; 0]);
    let warnings = written.warnings.clone();
    assert_eq!(written, tray_domain::manifest::PartRecord { warnings, ..said });
    assert!(written.verified && written.repository_snapshot.is_some());
    assert_eq!((written.files, written.objects, written.bytes_read), (1, 0, 5));
    assert_eq!(written.warnings.len(), 1);
    // Once to copy, once more to prove the copy.
    assert_eq!(world.keys.unwrapped.load(Ordering::Relaxed), 2);

    world.fresh_volume();
    let snapshot = written.repository_snapshot.unwrap();
    let outcome = perform(world.session("pod-2", restore(&snapshot, &written.content_digest)))
        .await
        .unwrap();
    assert!(
        matches!(
            outcome,
            MoverOutcome::RestoredVolume {
                files: 1,
                bytes: 5,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(
        fs::read_to_string(world.volume().join("backup/base")).unwrap(),
        "whole"
    );
    // Only what the workload's hooks made consistent was copied, and nothing of the mover's stays behind.
    assert_eq!(fs::read_dir(world.volume()).unwrap().count(), 1);
}

#[tokio::test]
async fn an_unreadable_file_fails_the_part_for_good_and_is_named() {
    let world = world();
    *world.engine.unreadable.lock().unwrap() = Some("data/pgdata/secret".into());
    let failure = perform(world.session("pod-1", snapshot(&[]))).await.unwrap_err();
    assert_eq!(
        (failure.reason, failure.exit_code()),
        (FailureReason::SourceUnreadable, 2)
    );
    assert!(failure.message.contains("data/pgdata/secret"), "{failure}");
    let mut left = world.bucket.keys();
    left.retain(|key| key.contains("/parts/"));
    assert_eq!(left, [World::failure_key("data-db-0", "pod-1")]);
    let details = world.bucket.of(&left[0]).unwrap();
    assert!(String::from_utf8_lossy(&details).contains("data/pgdata/secret"));
}

#[tokio::test]
async fn what_cannot_be_proved_is_not_recorded() {
    let world = world();
    let first = copied(&world).await;
    let snapshot_key = format!(
        "p/v1/orgs/7c9e6679-7425-40de-944b-e07fc1f90ae7/repo/data-db-0/snapshots/{}",
        first.repository_snapshot.unwrap()
    );
    // The same content again: its blob is there, so only the proof can find that it is damaged.
    let session = world.session("pod-2", snapshot(&["backup"]));
    let bucket = world.bucket.clone();
    let damaged = DamagedBeforeProof {
        bucket,
        key: snapshot_key,
    };
    let failure = perform(damaged.session(session)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::VerificationFailed);
    assert!(
        world
            .bucket
            .of(&World::record_key("data-db-0", "pod-2"))
            .is_none()
    );
}

/// Damages a blob when the key is unwrapped for the second time: between copying and proving.
struct DamagedBeforeProof {
    bucket: super::fakes::MemoryBucket,
    key: String,
}

impl DamagedBeforeProof {
    fn session(self, mut session: crate::Session) -> crate::Session {
        session.ports.keys = std::sync::Arc::new(Damager {
            what: self,
            inner: super::fakes::OneKey::default(),
        });
        session
    }
}

struct Damager {
    what: DamagedBeforeProof,
    inner: super::fakes::OneKey,
}

#[async_trait::async_trait]
impl tray_ports::MasterKeys for Damager {
    async fn unwrap(
        &self,
        key: &tray_domain::ids::KmsKeyArn,
        org: &tray_domain::ids::OrgId,
        ciphertext: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, tray_ledger::RemoteError> {
        if self.inner.unwrapped.load(Ordering::Relaxed) == 1 {
            self.what.bucket.damage(&self.what.key);
        }
        self.inner.unwrap(key, org, ciphertext).await
    }
}

#[tokio::test]
async fn a_mover_that_died_before_its_record_is_followed_by_one_that_finishes() {
    let world = world();
    world.bucket.refuse(Some("/parts/"));
    let failure = perform(world.session("pod-1", snapshot(&["backup"])))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.reason, failure.exit_code()),
        (FailureReason::BucketFailed, 1)
    );
    world.bucket.refuse(None);
    perform(world.session("pod-2", snapshot(&["backup"])))
        .await
        .unwrap();
    let records: Vec<String> = world
        .bucket
        .keys()
        .into_iter()
        .filter(|k| k.contains("/parts/"))
        .collect();
    assert_eq!(records, [World::record_key("data-db-0", "pod-2")]);
}

#[tokio::test]
async fn a_volume_that_is_not_empty_is_not_filled() {
    let world = world();
    let record = copied(&world).await;
    let action = restore(&record.repository_snapshot.unwrap(), &record.content_digest);
    let failure = perform(world.session("pod-2", action)).await.unwrap_err();
    assert_eq!(
        (failure.reason, failure.exit_code()),
        (FailureReason::TargetFailed, 2)
    );
    assert_eq!(
        fs::read_to_string(world.volume().join("data/live")).unwrap(),
        "torn"
    );
}

fn prove(repository_snapshot: &str, content_digest: &str, capacity_bytes: u64) -> Action {
    Action::ProveVolume {
        restore: "r (uid)".into(),
        run_id: run(),
        part: "data-db-0".parse().unwrap(),
        repository_snapshot: repository_snapshot.to_owned(),
        content_digest: content_digest.to_owned(),
        capacity_bytes,
    }
}

#[tokio::test]
async fn a_proof_opens_the_copy_and_writes_nothing() {
    let world = world();
    let record = copied(&world).await;
    let (snapshot, before) = (record.repository_snapshot.unwrap(), world.bucket.keys());
    let outcome = perform(world.session("pod-2", prove(&snapshot, &record.content_digest, 5)))
        .await
        .unwrap();
    assert_eq!(outcome, MoverOutcome::Proven { bytes: 5 });
    assert_eq!(world.bucket.keys(), before);
    assert_eq!(
        fs::read_to_string(world.volume().join("data/live")).unwrap(),
        "torn"
    );
}

#[tokio::test]
async fn what_cannot_come_back_fails_its_proof_and_is_named() {
    let world = world();
    let record = copied(&world).await;
    let (snapshot, digest) = (record.repository_snapshot.unwrap(), record.content_digest);
    let failure = async |action| perform(world.session("pod-2", action)).await.unwrap_err();
    let small = failure(prove(&snapshot, &digest, 4)).await;
    assert_eq!(
        (small.reason, small.exit_code()),
        (FailureReason::TargetFailed, 2)
    );
    assert!(
        small.message.contains("needs 5 bytes") && small.message.contains("volume.size"),
        "{small}"
    );
    let other = failure(prove(&snapshot, &"0".repeat(64), 5)).await;
    assert_eq!(
        (other.reason, other.exit_code()),
        (FailureReason::VerificationFailed, 2)
    );
    let gone = failure(prove(&"0".repeat(64), &digest, 5)).await;
    assert_eq!(
        (gone.reason, gone.exit_code()),
        (FailureReason::RepositoryFailed, 2)
    );
    world.bucket.damage(&format!(
        "p/v1/orgs/{}/repo/data-db-0/snapshots/{snapshot}",
        super::fakes::org()
    ));
    let damaged = failure(prove(&snapshot, &digest, 5)).await;
    assert_eq!(damaged.reason, FailureReason::RepositoryFailed);
}

#[tokio::test]
async fn what_is_restored_has_to_be_what_the_manifest_says() {
    let world = world();
    let record = copied(&world).await;
    world.fresh_volume();
    let action = restore(&record.repository_snapshot.unwrap(), &"0".repeat(64));
    let failure = perform(world.session("pod-2", action)).await.unwrap_err();
    assert!(
        failure.permanent && failure.message.contains(&record.content_digest),
        "{failure}"
    );
}

#[tokio::test]
async fn a_copy_of_another_key_does_not_open() {
    let world = world();
    copied(&world).await;
    let key = format!("p/v1/orgs/{}/key/0001.json", super::fakes::org());
    let other = String::from_utf8(world.bucket.of(&key).unwrap().to_vec())
        .unwrap()
        .replace("Bw==", "CA==");
    world.bucket.put(&key, other);
    let failure = perform(world.session("pod-2", snapshot(&[]))).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::RepositoryFailed);
}
