//! Whether a Region's log location is what its spec says: judged from what S3 says of itself. Access records name people,
//! so they stay in the region.

use tray_api::{conditions::reasons, region::RegionSpec};
use tray_domain::mover_task::BucketLocation;
use tray_ledger::RemoteError;
use tray_ports::{BucketFacts, RegionPorts};

use super::location::LocationVerdict;
use crate::controllers::{conditions::ConditionFact, view::region::log_location};

/// Asks S3, and judges; none where the spec names no log location.
pub async fn verify(spec: &RegionSpec, regions: &dyn RegionPorts) -> Option<LocationVerdict> {
    let location = log_location(spec)?;
    let asked = match regions.services(&location) {
        Ok(services) => services.store.facts(&location.prefix).await,
        Err(error) => Err(error),
    };
    Some(match asked {
        Ok(facts) => LocationVerdict::Found(judge(spec, &location, &facts)),
        Err(error) => refused(error),
    })
}

fn refused(error: RemoteError) -> LocationVerdict {
    let (reason, why) = match error {
        RemoteError::Unavailable(why) => return LocationVerdict::Unanswered(why),
        RemoteError::NotFound(why) => (reasons::BUCKET_NOT_FOUND, why),
        RemoteError::Denied(why) => (reasons::BUCKET_ACCESS_DENIED, why),
        RemoteError::Unusable(why) | RemoteError::Corrupt(why) => (reasons::BUCKET_NOT_SAFE, why),
    };
    LocationVerdict::Found(ConditionFact::new(
        false,
        reason,
        format!("spec.logLocation.bucket: {why}"),
    ))
}

fn judge(spec: &RegionSpec, location: &BucketLocation, facts: &BucketFacts) -> ConditionFact {
    let (bucket, real, home) = (&location.bucket, &facts.cloud_region, &spec.cloud_region);
    if real != home {
        return ConditionFact::new(
            false,
            reasons::BUCKET_REGION_DIFFERS,
            format!(
                "bucket {bucket} lies in {real}, but spec.cloudRegion is {home}: name a bucket in {home} in \
                 spec.logLocation.bucket"
            ),
        );
    }
    let mut faults = Vec::new();
    if facts.default_encryption.is_none() {
        faults.push("it has no default encryption: set one".to_owned());
    }
    if !facts.public_access_blocked {
        faults.push("its public access block is not complete: turn all four settings on".to_owned());
    }
    if !facts.replication_targets.is_empty() {
        faults.push(format!(
            "it replicates to {}, out of the region: remove the rules",
            facts.replication_targets.join(", ")
        ));
    }
    if !faults.is_empty() {
        let message = format!("bucket {bucket}: {}", faults.join("; "));
        return ConditionFact::new(false, reasons::BUCKET_NOT_SAFE, message);
    }
    let (owner, endpoint) = (&location.bucket_owner, &location.endpoints.s3);
    let message = format!("bucket {bucket} of account {owner} lies in {real}");
    if endpoint.is_empty() {
        ConditionFact::new(true, reasons::BUCKET_VERIFIED, message)
    } else {
        let message = format!("{message}: so says {endpoint}, which is not AWS");
        ConditionFact::new(true, reasons::BUCKET_VERIFIED_CUSTOM_ENDPOINT, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::{conditions::Truth, region::fixtures};
    use tray_api::region::LogLocation;

    fn spec() -> RegionSpec {
        let mut spec = fixtures::spec();
        spec.log_location = Some(LogLocation {
            bucket: "tray-logs-eu".to_owned(),
            prefix: "platform/".to_owned(),
        });
        spec
    }
    fn judged(facts: &BucketFacts) -> ConditionFact {
        let spec = spec();
        judge(&spec, &log_location(&spec).unwrap(), facts)
    }
    fn facts() -> BucketFacts {
        BucketFacts {
            default_encryption: Some("AES256".to_owned()),
            public_access_blocked: true,
            ..BucketFacts::elsewhere("eu-west-1".to_owned())
        }
    }

    #[test]
    fn p17_the_record_stays_in_the_region_and_is_closed_to_others() {
        assert_eq!(judged(&facts()).reason, reasons::BUCKET_VERIFIED);
        let elsewhere = judged(&BucketFacts::elsewhere("eu-central-1".to_owned()));
        assert_eq!(elsewhere.reason, reasons::BUCKET_REGION_DIFFERS);
        for part in ["eu-central-1", "eu-west-1", "spec.logLocation.bucket"] {
            assert!(elsewhere.message.contains(part), "{}", elsewhere.message);
        }
        let open = judged(&BucketFacts {
            default_encryption: None,
            public_access_blocked: false,
            replication_targets: vec!["arn:aws:s3:::copy".to_owned()],
            ..facts()
        });
        assert_eq!(
            (open.status, open.reason.as_str()),
            (Truth::False, reasons::BUCKET_NOT_SAFE)
        );
        for part in ["default encryption", "public access block", "copy"] {
            assert!(open.message.contains(part), "{}", open.message);
        }
    }

    #[test]
    fn it_belongs_to_the_account_of_the_backups_and_lies_at_home() {
        let location = log_location(&spec()).unwrap();
        assert_eq!(location.bucket_owner, fixtures::spec().backup.bucket_owner);
        assert_eq!(
            (location.cloud_region.as_str(), location.prefix.as_str()),
            ("eu-west-1", "platform/")
        );
        assert!(log_location(&fixtures::spec()).is_none());
    }
}
