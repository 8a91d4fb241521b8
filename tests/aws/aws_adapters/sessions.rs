//! What a mover can do with its own credentials: its own work, and nothing else.

use std::time::Duration;

use aws_sdk_s3::{
    operation::put_object::builders::PutObjectFluentBuilder, primitives::ByteStream,
    types::ServerSideEncryption,
};
use tray_domain::{
    bucket_layout,
    ids::{KmsKeyArn, OrgId, PartId, RunId},
    mover_task::{BucketLocation, SessionCredentials},
    run_plan::objects_part,
    session_policy::{MASTER_KEY_PURPOSE, SessionScope, session_policy},
};
use tray_ledger::{ObjectStore, PutOutcome, RemoteError};
use tray_operator::adapters::{
    clock::SystemClock, kms::KmsKeys, s3::S3Store, s3_bucket::S3Bucket, sts::StsSessions,
};
use tray_ports::MasterKeys;
use tray_ports::{Clock as _, KeyService, SessionIssuer};

use super::support::aws::{StandIn, stand_in};

/// An org with a key, a wrapped master key and a ledger entry, as the operator leaves it before the first mover.
pub(crate) struct Org {
    pub aws: &'static StandIn,
    pub location: BucketLocation,
    pub id: OrgId,
    pub key: KmsKeyArn,
    wrapped: bytes::Bytes,
}

fn run() -> RunId {
    "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()
}
pub(crate) fn volume() -> PartId {
    "data-db-0".parse().unwrap()
}

impl Org {
    /// Under a key of its own.
    pub(crate) async fn new(id: &str) -> Self {
        let aws = stand_in().await;
        let keys = KmsKeys::new(&aws.operator().await, &aws.location(aws.place("eu"), "")).unwrap();
        let key = keys.ensure_key(&id.parse().unwrap(), "intent").await.unwrap();
        Self::under(key, id).await
    }

    async fn under(key: KmsKeyArn, id: &str) -> Self {
        let aws = stand_in().await;
        let place = aws.place("eu");
        let location = aws.location(place, "");
        let id: OrgId = id.parse().unwrap();
        let operator = aws.operator().await;
        let keys = KmsKeys::new(&operator, &location).unwrap();
        let wrapped = keys
            .generate_wrapped_key(&key, &id, MASTER_KEY_PURPOSE)
            .await
            .unwrap();
        let store = S3Store::new(&operator, &location).unwrap();
        store
            .put_if_absent(&bucket_layout::wrapped_key("", &id), wrapped.clone(), &key)
            .await
            .unwrap();
        let ledger_key = place.ledger_key_arn.parse().unwrap();
        store
            .put_if_absent(
                &bucket_layout::ledger_entry("", &id, 0),
                "entry".into(),
                &ledger_key,
            )
            .await
            .unwrap();
        Self {
            aws,
            location,
            id,
            key,
            wrapped,
        }
    }

    /// The key that its ledger is under.
    pub(crate) fn ledger_key(&self) -> KmsKeyArn {
        self.aws.place("eu").ledger_key_arn.parse().unwrap()
    }

    /// Credentials for a piece of work.
    pub(crate) async fn issue(&self, scope: &SessionScope) -> SessionCredentials {
        let ledger_key = self.ledger_key();
        let policy = session_policy(scope, &self.location, &self.id, &self.key, &ledger_key).unwrap();
        let issuer = StsSessions::new(&self.aws.operator().await, &self.location).unwrap();
        let role = &self.aws.mover_role_arn;
        issuer
            .assume(role, "acme/data-db-0", &policy, Duration::from_hours(1))
            .await
            .unwrap()
    }

    async fn session(&self, scope: &SessionScope) -> Mover {
        Mover::new(self, &self.issue(scope).await)
    }

    fn repository(&self, name: &str) -> String {
        format!(
            "{}{name}",
            bucket_layout::volume_repository("", &self.id, &volume())
        )
    }
}

/// A mover's two clients.
struct Mover {
    bucket: S3Bucket,
    keys: KmsKeys,
}

impl Mover {
    fn new(org: &Org, session: &SessionCredentials) -> Self {
        let clients = org.aws.session(session);
        Self {
            bucket: S3Bucket::connect(&clients, &org.location).unwrap(),
            keys: KmsKeys::new(&clients, &org.location).unwrap(),
        }
    }

    async fn write(&self, key: &str, kms: &KmsKeyArn) -> Result<PutOutcome, RemoteError> {
        self.bucket.put_if_absent(key, "x".into(), kms).await
    }

    /// A write that our own code never makes.
    fn raw_put(&self, key: &str) -> PutObjectFluentBuilder {
        let client = self.bucket.client();
        client
            .put_object()
            .bucket(&self.bucket.location().bucket)
            .key(key)
            .body(ByteStream::from_static(b"evil"))
    }
}

fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, RemoteError>) {
    assert!(
        matches!(result, Err(RemoteError::Denied(_))),
        "{what}: {result:?}"
    );
}

pub(crate) fn snapshot() -> SessionScope {
    SessionScope::SnapshotVolume {
        run_id: run(),
        volume: volume(),
    }
}

#[tokio::test]
async fn a_volume_mover_does_its_own_work() {
    let org = Org::new("41111111-1111-4111-8111-111111111111").await;
    let mover = org.session(&snapshot()).await;

    let wrapped = mover
        .bucket
        .read(&bucket_layout::wrapped_key("", &org.id), None)
        .await
        .unwrap();
    let master = mover
        .keys
        .unwrap(&org.key, &org.id, &wrapped.unwrap())
        .await
        .unwrap();
    assert_eq!(master.len(), 64);

    let pack = org.repository("data/00/pack");
    assert_eq!(mover.write(&pack, &org.key).await, Ok(PutOutcome::Created));
    assert_eq!(mover.write(&pack, &org.key).await, Ok(PutOutcome::Exists));
    assert!(mover.bucket.read(&pack, None).await.unwrap().is_some());
    let listed = mover
        .bucket
        .list_after(&org.repository("data/"), "")
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        mover.bucket.list_after(&org.repository(""), "").await.unwrap(),
        listed
    );
    let record = bucket_layout::part_record("", &org.id, &run(), &volume(), "pod-uid");
    assert_eq!(mover.write(&record, &org.key).await, Ok(PutOutcome::Created));

    // The operator reads the record, and never the data.
    let store = S3Store::new(&org.aws.operator().await, &org.location).unwrap();
    assert!(store.get(&record).await.unwrap().is_some());
    refused("a pack by the operator", store.get(&pack).await);
}

#[tokio::test]
async fn a_volume_mover_can_neither_overwrite_nor_delete() {
    let org = Org::new("42222222-2222-4222-8222-222222222222").await;
    let mover = org.session(&snapshot()).await;
    let pack = org.repository("data/00/pack");
    mover.write(&pack, &org.key).await.unwrap();

    let encrypted = |put: PutObjectFluentBuilder| {
        put.server_side_encryption(ServerSideEncryption::AwsKms)
            .ssekms_key_id(org.key.as_str())
    };
    let ledger_key = &org.aws.place("eu").ledger_key_arn;
    for (what, put) in [
        ("overwriting", encrypted(mover.raw_put(&pack))),
        (
            "a new object without the condition",
            encrypted(mover.raw_put(&org.repository("data/00/new"))),
        ),
        (
            "a write without a key",
            mover.raw_put(&org.repository("data/00/new")).if_none_match("*"),
        ),
        (
            "a write under another key",
            encrypted(mover.raw_put(&org.repository("data/00/new")))
                .if_none_match("*")
                .ssekms_key_id(ledger_key),
        ),
    ] {
        let error = put.send().await.unwrap_err();
        assert_eq!(
            error.raw_response().unwrap().status().as_u16(),
            403,
            "{what}: {error:?}"
        );
    }
    refused("deleting", mover.bucket.delete(&pack).await);
    let bucket = &org.location.bucket;
    let versions = mover
        .bucket
        .client()
        .list_object_versions()
        .bucket(bucket)
        .send()
        .await;
    assert_eq!(
        versions.unwrap_err().raw_response().unwrap().status().as_u16(),
        403
    );
    assert_eq!(mover.bucket.read(&pack, None).await.unwrap().unwrap(), "x");
}

