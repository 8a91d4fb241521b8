//! The engine's store over S3, with a mover's credentials out of its file.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tray_domain::{bucket_layout, session_policy::SessionScope};
use tray_engine::{BlobError, BlobStore};
use tray_operator::adapters::{
    aws_client::AwsClients, blob_store::S3Blobs, clock::SystemClock, mover_credentials::FileCredentials,
    s3_bucket::S3Bucket,
};

use super::{
    sessions::{Org, snapshot, volume},
    support::aws::IMPATIENT,
};

/// The store of the org's one volume, as `scope` may use it.
pub(crate) async fn blobs(org: &Org, scope: &SessionScope) -> S3Blobs {
    let folder = tempfile::tempdir().unwrap().keep();
    let file = folder.join("credentials.json");
    std::fs::write(&file, serde_json::to_vec(&org.issue(scope).await).unwrap()).unwrap();
    let bundle = std::fs::read(&org.aws.ca_bundle).unwrap();
    let clients = AwsClients::new(FileCredentials::new(file), Some(&bundle), Arc::new(SystemClock)).unwrap();
    let bucket = S3Bucket::connect(&clients.with_patience(IMPATIENT), &org.location).unwrap();
    let prefix = bucket_layout::volume_repository("", &org.id, &volume());
    S3Blobs::new(bucket, org.key.clone(), Handle::current()).at(&prefix)
}

/// As the engine calls: on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_written_once_listed_by_their_names_and_read_in_part() {
    let org = Org::new("51111111-1111-4111-8111-111111111111").await;
    let store = blobs(&org, &snapshot()).await;
    blocking(move || {
        let body = Bytes::from((0..=255u8).cycle().take(70_000).collect::<Vec<_>>());
        for name in ["data/ab/abc", "index/1", "config"] {
            store.put_if_absent(name, body.clone()).unwrap();
        }
        store.put_if_absent("empty", Bytes::new()).unwrap();

        let names =
            |prefix| -> Vec<String> { store.list(prefix).unwrap().into_iter().map(|b| b.name).collect() };
        assert_eq!(names(""), ["config", "data/ab/abc", "empty", "index/1"]);
        assert_eq!(names("data/"), ["data/ab/abc"]);
        assert_eq!(store.list("config").unwrap()[0].size, 70_000);

        assert_eq!(store.get("config").unwrap(), body);
        assert_eq!(store.get("empty").unwrap(), Bytes::new());
        assert_eq!(
            store.get_range("config", 1000..1010).unwrap(),
            body.slice(1000..1010)
        );
        assert_eq!(store.get_range("config", 5..5).unwrap(), Bytes::new());
        for range in [69_990..70_010, 70_000..70_001, 80_000..80_001] {
            let short = store.get_range("config", range);
            assert!(
                matches!(&short, Err(BlobError::Corrupt(text)) if text.contains("config")),
                "{short:?}"
            );
        }
        let absent = store.get("nothing");
        assert!(
            matches!(&absent, Err(BlobError::NotFound(text)) if text.contains("repo/data-db-0/nothing")),
            "{absent:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_by_equal_content_is_success_and_by_other_content_is_not() {
    let org = Org::new("52222222-2222-4222-8222-222222222222").await;
    let store = blobs(&org, &snapshot()).await;
    blocking(move || {
        store.put_if_absent("config", "one".into()).unwrap();
        store.put_if_absent("config", "one".into()).unwrap();
        let other = store.put_if_absent("config", "two".into());
        assert!(
            matches!(&other, Err(BlobError::Corrupt(text)) if text.contains("config")),
            "{other:?}"
        );
        assert_eq!(store.get("config").unwrap(), "one");
        assert!(matches!(store.delete("config"), Err(BlobError::Denied(_))));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pruner_removes_blobs_and_what_is_gone_is_gone() {
    let org = Org::new("53333333-3333-4333-8333-333333333333").await;
    let writer = blobs(&org, &snapshot()).await;
    let pruner = blobs(&org, &SessionScope::Prune).await;
    blocking(move || {
        writer.put_if_absent("data/1", "x".into()).unwrap();
        pruner.delete("data/1").unwrap();
        pruner.delete("data/1").unwrap();
        assert_eq!(pruner.list("").unwrap(), []);
        writer.put_if_absent("data/1", "y".into()).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_on_a_thread_of_the_runtime_is_no_panic() {
    let org = Org::new("54444444-4444-4444-8444-444444444444").await;
    let store = blobs(&org, &snapshot()).await;
    assert_eq!(store.list("").unwrap(), []);
    assert!(
        store
            .location()
            .starts_with("s3://tray-backups-eu/v1/orgs/54444444"),
        "{}",
        store.location()
    );
}

#[test]
fn a_call_after_the_end_of_the_runtime_is_an_error() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(async {
        let org = Org::new("55555555-5555-4555-8555-555555555555").await;
        blobs(&org, &snapshot()).await
    });
    drop(runtime);
    assert!(matches!(store.list(""), Err(BlobError::Unavailable(_))));
}
