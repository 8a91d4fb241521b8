//! What a mover's credentials may do: the session policy of exactly one piece of work.
//!
//! The movers' role may touch every org; what STS issues is the intersection of that role with the policy built here. So
//! a mover writes only its own part, only where nothing is, only under its org's key; it reads that, the wrapped master key
//! and the org's ledger (whether its work is still open); and it deletes nothing. The pruner alone deletes, in one org's repositories, archives and
//! part records.

use serde_json::{Value, json};

use super::{
    bucket_layout,
    ids::{KmsKeyArn, OrgId, PartId, RunId},
    mover_task::BucketLocation,
    run_plan,
};

/// The longest session policy that STS takes, in characters.
pub const LONGEST: usize = 2048;
/// Purpose, in the encryption context, of an org's master key.
pub const MASTER_KEY_PURPOSE: &str = "master-key";

/// A piece of work that gets credentials of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionScope {
    /// Copy one volume.
    SnapshotVolume {
        /// The run.
        run_id: RunId,
        /// The part: the claim's name.
        volume: PartId,
    },
    /// Archive the objects.
    SnapshotObjects {
        /// The run.
        run_id: RunId,
    },
    /// Fill one volume, or prove that it can be filled.
    RestoreVolume {
        /// The volume that the repository is of.
        volume: PartId,
    },
    /// Put objects back, or prove that their archive is whole.
    RestoreObjects {
        /// The run whose archive it is.
        run_id: RunId,
    },
    /// Remove from all repositories, archives and part records of the org what the ledger says is pruned.
    Prune,
}

/// Why there is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionPolicyError {
    /// STS would refuse it.
    #[error(
        "the session policy has {length} characters and STS takes {LONGEST}: shorten spec.backup.prefix or spec.backup.bucket of \
         the Region"
    )]
    TooLong {
        /// Its length.
        length: usize,
    },
}

/// Object keys, each perhaps ending in `*`, by what may be done to them.
#[derive(Default)]
struct Rights {
    write_if_absent: Vec<String>,
    read: Vec<String>,
    list: Vec<String>,
    delete: Vec<String>,
}

/// The session policy (JSON) for `scope` of `org`, whose key is `key`, in the bucket of `location`; new entries of its ledger are
/// encrypted under `ledger_key`, older ones perhaps under another key of the same account and region.
pub fn session_policy(
    scope: &SessionScope,
    location: &BucketLocation,
    org: &OrgId,
    key: &KmsKeyArn,
    ledger_key: &KmsKeyArn,
) -> Result<String, SessionPolicyError> {
    let rights = rights(scope, &location.prefix, org);
    let partition = key.as_str().split(':').nth(1).unwrap_or("aws");
    let bucket = format!("arn:{partition}:s3:::{}", location.bucket);
    let objects = |keys: &[String]| {
        keys.iter()
            .map(|key| format!("{bucket}/{key}"))
            .collect::<Vec<_>>()
    };

    let mut statements = vec![allow("s3:GetObject", &objects(&rights.read), None)];
    if !rights.write_if_absent.is_empty() {
        let condition = json!({
            "Null": {"s3:if-none-match": "false"},
            // Who names a key asks for SSE-KMS; the movers' role demands that, too.
            "StringEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key},
        });
        statements.push(allow(
            "s3:PutObject",
            &objects(&rights.write_if_absent),
            Some(condition),
        ));
    }
    if !rights.list.is_empty() {
        let condition = json!({"StringLike": {"s3:prefix": one_or_many(&rights.list)}});
        statements.push(allow(
            "s3:ListBucket",
            std::slice::from_ref(&bucket),
            Some(condition),
        ));
    }
    if !rights.delete.is_empty() {
        statements.push(allow("s3:DeleteObject", &objects(&rights.delete), None));
    }
    // Directly: only to open the master key of this very org.
    let context = json!({"StringEquals": {
        "kms:EncryptionContext:orgId": org,
        "kms:EncryptionContext:purpose": MASTER_KEY_PURPOSE,
    }});
    statements.push(allow("kms:Decrypt", &[key.to_string()], Some(context)));
    // Through S3, which has a context of its own: to read, and to write where writing is allowed. Which objects these are is
    // said above, and what is written there is under the org's key. The ledger is read whatever key each entry is under: the
    // Region's may have been another when it was written.
    let through_s3 = format!("s3.{}.amazonaws.com", location.cloud_region);
    let actions: &[&str] = if rights.write_if_absent.is_empty() {
        &["kms:Decrypt"]
    } else {
        &["kms:Decrypt", "kms:GenerateDataKey"]
    };
    let mut through = vec![all_beside(ledger_key)];
    if !through.contains(&all_beside(key)) {
        through.push(key.to_string());
    }
    statements.push(json!({
        "Effect": "Allow",
        "Action": one_or_many(actions),
        "Resource": one_or_many(&through),
        "Condition": {"StringEquals": {"kms:ViaService": through_s3}},
    }));
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let length = policy.chars().count();
    if length > LONGEST {
        return Err(SessionPolicyError::TooLong { length });
    }
    Ok(policy)
}

