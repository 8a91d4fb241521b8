//! Whether a Region's backup location is what its spec says: judged from what S3 and KMS say of themselves.

use tray_api::{
    conditions::reasons,
    region::{ObjectLock, RegionSpec},
};
use tray_domain::{cloud_regions::Jurisdiction, ids::KmsKeyArn};
use tray_ledger::RemoteError;
use tray_ports::{BucketFacts, DefaultLock, RegionPorts, RegionServices};

use crate::controllers::{
    conditions::{ConditionFact, Truth},
    view::region::bucket_location,
};

/// Longest default lock: the shortest time from an org's deletion until it has to be gone.
const LONGEST_LOCK_DAYS: i32 = 10;

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocationVerdict {
    /// It is as specified, or it is not: a fact, either way.
    Found(ConditionFact),
    /// A service did not answer: nothing was found out.
    Unanswered(String),
}

/// What was found out about a backup location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationVerdicts {
    /// Condition BackupLocationVerified.
    pub verified: LocationVerdict,
    /// Condition BackupLocationHardened.
    pub hardened: LocationVerdict,
}

impl LocationVerdicts {
    /// The services did not answer.
    pub fn unanswered(why: &str) -> Self {
        let unanswered = LocationVerdict::Unanswered(why.to_owned());
        Self {
            verified: unanswered.clone(),
            hardened: unanswered,
        }
    }
}

/// Asks S3 and KMS, and judges.
pub async fn verify(spec: &RegionSpec, regions: &dyn RegionPorts) -> LocationVerdicts {
    match ask_bucket(spec, regions).await {
        Ok((services, facts)) => LocationVerdicts {
            verified: match ask_keys(spec, &services, &facts).await {
                Ok(verdict) | Err(verdict) => verdict,
            },
            hardened: LocationVerdict::Found(harden(spec, &facts)),
        },
        Err(verdict) => LocationVerdicts {
            hardened: match &verdict {
                LocationVerdict::Found(fact) => LocationVerdict::Found(not_asked(fact)),
                LocationVerdict::Unanswered(_) => verdict.clone(),
            },
            verified: verdict,
        },
    }
}

/// What cannot be asked for is not known.
fn not_asked(fault: &ConditionFact) -> ConditionFact {
    ConditionFact::new(Truth::Unknown, &fault.reason, fault.message.clone())
}

async fn ask_bucket(
    spec: &RegionSpec,
    regions: &dyn RegionPorts,
) -> Result<(RegionServices, BucketFacts), LocationVerdict> {
    let location = bucket_location(&spec.backup);
    let services = regions.services(&location).map_err(bucket_refused)?;
    let facts = services.store.facts(&location.prefix).await;
    Ok((services, facts.map_err(bucket_refused)?))
}

async fn ask_keys(
    spec: &RegionSpec,
    services: &RegionServices,
    facts: &BucketFacts,
) -> Result<LocationVerdict, LocationVerdict> {
    let verdict = judge(spec, facts);
    // Where the bucket lies matters more than any key.
    if verdict.status != Truth::True {
        return Ok(LocationVerdict::Found(verdict));
    }
    let arn = &spec.backup.kms.ledger_key_arn;
    let key: KmsKeyArn = arn.parse().map_err(|error| {
        found(
            reasons::LEDGER_KEY_UNUSABLE,
            format!("spec.backup.kms.ledgerKeyArn: {error}"),
        )
    })?;
    let refused = |reason, field: &'static str, arn: &str, error| match error {
        RemoteError::Unavailable(why) => LocationVerdict::Unanswered(why),
        error => found(
            reason,
            format!("the key {arn} of spec.backup.kms.{field} cannot be used: {error}"),
        ),
    };
    let checked = services.keys.check_key(&key).await;
    checked.map_err(|error| refused(reasons::LEDGER_KEY_UNUSABLE, "ledgerKeyArn", arn, error))?;
    if let Some(arn) = &spec.backup.kms.key_arn {
        let key: KmsKeyArn = arn
            .parse()
            .map_err(|error| found(reasons::KEY_UNUSABLE, format!("spec.backup.kms.keyArn: {error}")))?;
        let checked = services.keys.check_key(&key).await;
        checked.map_err(|error| refused(reasons::KEY_UNUSABLE, "keyArn", arn, error))?;
    }
    Ok(LocationVerdict::Found(verdict))
}