#[tokio::test]
async fn a_volume_mover_sees_nothing_but_its_part() {
    let org = Org::new("43333333-3333-4333-8333-333333333333").await;
    let other = Org::new("44444444-4444-4444-8444-444444444444").await;
    let mover = org.session(&snapshot()).await;
    let web: PartId = "data-web-0".parse().unwrap();

    // Whether its work is still open stands in its own org's ledger, which it reads and nothing else.
    let entry = bucket_layout::ledger_entry("", &org.id, 0);
    assert_eq!(mover.bucket.read(&entry, None).await.unwrap().unwrap(), "entry");
    let folder = bucket_layout::ledger_prefix("", &org.id);
    assert_eq!(mover.bucket.list_after(&folder, "").await.unwrap().len(), 1);
    refused("writing the ledger", mover.write(&entry, &org.key).await);
    refused("deleting from the ledger", mover.bucket.delete(&entry).await);
    for (what, key) in [
        (
            "another org's ledger",
            bucket_layout::ledger_entry("", &other.id, 0),
        ),
        (
            "another org's wrapped key",
            bucket_layout::wrapped_key("", &other.id),
        ),
        (
            "another part's repository",
            format!("{}config", bucket_layout::volume_repository("", &org.id, &web)),
        ),
        (
            "another org's repository",
            format!(
                "{}config",
                bucket_layout::volume_repository("", &other.id, &volume())
            ),
        ),
        (
            "the objects' archive",
            bucket_layout::objects_archive("", &org.id, &run()),
        ),
        (
            "another part's record",
            bucket_layout::part_record("", &org.id, &run(), &objects_part(), "pod"),
        ),
    ] {
        refused(&format!("reading {what}"), mover.bucket.read(&key, None).await);
        refused(&format!("writing {what}"), mover.write(&key, &org.key).await);
        refused(&format!("deleting {what}"), mover.bucket.delete(&key).await);
    }
    let ledger_key = org.ledger_key();
    let next_entry = bucket_layout::ledger_entry("", &org.id, 1);
    refused(
        "appending to the ledger",
        mover.write(&next_entry, &ledger_key).await,
    );
    refused(
        "its own wrapped key, new",
        mover
            .write(
                &format!("{}key/0002.json", bucket_layout::org_prefix("", &org.id)),
                &org.key,
            )
            .await,
    );

    for prefix in [
        String::new(),
        "v1/".to_owned(),
        bucket_layout::ledger_prefix("", &other.id),
        bucket_layout::org_prefix("", &org.id),
        bucket_layout::org_prefix("", &other.id),
        bucket_layout::volume_repository("", &org.id, &web),
    ] {
        refused(
            &format!("listing {prefix:?}"),
            mover.bucket.list_after(&prefix, "").await,
        );
    }

    refused(
        "another org's master key",
        mover.keys.unwrap(&other.key, &other.id, &other.wrapped).await,
    );
    refused(
        "its own key for another org",
        mover.keys.unwrap(&org.key, &other.id, &other.wrapped).await,
    );
    refused(
        "a new wrapped key",
        mover
            .keys
            .generate_wrapped_key(&org.key, &org.id, MASTER_KEY_PURPOSE)
            .await,
    );
    refused("the state of its key", mover.keys.check_key(&org.key).await);
    let elsewhere = org.repository("data/01/other-key");
    refused(
        "a write under another org's key",
        mover.write(&elsewhere, &other.key).await,
    );
}

#[tokio::test]
async fn orgs_that_share_a_key_do_not_open_each_others_master_key() {
    let org = Org::new("47111111-1111-4111-8111-111111111111").await;
    let other = Org::under(org.key.clone(), "47222222-2222-4222-8222-222222222222").await;
    let mover = org.session(&snapshot()).await;
    assert!(mover.keys.unwrap(&org.key, &org.id, &org.wrapped).await.is_ok());
    refused(
        "another org's master key, as its own",
        mover.keys.unwrap(&org.key, &other.id, &other.wrapped).await,
    );
    let as_ours = mover.keys.unwrap(&org.key, &org.id, &other.wrapped).await;
    assert!(as_ours.is_err(), "its context is another: {as_ours:?}");
    let pack = format!(
        "{}data/00/pack",
        bucket_layout::volume_repository("", &other.id, &volume())
    );
    refused("writing another org's pack", mover.write(&pack, &org.key).await);
    refused("reading another org's pack", mover.bucket.read(&pack, None).await);
}

#[tokio::test]
async fn an_objects_mover_writes_one_archive_and_its_record() {
    let org = Org::new("45555555-5555-4555-8555-555555555555").await;
    let mover = org
        .session(&SessionScope::SnapshotObjects { run_id: run() })
        .await;
    let archive = bucket_layout::objects_archive("", &org.id, &run());
    assert_eq!(mover.write(&archive, &org.key).await, Ok(PutOutcome::Created));
    assert!(mover.bucket.read(&archive, None).await.unwrap().is_some());
    let record = bucket_layout::part_record("", &org.id, &run(), &objects_part(), "pod");
    assert_eq!(mover.write(&record, &org.key).await, Ok(PutOutcome::Created));

    let other_run = "01ARZ3NDEKTSV4RRFFQ69G5FAW".parse().unwrap();
    refused(
        "another run's archive",
        mover
            .write(&bucket_layout::objects_archive("", &org.id, &other_run), &org.key)
            .await,
    );
    refused(
        "a repository",
        mover.write(&org.repository("config"), &org.key).await,
    );
    refused("deleting its archive", mover.bucket.delete(&archive).await);
}

