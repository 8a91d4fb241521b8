//! KMS with the operator's rights, and the unwrapping of movers.

use tray_domain::ids::{KmsKeyArn, OrgId};
use tray_ledger::{ObjectStore, RemoteError};
use tray_operator::adapters::{kms::KmsKeys, s3::S3Store};
use tray_ports::KeyService;
use tray_ports::MasterKeys;

use super::support::aws::{StandIn, stand_in};

const PURPOSE: &str = "master-key";

async fn keys(aws: &StandIn) -> KmsKeys {
    KmsKeys::new(&aws.operator().await, &aws.location(aws.place("eu"), "")).unwrap()
}
/// Who may do everything: opens what only movers may open.
fn admin(aws: &StandIn) -> KmsKeys {
    KmsKeys::new(&aws.admin(), &aws.location(aws.place("eu"), "")).unwrap()
}
fn org(id: &str) -> OrgId {
    id.parse().unwrap()
}

#[tokio::test]
async fn a_key_is_made_once_per_intent() {
    let aws = stand_in().await;
    let keys = keys(aws).await;
    let org = org("31111111-1111-4111-8111-111111111111");
    let key = keys.ensure_key(&org, "intent-1").await.unwrap();
    assert_eq!(key.cloud_region(), "eu-central-1");
    assert_eq!(keys.ensure_key(&org, "intent-1").await, Ok(key.clone()));
    assert_ne!(keys.ensure_key(&org, "intent-2").await.unwrap(), key);
    keys.check_key(&key).await.unwrap();
}

#[tokio::test]
async fn a_key_whose_maker_ended_before_the_alias_is_found_by_its_tags() {
    let aws = stand_in().await;
    let org = org("32222222-2222-4222-8222-222222222222");
    let eu = aws.location(aws.place("eu"), "");
    let tag = |key: &str, value: &str| {
        aws_sdk_kms::types::Tag::builder()
            .tag_key(key)
            .tag_value(value)
            .build()
            .unwrap()
    };
    let client = aws.operator().await.kms(&eu).unwrap();
    let made = client
        .create_key()
        .tags(tag("managed-by", "tray-operator"))
        .tags(tag("orgId", org.as_str()))
        .tags(tag("intent", "intent-1"))
        .send()
        .await
        .unwrap();
    let made = made.key_metadata().unwrap().arn().unwrap();
    let keys = keys(aws).await;
    assert_eq!(keys.ensure_key(&org, "intent-1").await.unwrap().as_str(), made);
    assert_eq!(
        keys.ensure_key(&org, "intent-1").await.unwrap().as_str(),
        made,
        "now by its alias"
    );
}

#[tokio::test]
async fn an_intent_that_cannot_be_in_an_alias_is_refused() {
    let keys = keys(stand_in().await).await;
    let org = org("33333333-3333-4333-8333-333333333333");
    for intent in ["", "a/b", "ü", &"x".repeat(65)] {
        let refused = keys.ensure_key(&org, intent).await;
        assert!(matches!(refused, Err(RemoteError::Unusable(_))), "{intent}");
    }
}

#[tokio::test]
async fn a_master_key_opens_only_with_its_key_its_org_and_its_purpose() {
    let aws = stand_in().await;
    let (keys, admin) = (keys(aws).await, admin(aws));
    let one = org("34444444-4444-4444-8444-444444444444");
    let other = org("35555555-5555-4555-8555-555555555555");
    let key = keys.ensure_key(&one, "i").await.unwrap();
    let other_key = keys.ensure_key(&other, "i").await.unwrap();

    let wrapped = keys.generate_wrapped_key(&key, &one, PURPOSE).await.unwrap();
    assert_ne!(
        wrapped,
        keys.generate_wrapped_key(&key, &one, PURPOSE).await.unwrap()
    );
    let master = admin.unwrap(&key, &one, &wrapped).await.unwrap();
    assert_eq!(master.len(), 64);
    assert_eq!(admin.unwrap(&key, &one, &wrapped).await.unwrap(), master);

    let mut tampered = wrapped.to_vec();
    *tampered.last_mut().unwrap() ^= 1;
    let of_other_purpose = keys
        .generate_wrapped_key(&key, &one, "master-key-of-something-else")
        .await;
    assert!(of_other_purpose.is_err(), "the role allows master keys only");
    for (key, org, wrapped) in [
        (&key, &other, &wrapped[..]),
        (&other_key, &one, &wrapped[..]),
        (&key, &one, &tampered[..]),
        (&key, &one, b"nonsense"),
    ] {
        let refused = admin.unwrap(key, org, wrapped).await;
        assert!(matches!(refused, Err(RemoteError::Corrupt(_))), "{refused:?}");
    }
    let operators_own = keys.unwrap(&key, &one, &wrapped).await;
    assert!(
        matches!(operators_own, Err(RemoteError::Denied(_))),
        "the operator never sees a master key"
    );
}

