//! Access records in the log bucket, with the operator's rights.

use bytes::Bytes;
use tray_domain::{
    access_record::Line,
    support::{Action, Role},
};
use tray_ledger::{PutOutcome, RemoteError};
use tray_operator::adapters::{s3::S3Store, s3_bucket::S3Bucket};
use tray_ports::RegionBucket;

use super::support::aws::stand_in;

fn line() -> Line {
    Line {
        time: "2026-01-01T00:00:00Z".parse().unwrap(),
        action: Action::Granted,
        org: "acme".to_owned(),
        org_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap(),
        namespace: "org-acme-7c9e6679".to_owned(),
        support_access: "ticket-7".to_owned(),
        uid: "11111111-1111-4111-8111-111111111111".to_owned(),
        role: Role::Debug,
        groups: vec!["support".to_owned()],
        reason: "ticket 7".to_owned(),
        until: "2026-01-01T04:00:00Z".parse().unwrap(),
    }
}

#[tokio::test]
async fn p17_a_line_is_written_once_in_the_region_itself_under_the_buckets_own_encryption() {
    let aws = stand_in().await;
    let location = aws.logs("eu", "platform/");
    assert_eq!(location.cloud_region, "eu-west-1");
    let store = S3Store::new(&aws.operator().await, &location).unwrap();
    let (key, body) = (line().key(&location.prefix), Bytes::from(line().body().unwrap()));
    assert_eq!(store.put_new(&key, body.clone()).await, Ok(PutOutcome::Created));
    assert_eq!(store.put_new(&key, body.clone()).await, Ok(PutOutcome::Exists));

    let admin = S3Bucket::connect(&aws.admin(), &location).unwrap();
    assert_eq!(admin.read(&key, None).await.unwrap(), Some(body));
    let head = admin
        .client()
        .head_object()
        .bucket(&location.bucket)
        .key(&key)
        .send()
        .await
        .unwrap();
    assert_eq!(head.server_side_encryption().unwrap().as_str(), "AES256");
}

#[tokio::test]
async fn p17_the_operator_can_neither_change_a_line_nor_read_or_write_elsewhere_in_the_log_bucket() {
    let aws = stand_in().await;
    let location = aws.logs("us", "");
    let bucket = S3Bucket::connect(&aws.operator().await, &location).unwrap();
    let key = line().key("");
    assert_eq!(
        bucket.put_new(&key, Bytes::from_static(b"{}")).await,
        Ok(PutOutcome::Created)
    );
    let overwrite = bucket
        .client()
        .put_object()
        .bucket(&location.bucket)
        .key(&key)
        .send()
        .await;
    assert!(overwrite.is_err(), "a line was overwritten");
    let elsewhere = bucket.put_new("executions/x.json", Bytes::new()).await;
    assert!(matches!(elsewhere, Err(RemoteError::Denied(_))), "{elsewhere:?}");
    let read = bucket.read(&key, None).await;
    assert!(matches!(read, Err(RemoteError::Denied(_))), "{read:?}");
    assert!(bucket.delete(&key).await.is_err(), "a line was removed");
}

#[tokio::test]
async fn facts_of_a_log_bucket() {
    let aws = stand_in().await;
    for (name, region) in [
        ("us", "us-west-2"),
        ("eu", "eu-west-1"),
        ("apac", "ap-southeast-2"),
    ] {
        let store = S3Store::new(&aws.operator().await, &aws.logs(name, "")).unwrap();
        let facts = store.facts("").await.unwrap();
        assert_eq!(facts.cloud_region, region);
        assert_eq!(facts.default_encryption.as_deref(), Some("AES256"));
        assert!(facts.public_access_blocked && facts.replication_targets.is_empty());
    }
}