fn found(reason: &str, message: impl Into<String>) -> LocationVerdict {
    LocationVerdict::Found(ConditionFact::new(false, reason, message))
}

fn bucket_refused(error: RemoteError) -> LocationVerdict {
    match error {
        RemoteError::Unavailable(why) => LocationVerdict::Unanswered(why),
        RemoteError::NotFound(why) => found(reasons::BUCKET_NOT_FOUND, format!("spec.backup.bucket: {why}")),
        RemoteError::Denied(why) => found(
            reasons::BUCKET_ACCESS_DENIED,
            format!("spec.backup.bucket, spec.backup.bucketOwner: {why}"),
        ),
        RemoteError::Unusable(why) | RemoteError::Corrupt(why) => {
            found(reasons::BUCKET_NOT_SAFE, format!("spec.backup.bucket: {why}"))
        }
    }
}

/// Judges what S3 says of a bucket against what the Region says.
pub fn judge(spec: &RegionSpec, facts: &BucketFacts) -> ConditionFact {
    let (bucket, real) = (&spec.backup.bucket, facts.cloud_region.as_str());
    if let Some((reason, message)) = misplaced(spec, real) {
        return ConditionFact::new(false, reason, message);
    }
    let faults = faults(spec, facts);
    if !faults.is_empty() {
        return ConditionFact::new(
            false,
            reasons::BUCKET_NOT_SAFE,
            format!("bucket {bucket}: {}", faults.join("; ")),
        );
    }
    let owner = &spec.backup.bucket_owner;
    let endpoint = &spec.backup.endpoints.s3;
    if endpoint.is_empty() {
        ConditionFact::new(
            true,
            reasons::BUCKET_VERIFIED,
            format!("bucket {bucket} of account {owner} lies in {real}"),
        )
    } else {
        ConditionFact::new(
            true,
            reasons::BUCKET_VERIFIED_CUSTOM_ENDPOINT,
            format!(
                "bucket {bucket} of account {owner} lies in {real}: so says {endpoint}, which is not AWS"
            ),
        )
    }
}

fn misplaced(spec: &RegionSpec, real: &str) -> Option<(&'static str, String)> {
    let (bucket, home) = (&spec.backup.bucket, &spec.cloud_region);
    let (said, jurisdiction) = (&spec.backup.cloud_region, spec.jurisdiction);
    if real == home {
        return Some((
            reasons::BUCKET_IN_OWN_REGION,
            format!(
                "bucket {bucket} lies in {real}, which is spec.cloudRegion ({home}): one disaster would take data and \
                 backups; name a bucket of another region of {jurisdiction} in spec.backup.bucket"
            ),
        ));
    }
    let lies_under = Jurisdiction::of_cloud_region(real);
    if lies_under != Some(jurisdiction) {
        let other = lies_under.map_or("none that is known".to_owned(), |other| other.to_string());
        return Some((
            reasons::BUCKET_OUTSIDE_JURISDICTION,
            format!(
                "bucket {bucket} lies in {real}, jurisdiction {other}, but spec.jurisdiction is {jurisdiction}: name a bucket \
                 in {jurisdiction} in spec.backup.bucket"
            ),
        ));
    }
    (real != said).then(|| {
        (
            reasons::BUCKET_REGION_DIFFERS,
            format!(
                "bucket {bucket} lies in {real}, but spec.backup.cloudRegion is {said}: correct the one or the other"
            ),
        )
    })
}

