//! The bucket with the operator's rights.

use std::sync::Arc;

use bytes::Bytes;
use tray_domain::{
    bucket_layout,
    ids::{KmsKeyArn, OrgId},
    ledger::Event,
};
use tray_ledger::{LedgerStore, ObjectStore, PutOutcome, RemoteError};
use tray_operator::adapters::{
    aws_regions::AwsRegions, clock::SystemClock, s3::S3Store, s3_bucket::S3Bucket,
};
use tray_ports::{Clock as _, RegionBucket, RegionPorts as _};
use tray_testkit::lease::sole_writer;

use super::support::aws::{Place, StandIn, stand_in};

const ORG: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

async fn store(aws: &StandIn, place: &Place) -> S3Store {
    S3Store::new(&aws.operator().await, &aws.location(place, "")).unwrap()
}
fn ledger_key(place: &Place) -> KmsKeyArn {
    place.ledger_key_arn.parse().unwrap()
}
fn org(id: &str) -> OrgId {
    id.parse().unwrap()
}

#[tokio::test]
async fn objects_are_written_once_under_the_named_key_and_read_back() {
    let aws = stand_in().await;
    let place = aws.place("eu");
    let (store, key) = (store(aws, place).await, ledger_key(place));
    let org = org("11111111-1111-4111-8111-111111111111");
    let name = bucket_layout::ledger_entry("", &org, 0);

    assert_eq!(store.get(&name).await, Ok(None));
    let first = store
        .put_if_absent(&name, Bytes::from_static(b"first"), &key)
        .await;
    assert_eq!(first, Ok(PutOutcome::Created));
    let second = store
        .put_if_absent(&name, Bytes::from_static(b"second"), &key)
        .await;
    assert_eq!(second, Ok(PutOutcome::Exists));
    assert_eq!(store.get(&name).await, Ok(Some(Bytes::from_static(b"first"))));

    let skew = store.clock_skew().unwrap();
    assert!(skew.abs() < jiff::SignedDuration::from_mins(1), "{skew}");
}

/// With the rights of the policy that the documentation gives.
#[tokio::test]
async fn of_what_is_said_of_clusters_the_heartbeat_alone_is_written_and_written_over() {
    let aws = stand_in().await;
    let place = aws.place("eu");
    let (store, key) = (store(aws, place).await, ledger_key(place));
    let heartbeat = bucket_layout::heartbeat("", "0d1f6b1e");
    for body in ["first", "second"] {
        assert_eq!(store.replace(&heartbeat, Bytes::from(body), &key).await, Ok(()));
    }
    // The operator's own role does not read it.
    let admin = S3Store::new(&aws.admin(), &aws.location(place, "")).unwrap();
    let written = admin.get(&heartbeat).await;
    assert_eq!(written, Ok(Some(Bytes::from_static(b"second"))));

    let marker = bucket_layout::fenced("", "0d1f6b1e");
    assert_eq!(store.get(&marker).await, Ok(None));
    let refused = store.replace(&marker, Bytes::from_static(b"x"), &key).await;
    assert!(matches!(refused, Err(RemoteError::Denied(_))), "{refused:?}");
    let org = org("33333333-3333-4333-8333-333333333333");
    let entry = bucket_layout::ledger_entry("", &org, 0);
    let refused = store.replace(&entry, Bytes::from_static(b"x"), &key).await;
    assert!(matches!(refused, Err(RemoteError::Denied(_))), "{refused:?}");
    assert_eq!(
        admin.replace(&marker, Bytes::from_static(b"there"), &key).await,
        Ok(())
    );
    assert_eq!(store.get(&marker).await, Ok(Some(Bytes::from_static(b"there"))));
}

#[tokio::test]
async fn a_list_has_every_page_in_key_order() {
    let aws = stand_in().await;
    let place = aws.place("us");
    let (operator, location) = (aws.operator().await, aws.location(place, ""));
    let bucket = S3Bucket::connect(&operator, &location).unwrap().with_page_size(5);
    let org = org("22222222-2222-4222-8222-222222222222");
    let names: Vec<String> = (0..23)
        .map(|seq| bucket_layout::ledger_entry("", &org, seq))
        .collect();
    for name in &names {
        let written = bucket
            .put_if_absent(name, Bytes::from_static(b"x"), &ledger_key(place))
            .await;
        assert_eq!(written, Ok(PutOutcome::Created));
    }
    let prefix = bucket_layout::ledger_prefix("", &org);
    let listed = bucket.list_after(&prefix, "").await.unwrap();
    assert!(listed.iter().map(|object| &object.key).eq(&names));
    assert!(listed.iter().all(|object| object.size == 1));
    let after = bucket.list_after(&prefix, &names[11]).await.unwrap();
    assert!(after.iter().map(|object| &object.key).eq(&names[12..]));
    assert_eq!(bucket.list_after("v1/ledger/nobody/", "").await, Ok(vec![]));
}