#[tokio::test]
async fn a_key_that_is_disabled_planned_for_deletion_elsewhere_or_absent_is_named() {
    let aws = stand_in().await;
    let keys = keys(aws).await;
    let eu = aws.location(aws.place("eu"), "");
    let client = aws.admin().kms(&eu).unwrap();
    let org = org("36666666-6666-4666-8666-666666666666");
    let names = |error: &RemoteError, key: &KmsKeyArn, state: &str| {
        let text = error.to_string();
        assert!(text.contains(key.as_str()) && text.contains(state), "{text}");
    };

    let disabled = keys.ensure_key(&org, "disabled").await.unwrap();
    client
        .disable_key()
        .key_id(disabled.as_str())
        .send()
        .await
        .unwrap();
    let checked = keys.check_key(&disabled).await.unwrap_err();
    assert!(matches!(checked, RemoteError::Unusable(_)));
    names(&checked, &disabled, "Disabled");
    let generated = keys
        .generate_wrapped_key(&disabled, &org, PURPOSE)
        .await
        .unwrap_err();
    assert!(matches!(generated, RemoteError::Unusable(_)));
    names(&generated, &disabled, "disabled: enable it");

    let going = keys.ensure_key(&org, "going").await.unwrap();
    client
        .schedule_key_deletion()
        .key_id(going.as_str())
        .pending_window_in_days(7)
        .send()
        .await
        .unwrap();
    names(
        &keys.check_key(&going).await.unwrap_err(),
        &going,
        "PendingDeletion",
    );
    assert!(matches!(
        keys.generate_wrapped_key(&going, &org, PURPOSE).await,
        Err(RemoteError::Unusable(_))
    ));

    let elsewhere: KmsKeyArn = aws.place("us").ledger_key_arn.parse().unwrap();
    names(
        &keys.check_key(&elsewhere).await.unwrap_err(),
        &elsewhere,
        "lies in us-east-2, not in eu-central-1",
    );

    let absent: KmsKeyArn = "arn:aws:kms:eu-central-1:111122223333:key/7c9e6679-7425-40de-944b-e07fc1f90ae7"
        .parse()
        .unwrap();
    let error = admin(aws).check_key(&absent).await.unwrap_err();
    assert!(matches!(error, RemoteError::NotFound(_)), "{error}");
    names(&error, &absent, "no such KMS key");
}

#[tokio::test]
async fn an_object_under_a_disabled_key_is_neither_written_nor_read_and_the_key_is_named() {
    let aws = stand_in().await;
    let eu = aws.location(aws.place("eu"), "");
    let org = org("37777777-7777-4777-8777-777777777777");
    let key = keys(aws).await.ensure_key(&org, "i").await.unwrap();
    let store = S3Store::new(&aws.operator().await, &eu).unwrap();
    let name = format!("v1/orgs/{org}/key/0001.json");
    store.put_if_absent(&name, "wrapped".into(), &key).await.unwrap();

    let client = aws.admin().kms(&eu).unwrap();
    client.disable_key().key_id(key.as_str()).send().await.unwrap();
    let read = store.get(&name).await.unwrap_err();
    let other = format!("v1/orgs/{org}/key/0002.json");
    let written = store
        .put_if_absent(&other, "wrapped".into(), &key)
        .await
        .unwrap_err();
    for error in [read, written] {
        assert!(
            matches!(&error, RemoteError::Unusable(text) if text.contains(key.as_str()) && text.contains("enable it")),
            "{error}"
        );
    }
    client.enable_key().key_id(key.as_str()).send().await.unwrap();
    assert!(store.get(&name).await.unwrap().is_some());
}