/// Everything that makes a bucket unfit, each with its remedy.
fn faults(spec: &RegionSpec, facts: &BucketFacts) -> Vec<String> {
    let mut faults = Vec::new();
    if !facts.versioned {
        faults.push("versioning is not Enabled: enable it".to_owned());
    }
    if facts.default_encryption.is_none() {
        faults.push("it has no default encryption: set one".to_owned());
    }
    if !facts.public_access_blocked {
        faults.push("its public access block is not complete: turn all four settings on".to_owned());
    }
    if !facts.harmful_lifecycle_rules.is_empty() {
        let prefix = &spec.backup.prefix;
        faults.push(format!(
            "lifecycle rules expire or move current objects under \"{prefix}\": remove {}",
            facts.harmful_lifecycle_rules.join(", ")
        ));
    }
    faults.extend(lock_fault(spec.backup.object_lock, facts.default_lock.as_ref()));
    if !facts.replication_targets.is_empty() {
        faults.push(format!(
            "it replicates to {}, where nobody checks the jurisdiction: remove the rules",
            facts.replication_targets.join(", ")
        ));
    }
    faults
}

/// Judges whether what pruning removes really goes, and goes nowhere else. It keeps no Region from being ready: no copy is lost by
/// it.
pub fn harden(spec: &RegionSpec, facts: &BucketFacts) -> ConditionFact {
    let bucket = &spec.backup.bucket;
    // Of a bucket that lies elsewhere nothing else is known.
    if let Some((reason, message)) = misplaced(spec, &facts.cloud_region) {
        return ConditionFact::new(Truth::Unknown, reason, message);
    }
    let flaws = flaws(spec, facts);
    if !flaws.is_empty() {
        let message = format!("bucket {bucket}: {}", flaws.join("; "));
        return ConditionFact::new(false, reasons::BUCKET_NOT_HARDENED, message);
    }
    let days = |days: Option<i32>| days.unwrap_or_default();
    let message = format!(
        "bucket {bucket}: what is removed is gone {} days later, and unfinished uploads after {} days",
        days(facts.noncurrent_days),
        days(facts.unfinished_upload_days)
    );
    ConditionFact::new(true, reasons::AS_SPECIFIED, message)
}

/// Everything that keeps what was removed in the bucket, or puts it elsewhere, each with its remedy.
fn flaws(spec: &RegionSpec, facts: &BucketFacts) -> Vec<String> {
    let mut flaws = Vec::new();
    let prefix = &spec.backup.prefix;
    if facts.noncurrent_days.is_none() {
        flaws.push(format!(
            "no lifecycle rule removes noncurrent versions of all objects under \"{prefix}\", so what is pruned stays and is paid for: \
             add an enabled rule with that prefix or a shorter one, without tags or sizes, and NoncurrentVersionExpiration of \
             NoncurrentDays 30 or more"
        ));
    }
    if facts.unfinished_upload_days.is_none() {
        flaws.push(format!(
            "no lifecycle rule gives up unfinished uploads of all objects under \"{prefix}\": add \
             AbortIncompleteMultipartUpload with DaysAfterInitiation 7 to such a rule"
        ));
    }
    if facts.mfa_delete {
        flaws.push(
            "MFA delete is Enabled, so no rule and no eraser removes a version: the account's root user turns it off, with \
             put-bucket-versioning and MFADelete=Disabled"
                .to_owned(),
        );
    }
    if !facts.replication_targets.is_empty() {
        flaws.push(format!(
            "it replicates to {}, which the Region does not name, so what is removed here stays there: remove the rules",
            facts.replication_targets.join(", ")
        ));
    }
    flaws
}