/// Every key of the account and the region of that one.
fn all_beside(key: &KmsKeyArn) -> String {
    let (account, _) = key.as_str().split_once(":key/").unwrap_or((key.as_str(), ""));
    format!("{account}:key/*")
}

fn rights(scope: &SessionScope, prefix: &str, org: &OrgId) -> Rights {
    let all = |folder: String| format!("{folder}*");
    let repository = |volume| all(bucket_layout::volume_repository(prefix, org, volume));
    let records = |run_id, part| all(bucket_layout::part_records(prefix, org, run_id, part));
    let mut rights = match scope {
        SessionScope::SnapshotVolume { run_id, volume } => {
            // What it says of itself is the operator's to read.
            Rights {
                write_if_absent: vec![repository(volume), records(run_id, volume)],
                read: vec![repository(volume)],
                list: vec![repository(volume)],
                ..Rights::default()
            }
        }
        SessionScope::SnapshotObjects { run_id } => {
            let archive = bucket_layout::objects_archive(prefix, org, run_id);
            Rights {
                write_if_absent: vec![archive.clone(), records(run_id, &run_plan::objects_part())],
                read: vec![archive],
                ..Rights::default()
            }
        }
        SessionScope::RestoreVolume { volume } => Rights {
            read: vec![repository(volume)],
            list: vec![repository(volume)],
            ..Rights::default()
        },
        SessionScope::RestoreObjects { run_id } => Rights {
            read: vec![bucket_layout::objects_archive(prefix, org, run_id)],
            ..Rights::default()
        },
        SessionScope::Prune => {
            let own = bucket_layout::org_prefix(prefix, org);
            let repositories = format!("{own}repo/*");
            let archives = all(bucket_layout::objects_archives(prefix, org));
            let records = all(bucket_layout::runs(prefix, org));
            Rights {
                write_if_absent: vec![repositories.clone()],
                read: vec![repositories.clone()],
                // One prefix for all: names of its own org alone, and shorter.
                list: vec![format!("{own}*")],
                delete: vec![repositories, archives, records],
            }
        }
    };
    rights
        .read
        .push(format!("{}key/*", bucket_layout::org_prefix(prefix, org)));
    let ledger = all(bucket_layout::ledger_prefix(prefix, org));
    rights.list.push(ledger.clone());
    rights.read.push(ledger);
    rights
}

fn allow(action: &str, resources: &[String], condition: Option<Value>) -> Value {
    let mut statement = json!({"Effect": "Allow", "Action": action, "Resource": one_or_many(resources)});
    if let Some(condition) = condition {
        statement["Condition"] = condition;
    }
    statement
}