#[tokio::test]
async fn a_restore_reads_and_writes_nothing() {
    let org = Org::new("46666666-6666-4666-8666-666666666666").await;
    let pack = org.repository("data/00/pack");
    org.session(&snapshot())
        .await
        .write(&pack, &org.key)
        .await
        .unwrap();

    let mover = org
        .session(&SessionScope::RestoreVolume { volume: volume() })
        .await;
    assert_eq!(mover.bucket.read(&pack, Some(0..1)).await.unwrap().unwrap(), "x");
    assert_eq!(
        mover
            .bucket
            .list_after(&org.repository(""), "")
            .await
            .unwrap()
            .len(),
        1
    );
    mover.keys.unwrap(&org.key, &org.id, &org.wrapped).await.unwrap();
    refused(
        "writing",
        mover.write(&org.repository("data/00/new"), &org.key).await,
    );
    refused("deleting", mover.bucket.delete(&pack).await);
}

#[tokio::test]
async fn the_pruner_deletes_what_runs_of_its_own_org_have_left_and_nothing_else() {
    let org = Org::new("47777777-7777-4777-8777-777777777777").await;
    let other = Org::new("48888888-8888-4888-8888-888888888888").await;
    let pack = org.repository("data/00/pack");
    let record = bucket_layout::part_record("", &org.id, &run(), &volume(), "pod");
    let mover = org.session(&snapshot()).await;
    for key in [&pack, &record] {
        mover.write(key, &org.key).await.unwrap();
    }

    let pruner = org.session(&SessionScope::Prune).await;
    assert_eq!(
        pruner.write(&org.repository("index/1"), &org.key).await,
        Ok(PutOutcome::Created)
    );
    pruner.bucket.delete(&pack).await.unwrap();
    pruner.bucket.delete(&pack).await.unwrap();
    assert_eq!(
        pruner.bucket.list_after(&org.repository("data/"), "").await,
        Ok(vec![])
    );
    let failure = bucket_layout::part_failure("", &org.id, &run(), &volume(), "pod");
    let archive = bucket_layout::objects_archive("", &org.id, &run());
    for key in [&archive, &record, &failure] {
        pruner.bucket.delete(key).await.unwrap();
    }
    let left = pruner
        .bucket
        .list_after(&bucket_layout::runs("", &org.id), "")
        .await;
    assert_eq!(left, Ok(vec![]));
    for (what, key) in [
        (
            "a part's record of another org",
            bucket_layout::part_record("", &other.id, &run(), &volume(), "pod"),
        ),
        ("the wrapped key", bucket_layout::wrapped_key("", &org.id)),
        ("the ledger", bucket_layout::ledger_entry("", &org.id, 0)),
        (
            "another org's repository",
            format!(
                "{}config",
                bucket_layout::volume_repository("", &other.id, &volume())
            ),
        ),
    ] {
        refused(what, pruner.bucket.delete(&key).await);
    }
}

#[tokio::test]
async fn a_session_ends_when_it_says_and_a_role_that_cannot_be_assumed_is_named() {
    let org = Org::new("49999999-9999-4999-8999-999999999999").await;
    let policy = session_policy(&snapshot(), &org.location, &org.id, &org.key, &org.ledger_key()).unwrap();
    let operator = org.aws.operator().await;
    let issuer = StsSessions::new(&operator, &org.location).unwrap();
    let hour = Duration::from_hours(1);
    let session = issuer
        .assume(&org.aws.mover_role_arn, "s", &policy, hour)
        .await
        .unwrap();
    let life = session.expires_at.duration_since(SystemClock.now());
    assert!((3500..3700).contains(&life.as_secs()), "{life}");

    // With the operator's own token instead of its role: no chain of roles, so more than an hour.
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(
        &token,
        org.aws.service_account_token("tray-system", "tray-operator"),
    )
    .unwrap();
    let by_token = StsSessions::new(
        &operator.clone().with_web_identity_token(Some(token.clone())),
        &org.location,
    )
    .unwrap();
    let session = by_token
        .assume(&org.aws.mover_role_arn, "s", &policy, 4 * hour)
        .await
        .unwrap();
    let mover = Mover::new(&org, &session);
    assert_eq!(
        mover.write(&org.repository("config"), &org.key).await,
        Ok(PutOutcome::Created)
    );
    refused(
        "deleting with a session by token",
        mover.bucket.delete(&org.repository("config")).await,
    );

    std::fs::write(&token, org.aws.service_account_token("default", "somebody")).unwrap();
    refused(
        "a role by somebody else's token",
        by_token
            .assume(&org.aws.mover_role_arn, "s", &policy, hour)
            .await
            .map(drop),
    );
    std::fs::remove_file(&token).unwrap();
    let error = by_token
        .assume(&org.aws.mover_role_arn, "s", &policy, hour)
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(&error, RemoteError::Unusable(text) if text.contains(token.to_str().unwrap())),
        "{error}"
    );

    let role = org.aws.mover_role_arn.replace("tray-mover", "nobody");
    let error = issuer
        .assume(&role, "s", &policy, hour)
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains(&role), "{error}");
}