#[tokio::test]
async fn a_location_has_one_set_of_services() {
    let aws = stand_in().await;
    let regions = AwsRegions::new(aws.operator().await);
    let eu = aws.location(aws.place("eu"), "");
    let one = regions.services(&eu).unwrap();
    let same = regions.services(&eu).unwrap();
    assert!(Arc::ptr_eq(&one.store, &same.store));
    let us = regions.services(&aws.location(aws.place("us"), "")).unwrap();
    assert!(!Arc::ptr_eq(&one.store, &us.store));
    let mut plain = eu;
    plain.endpoints.kms = "http://kms.example.com".into();
    let refused = regions.services(&plain).err().unwrap();
    assert!(
        refused
            .to_string()
            .contains("http://kms.example.com is not https"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_ledger_lives_in_the_bucket() {
    let aws = stand_in().await;
    let place = aws.place("eu");
    let store: Arc<dyn ObjectStore> = Arc::new(store(aws, place).await);
    let open = |store: Arc<dyn ObjectStore>| async move {
        let ledgers = LedgerStore::new();
        let writer = sole_writer("cluster");
        ledgers
            .open(store, "", ledger_key(place), org(ORG), &writer)
            .await
    };
    let now = SystemClock.now();
    let (one, two) = (
        open(store.clone()).await.unwrap(),
        open(store.clone()).await.unwrap(),
    );
    one.claim(now).await.unwrap();
    two.refresh().await.unwrap();
    // Two processes at once: each entry is written once, and each sees the other's.
    let writer = |ledger: tray_ledger::Ledger, who: &'static str| async move {
        for i in 0..10 {
            let event = |_: &_| {
                Some(Event::KeyPlanned {
                    intent: format!("{who}{i}"),
                })
            };
            ledger.append_decided(now, event).await.unwrap();
        }
    };
    tokio::join!(writer(one.clone(), "a"), writer(two.clone(), "b"));
    let read = open(store).await.unwrap();
    assert_eq!(read.state().next_seq, 21);
    assert_eq!(one.refresh().await.unwrap(), read.state());
}

#[tokio::test]
async fn facts_of_a_good_bucket() {
    let aws = stand_in().await;
    for (name, region) in [
        ("us", "us-east-2"),
        ("eu", "eu-central-1"),
        ("apac", "ap-southeast-1"),
    ] {
        let facts = store(aws, aws.place(name)).await.facts("").await.unwrap();
        assert_eq!(facts.cloud_region, region);
        assert!(facts.versioned && facts.public_access_blocked);
        assert_eq!(facts.default_encryption.as_deref(), Some("aws:kms"));
        assert_eq!(facts.harmful_lifecycle_rules, Vec::<String>::new());
        assert_eq!((facts.default_lock, facts.replication_targets), (None, vec![]));
    }
}

#[tokio::test]
async fn a_bucket_elsewhere_of_another_owner_or_absent_is_named() {
    let aws = stand_in().await;
    let eu = aws.place("eu");

    let mut elsewhere = aws.location(eu, "");
    elsewhere.cloud_region = "eu-west-3".into();
    let store = S3Store::new(&aws.operator().await, &elsewhere).unwrap();
    assert_eq!(store.facts("").await.unwrap().cloud_region, "eu-central-1");

    // The administrator may do everything, so that only the owner stands in the way; the operator may not even ask.
    let mut foreign = aws.location(&aws.foreign, "");
    foreign.bucket_owner.clone_from(&aws.account);
    let error = S3Store::new(&aws.admin(), &foreign)
        .unwrap()
        .facts("")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RemoteError::Denied(text) if text.contains(&aws.foreign.bucket)
            && text.contains("does not belong to account 111122223333")),
        "{error}"
    );
    let error = S3Store::new(&aws.operator().await, &foreign)
        .unwrap()
        .facts("")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RemoteError::Denied(text) if text.contains("111122223333")),
        "{error}"
    );

    let mut absent = aws.location(eu, "");
    absent.bucket = "tray-backups-nowhere".into();
    let error = S3Store::new(&aws.operator().await, &absent)
        .unwrap()
        .facts("")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RemoteError::NotFound(text) if text.contains("tray-backups-nowhere") && text.contains("create it")),
        "{error}"
    );
}

#[tokio::test]
async fn every_missing_permission_is_named_at_once() {
    let aws = stand_in().await;
    let some = r#"{"Effect":"Allow","Action":["s3:ListBucket","s3:GetBucketVersioning"],"Resource":"*"}"#;
    let store = S3Store::new(
        &aws.operator_within(some).await,
        &aws.location(aws.place("eu"), ""),
    )
    .unwrap();
    let error = store.facts("").await.unwrap_err();
    let RemoteError::Denied(text) = &error else {
        panic!("{error}")
    };
    for action in [
        "s3:GetEncryptionConfiguration",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetLifecycleConfiguration",
        "s3:GetBucketObjectLockConfiguration",
        "s3:GetReplicationConfiguration",
    ] {
        assert!(text.contains(action), "{text}");
    }
    assert!(!text.contains("s3:GetBucketVersioning"), "{text}");
}

#[tokio::test]
async fn a_refused_read_write_or_list_names_object_and_permission() {
    let aws = stand_in().await;
    let place = aws.place("eu");
    let nothing = r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#;
    let store = S3Store::new(&aws.operator_within(nothing).await, &aws.location(place, "")).unwrap();
    let name = "v1/ledger/x/0.json";
    let read = store.get(name).await.unwrap_err();
    let write = store
        .put_if_absent(name, Bytes::new(), &ledger_key(place))
        .await
        .unwrap_err();
    let list = store.list("v1/").await.unwrap_err();
    for (error, action, on) in [
        (read, "s3:GetObject", name),
        (write, "s3:PutObject", name),
        (list, "s3:ListBucket", "v1/"),
    ] {
        let RemoteError::Denied(text) = &error else {
            panic!("{error}")
        };
        assert!(
            text.contains(action) && text.contains(on) && text.contains(&place.bucket),
            "{text}"
        );
    }
}
