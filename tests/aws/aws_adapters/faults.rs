//! A service that answers late, badly or not at all: calls succeed or fail, and none waits for ever.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tray_engine::{BlobError, BlobStore};
use tray_operator::adapters::{aws_client::Patience, s3_bucket::S3Bucket};

use super::{
    blobs::{blobs, blocking},
    sessions::{Org, snapshot},
    support::aws::IMPATIENT,
};

const BYTES: usize = 600_000;

fn body() -> Bytes {
    (0u32..)
        .flat_map(u32::to_le_bytes)
        .take(BYTES)
        .collect::<Vec<_>>()
        .into()
}

/// What a read of a pack of [`BYTES`] gives when the first `times` reads go wrong like `what`.
async fn read_when(org: &str, times: u32, what: Value) -> Result<Bytes, BlobError> {
    let org = Org::new(org).await;
    let store = blobs(&org, &snapshot()).await;
    let path = format!("{}/repo/data-db-0/pack", org.id);
    blocking({
        let store = store.clone();
        move || store.put_if_absent("pack", body()).unwrap()
    })
    .await;
    org.aws.inject(org.id.as_str(), "GET", &path, times, &what);
    blocking(move || store.get("pack")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_cut_goes_on_where_it_ended() {
    let read = read_when("61111111-1111-4111-8111-111111111111", 3, json!({"cut": 150_000})).await;
    assert_eq!(read.unwrap(), body());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_brings_nothing_again_and_again_is_given_up() {
    let read = read_when("62222222-2222-4222-8222-222222222222", 1000, json!({"cut": 0})).await;
    assert!(
        matches!(&read, Err(BlobError::Unavailable(text)) if text.contains("0 of 600000 bytes")),
        "{read:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_crawls_is_given_up_in_bounded_time() {
    let slow = json!({"bytesPerSecond": 1000});
    let read = tokio::time::timeout(
        // Far below the ten minutes that the body would take.
        Duration::from_mins(1),
        read_when("63333333-3333-4333-8333-333333333333", 1000, slow),
    );
    let read = read.await.expect("it is bounded");
    assert!(
        matches!(&read, Err(BlobError::Unavailable(text)) if text.contains("slower than")),
        "{read:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_pass_are_survived_and_ones_that_stay_are_named() {
    for (org, times, status, code) in [
        ("64444444-4444-4444-8444-444444444444", 2, 503, "SlowDown"),
        ("65555555-5555-4555-8555-555555555555", 2, 500, "InternalError"),
    ] {
        let read = read_when(org, times, json!({"status": status, "code": code})).await;
        assert_eq!(read.unwrap(), body());
    }
    let stays = json!({"status": 503, "code": "SlowDown"});
    let read = read_when("66666666-6666-4666-8666-666666666666", 1000, stays).await;
    assert!(
        matches!(&read, Err(BlobError::Unavailable(text)) if text.contains("SlowDown") && text.contains("pack")),
        "{read:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_done_once_and_is_success() {
    let org = Org::new("67777777-7777-4777-8777-777777777777").await;
    let store = blobs(&org, &snapshot()).await;
    let path = format!("{}/repo/data-db-0/pack", org.id);
    org.aws
        .inject(org.id.as_str(), "PUT", &path, 1, &json!({"lost": true}));
    blocking(move || {
        store.put_if_absent("pack", body()).unwrap();
        assert_eq!(store.get("pack").unwrap(), body());
        assert_eq!(store.list("").unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_write_under_way_is_waited_for() {
    let org = Org::new("68888888-8888-4888-8888-888888888888").await;
    let store = blobs(&org, &snapshot()).await;
    let path = format!("{}/repo/data-db-0/pack", org.id);
    let conflict = json!({"status": 409, "code": "ConditionalRequestConflict"});
    org.aws.inject(org.id.as_str(), "PUT", &path, 2, &conflict);
    blocking(move || store.put_if_absent("pack", body()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_a_page_that_fails_is_an_error_and_not_a_shorter_list() {
    let org = Org::new("69999999-9999-4999-8999-999999999999").await;
    let admin = org.aws.admin().with_patience(IMPATIENT);
    let bucket = S3Bucket::connect(&admin, &org.aws.location(&org.aws.same_region, "")).unwrap();
    let key = org.aws.same_region.ledger_key_arn.parse().unwrap();
    for i in 0..3 {
        bucket
            .put_if_absent(&format!("faults/{i}"), Bytes::new(), &key)
            .await
            .unwrap();
    }
    let paged = bucket.clone().with_page_size(1);
    assert_eq!(paged.list_after("faults/", "").await.unwrap().len(), 3);
    org.aws.inject(
        "list",
        "GET",
        "/tray-backups-eu-same-region",
        1000,
        &json!({"status": 500, "code": "InternalError"}),
    );
    assert!(paged.list_after("faults/", "").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_by_the_clock() {
    let org = Org::new("6aaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa").await;
    let patience = Patience {
        answer: Duration::from_millis(500),
        operation: Duration::from_secs(5),
        tries: 2,
        ..IMPATIENT
    };
    let operator = org.aws.operator().await.with_patience(patience);
    let bucket = S3Bucket::connect(&operator, &org.location).unwrap();
    let key = tray_domain::bucket_layout::wrapped_key("", &org.id);
    org.aws
        .inject(org.id.as_str(), "GET", &key, 1, &json!({"hang": 30}));
    assert!(
        bucket.read(&key, None).await.unwrap().is_some(),
        "the second try is answered"
    );
    org.aws.inject("silence", "GET", &key, 1000, &json!({"hang": 30}));
    let silent = bucket.read(&key, None).await.unwrap_err();
    assert!(
        matches!(&silent, tray_ledger::RemoteError::Unavailable(text) if text.contains(&key)),
        "{silent}"
    );
}