/// IAM takes a text for a list of one; it is shorter.
fn one_or_many<T: AsRef<str> + serde::Serialize>(texts: &[T]) -> Value {
    match texts {
        [one] => json!(one),
        many => json!(many),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mover_task::Endpoints;

    const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1c9e6679-7425-40de-944b-e07fc1f90ae7";
    const LEDGER_KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/2c9e6679-7425-40de-944b-e07fc1f90ae7";
    const ALL_KEYS: &str = "arn:aws:kms:eu-central-1:111122223333:key/*";
    const LEDGER: &str = "arn:aws:s3:::tray-backups-eu/v1/ledger/7c9e6679-7425-40de-944b-e07fc1f90ae7/*";
    const OWN: &str = "arn:aws:s3:::tray-backups-eu/v1/orgs/7c9e6679-7425-40de-944b-e07fc1f90ae7";

    fn run() -> RunId {
        "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()
    }
    fn volume(name: &str) -> PartId {
        name.parse().unwrap()
    }
    fn location(prefix: &str) -> BucketLocation {
        BucketLocation {
            bucket: "tray-backups-eu".into(),
            bucket_owner: "111122223333".into(),
            cloud_region: "eu-central-1".into(),
            prefix: prefix.into(),
            endpoints: Endpoints::default(),
        }
    }
    fn build(scope: &SessionScope, location: &BucketLocation) -> Result<String, SessionPolicyError> {
        build_under(LEDGER_KEY, scope, location)
    }
    fn build_under(
        ledger_key: &str,
        scope: &SessionScope,
        location: &BucketLocation,
    ) -> Result<String, SessionPolicyError> {
        let org = "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap();
        session_policy(
            scope,
            location,
            &org,
            &KEY.parse().unwrap(),
            &ledger_key.parse().unwrap(),
        )
    }
    fn policy(scope: &SessionScope) -> Vec<Value> {
        let text = build(scope, &location("")).unwrap();
        let policy: Value = serde_json::from_str(&text).unwrap();
        policy["Statement"].as_array().unwrap().clone()
    }
    fn all_scopes(volume: &PartId) -> [SessionScope; 5] {
        let run_id = run();
        [
            SessionScope::SnapshotVolume {
                run_id: run_id.clone(),
                volume: volume.clone(),
            },
            SessionScope::SnapshotObjects {
                run_id: run_id.clone(),
            },
            SessionScope::RestoreVolume {
                volume: volume.clone(),
            },
            SessionScope::RestoreObjects { run_id },
            SessionScope::Prune,
        ]
    }
    /// The resources of an action that is given no other condition than those of `policy`.
    fn resources(policy: &[Value], action: &str) -> Vec<String> {
        let of_action = policy.iter().filter(|statement| statement["Action"] == action);
        let resources = of_action.flat_map(|statement| match &statement["Resource"] {
            Value::String(one) => vec![one.clone()],
            many => serde_json::from_value(many.clone()).unwrap(),
        });
        resources.collect()
    }

    #[test]
    fn a_volume_part_writes_its_own_repository_and_records_if_absent_under_its_orgs_key() {
        let policy = policy(&SessionScope::SnapshotVolume {
            run_id: run(),
            volume: volume("data-db-0"),
        });
        let own = [
            format!("{OWN}/repo/data-db-0/*"),
            format!("{OWN}/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/parts/data-db-0/*"),
        ];
        assert_eq!(resources(&policy, "s3:PutObject"), own);
        let put = policy.iter().find(|s| s["Action"] == "s3:PutObject").unwrap();
        assert_eq!(
            put["Condition"],
            json!({
                "Null": {"s3:if-none-match": "false"},
                "StringEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": KEY},
            })
        );
        let read = [own[0].clone(), format!("{OWN}/key/*"), LEDGER.to_owned()];
        assert_eq!(resources(&policy, "s3:GetObject"), read);
        let list = policy.iter().find(|s| s["Action"] == "s3:ListBucket").unwrap();
        assert_eq!(list["Resource"], "arn:aws:s3:::tray-backups-eu");
        assert_eq!(
            list["Condition"]["StringLike"]["s3:prefix"],
            json!([
                "v1/orgs/7c9e6679-7425-40de-944b-e07fc1f90ae7/repo/data-db-0/*",
                "v1/ledger/7c9e6679-7425-40de-944b-e07fc1f90ae7/*"
            ])
        );
    }

    #[test]
    fn the_objects_part_writes_one_archive() {
        let policy = policy(&SessionScope::SnapshotObjects { run_id: run() });
        assert_eq!(
            resources(&policy, "s3:PutObject"),
            [
                format!("{OWN}/objects/01ARZ3NDEKTSV4RRFFQ69G5FAV.tray"),
                format!("{OWN}/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/parts/objects/*"),
            ]
        );
        let list = policy.iter().find(|s| s["Action"] == "s3:ListBucket").unwrap();
        assert_eq!(
            list["Condition"]["StringLike"]["s3:prefix"],
            "v1/ledger/7c9e6679-7425-40de-944b-e07fc1f90ae7/*"
        );
    }

    #[test]
    fn a_restore_only_reads() {
        for scope in &all_scopes(&volume("data-db-0"))[2..4] {
            let text = Value::from(policy(scope)).to_string();
            for action in ["s3:PutObject", "s3:DeleteObject", "kms:GenerateDataKey"] {
                assert!(!text.contains(action), "{scope:?}: {text}");
            }
        }
    }

    #[test]
    fn only_the_pruner_deletes_and_only_what_runs_of_its_org_have_left() {
        for scope in &all_scopes(&volume("data-db-0")) {
            let expected = match scope {
                SessionScope::Prune => ["repo", "objects", "runs"]
                    .map(|folder| format!("{OWN}/{folder}/*"))
                    .to_vec(),
                _ => vec![],
            };
            assert_eq!(resources(&policy(scope), "s3:DeleteObject"), expected);
        }
    }

    #[test]
    fn the_key_opens_only_this_orgs_master_key_or_through_s3() {
        for scope in &all_scopes(&volume("data-db-0")) {
            for statement in policy(scope) {
                if !statement["Action"].to_string().contains("kms:") {
                    continue;
                }
                let condition = &statement["Condition"]["StringEquals"];
                let of_master_key = condition["kms:EncryptionContext:orgId"]
                    == "7c9e6679-7425-40de-944b-e07fc1f90ae7"
                    && condition["kms:EncryptionContext:purpose"] == "master-key";
                let through_s3 = condition["kms:ViaService"] == "s3.eu-central-1.amazonaws.com";
                assert!(of_master_key || through_s3, "{statement}");
                // Which of the account's keys S3 uses is said by the objects that may be read and written.
                let keys = if through_s3 { ALL_KEYS } else { KEY };
                assert_eq!(statement["Resource"], keys, "{statement}");
            }
        }
    }

    #[test]
    fn entries_under_the_regions_former_keys_are_read_through_s3() {
        for scope in &all_scopes(&volume("data-db-0")) {
            let (former, present) = (format!("{LEDGER_KEY}-former"), format!("{LEDGER_KEY}-present"));
            let under = |key: &str| build_under(key, scope, &location("")).unwrap();
            assert_eq!(under(&former), under(&present), "one right for all of them");
            let elsewhere = under("arn:aws:kms:eu-central-1:999922223333:key/ledger");
            let policy: Value = serde_json::from_str(&elsewhere).unwrap();
            let statements = policy["Statement"].as_array().unwrap();
            let through_s3 = &statements.last().unwrap()["Resource"];
            assert_eq!(
                *through_s3,
                json!(["arn:aws:kms:eu-central-1:999922223333:key/*", KEY])
            );
        }
    }

    #[test]
    fn no_scope_writes_a_ledger_or_reaches_another_org() {
        for scope in &all_scopes(&volume("data-db-0")) {
            for statement in policy(scope) {
                let resources = match &statement["Resource"] {
                    Value::String(one) => vec![one.clone()],
                    many => serde_json::from_value(many.clone()).unwrap(),
                };
                for resource in resources {
                    let listed = statement["Action"] == "s3:ListBucket";
                    let of_ledger = match resource.as_str() {
                        LEDGER => statement["Action"] == "s3:GetObject",
                        ALL_KEYS => statement["Condition"]["StringEquals"]["kms:ViaService"].is_string(),
                        _ => false,
                    };
                    assert!(
                        listed || of_ledger || resource == KEY || resource.starts_with(&format!("{OWN}/")),
                        "{resource}"
                    );
                }
            }
        }
    }

    #[test]
    fn long_names_fit_and_a_prefix_that_does_not_is_refused() {
        // Of a workload with the longest name there can be.
        let longest = volume(&crate::names::claim_name(&"w".repeat(30), 99));
        let mut location = location("production/eu/");
        location.bucket = "b".repeat(40);
        for scope in &all_scopes(&longest) {
            let policy = build(scope, &location).unwrap();
            assert!(policy.len() <= LONGEST);
        }
        location.prefix = format!("{}/", "p".repeat(199));
        let refused = build(&all_scopes(&longest)[0], &location).unwrap_err();
        assert!(
            refused.to_string().contains("shorten spec.backup.prefix"),
            "{refused}"
        );
    }
}