/// What is wrong with a bucket's default lock.
fn lock_fault(wanted: ObjectLock, lock: Option<&DefaultLock>) -> Option<String> {
    let is_mode = |mode: &str| lock.is_some_and(|lock| lock.mode.eq_ignore_ascii_case(mode));
    if is_mode("COMPLIANCE") {
        return Some(
            "its default object lock is COMPLIANCE, which nobody can lift when an org's data must go: use GOVERNANCE or \
             none"
                .to_owned(),
        );
    }
    if wanted == ObjectLock::None {
        return None;
    }
    match lock {
        Some(lock) if is_mode("GOVERNANCE") && (1..=LONGEST_LOCK_DAYS).contains(&lock.days) => None,
        Some(lock) if is_mode("GOVERNANCE") => Some(format!(
            "its default object lock is for {} days, and spec.backup.objectLock Governance takes 1 to {LONGEST_LOCK_DAYS}: \
             an org that is deleted may have to be gone after {LONGEST_LOCK_DAYS}",
            lock.days
        )),
        _ => Some(
            "it has no default object lock of mode GOVERNANCE, and spec.backup.objectLock asks for one: set it, or None"
                .to_owned(),
        ),
    }
}

/// What is recorded while a service does not answer: the verdict that stands, or that there is none.
pub fn unanswered(standing: Option<ConditionFact>, why: &str) -> ConditionFact {
    match standing {
        Some(standing) if standing.status != Truth::Unknown => standing,
        _ => ConditionFact::new(
            Truth::Unknown,
            reasons::RETRYING,
            format!("the location has not been verified yet; tried again: {why}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::region::fixtures::spec;

    #[expect(clippy::unnecessary_wraps, reason = "what facts hold")]
    fn lock(mode: &str, days: i32) -> Option<DefaultLock> {
        Some(DefaultLock {
            mode: mode.to_owned(),
            days,
        })
    }

    fn facts() -> BucketFacts {
        BucketFacts {
            cloud_region: "eu-central-1".to_owned(),
            versioned: true,
            default_encryption: Some("aws:kms".to_owned()),
            public_access_blocked: true,
            harmful_lifecycle_rules: Vec::new(),
            default_lock: None,
            replication_targets: Vec::new(),
            noncurrent_days: Some(30),
            unfinished_upload_days: Some(7),
            mfa_delete: false,
        }
    }

    type Flaw = fn(&mut BucketFacts);

    #[test]
    fn a_bucket_is_hardened_where_what_is_removed_goes_and_goes_nowhere_else() {
        let good = harden(&spec(), &facts());
        assert_eq!(
            (good.status, good.reason.as_str()),
            (Truth::True, reasons::AS_SPECIFIED)
        );
        assert!(good.message.contains("30 days later"), "{}", good.message);
        let flaws: [(Flaw, &str); 4] = [
            (|facts| facts.noncurrent_days = None, "NoncurrentDays 30"),
            (
                |facts| facts.unfinished_upload_days = None,
                "DaysAfterInitiation 7",
            ),
            (|facts| facts.mfa_delete = true, "MFADelete=Disabled"),
            (
                |facts| facts.replication_targets = vec!["copies".to_owned()],
                "copies",
            ),
        ];
        let mut all = facts();
        for (flaw, says) in flaws {
            let mut one = facts();
            flaw(&mut one);
            flaw(&mut all);
            let found = harden(&spec(), &one);
            assert_eq!(
                (found.status, found.reason.as_str()),
                (Truth::False, "BucketNotHardened")
            );
            assert!(found.message.contains(says), "{}", found.message);
        }
        let found = harden(&spec(), &all).message;
        assert!(flaws.iter().all(|(_, says)| found.contains(says)), "{found}");
        // But for replication, none of it makes the location unfit.
        all.replication_targets.clear();
        assert_eq!(judge(&spec(), &all).status, Truth::True);
    }

    #[test]
    fn of_a_bucket_that_lies_elsewhere_or_cannot_be_asked_nothing_is_known() {
        let elsewhere = harden(&spec(), &BucketFacts::elsewhere("us-east-1".to_owned()));
        assert_eq!(elsewhere.status, Truth::Unknown);
        assert_eq!(elsewhere.reason, reasons::BUCKET_OUTSIDE_JURISDICTION);
        let refused = ConditionFact::new(
            false,
            reasons::BUCKET_ACCESS_DENIED,
            "s3:GetLifecycleConfiguration",
        );
        let unknown = not_asked(&refused);
        assert_eq!((unknown.status, unknown.reason), (Truth::Unknown, refused.reason));
    }

    #[test]
    fn a_bucket_elsewhere_is_refused_and_both_places_are_named() {
        for (real, reason, names) in [
            (
                "eu-west-1",
                reasons::BUCKET_IN_OWN_REGION,
                ["eu-west-1", "spec.cloudRegion"],
            ),
            (
                "us-east-1",
                reasons::BUCKET_OUTSIDE_JURISDICTION,
                ["jurisdiction US", "is EU"],
            ),
            (
                "eu-west-2",
                reasons::BUCKET_OUTSIDE_JURISDICTION,
                ["eu-west-2", "none that is known"],
            ),
            (
                "eu-north-1",
                reasons::BUCKET_REGION_DIFFERS,
                ["eu-north-1", "spec.backup.cloudRegion is eu-central-1"],
            ),
        ] {
            let found = judge(
                &spec(),
                &BucketFacts {
                    cloud_region: real.to_owned(),
                    ..facts()
                },
            );
            assert_eq!((found.status, found.reason.as_str()), (Truth::False, reason));
            for name in names {
                assert!(found.message.contains(name), "{}", found.message);
            }
        }
    }

    #[test]
    fn everything_that_makes_a_bucket_unfit_is_said_at_once() {
        let found = judge(
            &spec(),
            &BucketFacts {
                versioned: false,
                default_encryption: None,
                public_access_blocked: false,
                harmful_lifecycle_rules: vec!["tidy".to_owned()],
                default_lock: lock("COMPLIANCE", 1),
                replication_targets: vec!["arn:aws:s3:::elsewhere".to_owned()],
                ..facts()
            },
        );
        assert_eq!(found.reason, reasons::BUCKET_NOT_SAFE);
        for part in [
            "versioning",
            "default encryption",
            "public access block",
            "tidy",
            "COMPLIANCE",
            "elsewhere",
        ] {
            assert!(found.message.contains(part), "{}", found.message);
        }
        let governed = BucketFacts {
            default_lock: lock("GOVERNANCE", 400),
            ..facts()
        };
        assert_eq!(judge(&spec(), &governed).status, Truth::True);
    }

    #[test]
    fn a_region_that_asks_for_a_lock_takes_one_that_can_be_lifted_and_ends_in_time() {
        let mut spec = spec();
        spec.backup.object_lock = ObjectLock::Governance;
        for (default_lock, says) in [
            (lock("GOVERNANCE", 1), None),
            (lock("GOVERNANCE", 10), None),
            (lock("GOVERNANCE", 11), Some("for 11 days")),
            (lock("COMPLIANCE", 5), Some("COMPLIANCE")),
            (None, Some("no default object lock of mode GOVERNANCE")),
        ] {
            let found = judge(
                &spec,
                &BucketFacts {
                    default_lock: default_lock.clone(),
                    ..facts()
                },
            );
            assert_eq!(found.status == Truth::True, says.is_none(), "{default_lock:?}");
            assert!(
                found.message.contains(says.unwrap_or_default()),
                "{}",
                found.message
            );
        }
    }

    #[test]
    fn a_custom_endpoint_is_said_where_it_verified() {
        let mut spec = spec();
        assert_eq!(judge(&spec, &facts()).reason, reasons::BUCKET_VERIFIED);
        spec.backup.endpoints.s3 = "https://s3.example".to_owned();
        let found = judge(&spec, &facts());
        assert_eq!(found.status, Truth::True);
        assert_eq!(found.reason, reasons::BUCKET_VERIFIED_CUSTOM_ENDPOINT);
        assert!(found.message.contains("https://s3.example"));
    }

    #[test]
    fn silence_changes_no_verdict_and_makes_none() {
        let good = judge(&spec(), &facts());
        assert_eq!(unanswered(Some(good.clone()), "timeout"), good);
        let none = unanswered(None, "timeout");
        assert_eq!(none.status, Truth::Unknown);
        assert!(none.message.contains("timeout"));
    }
}
