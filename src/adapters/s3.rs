//! [`ObjectStore`] over S3, with the operator's own rights.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    config::{
        ConfigBag, Intercept, RuntimeComponents, http::HttpResponse,
        interceptors::BeforeDeserializationInterceptorContextRef,
    },
    error::{BoxError, ProvideErrorMetadata, SdkError},
    types::{BucketVersioningStatus, DefaultRetention, MfaDeleteStatus},
};
use bytes::Bytes;
use jiff::{SignedDuration, fmt::rfc2822};
use tray_domain::{ids::KmsKeyArn, mover_task::BucketLocation};
use tray_ledger::{Listed, ObjectStore, PutOutcome, RemoteError};
use tray_ports::{BucketFacts, Clock, DefaultLock, RegionBucket};

use super::{
    aws_client::AwsClients,
    aws_error::{bucket_region, code, status},
    s3_bucket::S3Bucket,
    s3_rules::{harmful_rules, noncurrent_days, replication_targets, unfinished_upload_days},
};

/// One bucket.
#[derive(Debug)]
pub struct S3Store {
    bucket: S3Bucket,
    skew: Arc<Mutex<Option<SignedDuration>>>,
}

impl S3Store {
    /// The bucket of `location`.
    pub fn new(clients: &AwsClients, location: &BucketLocation) -> Result<Self, RemoteError> {
        let skew = Arc::default();
        let clock = Watch {
            clock: clients.clock(),
            skew: Arc::clone(&skew),
        };
        let client = Client::from_conf(clients.s3(location)?.interceptor(clock).build());
        let bucket = S3Bucket::new(client, location.clone(), clients.debounce());
        Ok(Self { bucket, skew })
    }

    /// The real region, and proof that the bucket is there, ours and of the right owner.
    async fn region(&self) -> Result<String, RemoteError> {
        let location = self.bucket.location();
        let uri = self.bucket.uri("");
        let head = self.bucket.client().head_bucket().bucket(&location.bucket);
        let owned = head.clone().expected_bucket_owner(&location.bucket_owner);
        let error = match owned.send().await {
            Ok(answer) => return self.region_of(answer.bucket_region()).await,
            Err(error) => error,
        };
        let elsewhere = bucket_region(&error).filter(|region| *region != location.cloud_region);
        if let Some(region) = elsewhere
            && (300..=400).contains(&status(&error))
        {
            return Ok(region.to_owned());
        }
        match status(&error) {
            404 => Err(RemoteError::NotFound(format!(
                "{uri}: there is no such bucket: create it in {} or name another",
                location.cloud_region
            ))),
            403 => {
                // Only the owner condition tells the two apart, and S3 answers both alike.
                let of_other = head.send().await.is_ok();
                Err(RemoteError::Denied(match (of_other, elsewhere) {
                    (true, _) => format!(
                        "{uri} does not belong to account {}: name its real owner, or a bucket of that account",
                        location.bucket_owner
                    ),
                    (false, Some(region)) => format!(
                        "{uri} lies in {region}, not in {}, and s3:ListBucket on it is refused: allow it to the operator's \
                         role, or name a bucket of account {}",
                        location.cloud_region, location.bucket_owner
                    ),
                    (false, None) => format!(
                        "s3:ListBucket on {uri} is refused: allow it to the operator's role, or name a bucket of account {}",
                        location.bucket_owner
                    ),
                }))
            }
            _ => Err(self.bucket.attempt("s3:ListBucket", &uri).failed(&error)),
        }
    }

    async fn region_of(&self, header: Option<&str>) -> Result<String, RemoteError> {
        if let Some(region) = header.filter(|region| !region.is_empty()) {
            return Ok(region.to_owned());
        }
        let location = self.bucket.location();
        let uri = self.bucket.uri("");
        let answer = self
            .bucket
            .client()
            .get_bucket_location()
            .bucket(&location.bucket)
            .expected_bucket_owner(&location.bucket_owner)
            .send()
            .await
            .map_err(|error| self.bucket.attempt("s3:GetBucketLocation", &uri).failed(&error))?;
        Ok(
            match answer
                .location_constraint()
                .map_or("", |constraint| constraint.as_str())
            {
                // The two names that are older than the names of regions.
                "" => "us-east-1".to_owned(),
                "EU" => "eu-west-1".to_owned(),
                region => region.to_owned(),
            },
        )
    }

    /// One question about the bucket. `absent` is the code by which S3 says that nothing is set.
    async fn ask<T, E>(
        &self,
        action: &'static str,
        absent: &str,
        answer: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<Option<T>, (&'static str, RemoteError)>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match answer.await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if !absent.is_empty() && code(&error) == absent => Ok(None),
            Err(error) => {
                let uri = self.bucket.uri("");
                Err((action, self.bucket.attempt(action, &uri).failed(&error)))
            }
        }
    }
}

/// Asks with bucket and owner filled in.
macro_rules! question {
    ($self:ident, $action:literal, $absent:literal, $call:ident) => {{
        let location = $self.bucket.location();
        let call = $self.bucket.client().$call().bucket(&location.bucket);
        $self.ask(
            $action,
            $absent,
            call.expected_bucket_owner(&location.bucket_owner).send(),
        )
    }};
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, RemoteError> {
        self.bucket.read(key, None).await
    }

    async fn put_if_absent(
        &self,
        key: &str,
        body: Bytes,
        kms_key: &KmsKeyArn,
    ) -> Result<PutOutcome, RemoteError> {
        self.bucket.put_if_absent(key, body, kms_key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError> {
        self.bucket.list_after(prefix, "").await
    }

    async fn list_after(&self, prefix: &str, start_after: &str) -> Result<Vec<Listed>, RemoteError> {
        self.bucket.list_after(prefix, start_after).await
    }
}

#[async_trait::async_trait]
impl RegionBucket for S3Store {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, RemoteError> {
        self.bucket.put_new(key, body).await
    }

    async fn facts(&self, prefix: &str) -> Result<BucketFacts, RemoteError> {
        let cloud_region = self.region().await?;
        if cloud_region != self.bucket.location().cloud_region {
            // Asked in another region S3 answers nothing else, and where it lies decides already.
            return Ok(BucketFacts::elsewhere(cloud_region));
        }
        let (versioning, encryption, access, lifecycle, lock, replication) = tokio::join!(
            question!(self, "s3:GetBucketVersioning", "", get_bucket_versioning),
            question!(
                self,
                "s3:GetEncryptionConfiguration",
                "ServerSideEncryptionConfigurationNotFoundError",
                get_bucket_encryption
            ),
            question!(
                self,
                "s3:GetBucketPublicAccessBlock",
                "NoSuchPublicAccessBlockConfiguration",
                get_public_access_block
            ),
            question!(
                self,
                "s3:GetLifecycleConfiguration",
                "NoSuchLifecycleConfiguration",
                get_bucket_lifecycle_configuration
            ),
            question!(
                self,
                "s3:GetBucketObjectLockConfiguration",
                "ObjectLockConfigurationNotFoundError",
                get_object_lock_configuration
            ),
            question!(
                self,
                "s3:GetReplicationConfiguration",
                "ReplicationConfigurationNotFoundError",
                get_bucket_replication
            ),
        );
        let mut failed = Vec::new();
        let versioning = kept(versioning, &mut failed);
        let encryption = kept(encryption, &mut failed);
        let access = kept(access, &mut failed);
        let lifecycle = kept(lifecycle, &mut failed);
        let lock = kept(lock, &mut failed);
        let replication = kept(replication, &mut failed);
        if let Some(error) = self.unanswered(failed) {
            return Err(error);
        }

        let rules = lifecycle.as_ref().map_or(&[][..], |lifecycle| lifecycle.rules());
        let block = access
            .as_ref()
            .and_then(|a| a.public_access_block_configuration());
        Ok(BucketFacts {
            cloud_region,
            versioned: versioning
                .as_ref()
                .is_some_and(|v| v.status() == Some(&BucketVersioningStatus::Enabled)),
            mfa_delete: versioning.is_some_and(|v| v.mfa_delete() == Some(&MfaDeleteStatus::Enabled)),
            noncurrent_days: noncurrent_days(rules, prefix),
            unfinished_upload_days: unfinished_upload_days(rules, prefix),
            default_encryption: encryption
                .as_ref()
                .and_then(|e| e.server_side_encryption_configuration())
                .and_then(|configuration| configuration.rules().first())
                .and_then(|rule| rule.apply_server_side_encryption_by_default())
                .map(|default| default.sse_algorithm().as_str().to_owned()),
            public_access_blocked: block.is_some_and(|block| {
                [
                    block.block_public_acls(),
                    block.ignore_public_acls(),
                    block.block_public_policy(),
                    block.restrict_public_buckets(),
                ]
                .into_iter()
                .all(|on| on == Some(true))
            }),
            harmful_lifecycle_rules: harmful_rules(rules, prefix),
            default_lock: lock
                .as_ref()
                .and_then(|lock| lock.object_lock_configuration())
                .and_then(|configuration| configuration.rule())
                .and_then(|rule| rule.default_retention())
                .and_then(default_lock),
            replication_targets: replication
                .as_ref()
                .and_then(|replication| replication.replication_configuration())
                .map(|configuration| replication_targets(configuration.rules()))
                .unwrap_or_default(),
        })
    }

    fn clock_skew(&self) -> Option<SignedDuration> {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// S3 says it in days or in years.
fn default_lock(retention: &DefaultRetention) -> Option<DefaultLock> {
    let years = retention.years().unwrap_or_default().saturating_mul(366);
    Some(DefaultLock {
        mode: retention.mode()?.as_str().to_owned(),
        days: retention.days().unwrap_or(years),
    })
}

type Unanswered = (&'static str, RemoteError);

fn kept<T>(answer: Result<Option<T>, Unanswered>, failed: &mut Vec<Unanswered>) -> Option<T> {
    answer.unwrap_or_else(|error| {
        failed.push(error);
        None
    })
}

impl S3Store {
    /// The one error of several: all missing permissions at once, so that one visit to IAM is enough.
    fn unanswered(&self, failed: Vec<Unanswered>) -> Option<RemoteError> {
        let refused: Vec<&str> = failed
            .iter()
            .filter(|(_, error)| matches!(error, RemoteError::Denied(_)))
            .map(|(action, _)| *action)
            .collect();
        if refused.is_empty() {
            return failed.into_iter().next().map(|(_, error)| error);
        }
        Some(RemoteError::Denied(format!(
            "the operator's role may not ask what {} is like: allow it {}",
            self.bucket.uri(""),
            refused.join(", ")
        )))
    }
}

/// Compares every answer's `Date` with our clock.
#[derive(Clone)]
struct Watch {
    clock: Arc<dyn Clock>,
    skew: Arc<Mutex<Option<SignedDuration>>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("skew", &self.skew)
            .finish_non_exhaustive()
    }
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "tray-clock-skew"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(theirs) = date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok())
        {
            let skew = theirs.duration_since(self.clock.now());
            *self.skew.lock().unwrap_or_else(PoisonError::into_inner) = Some(skew);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::ObjectLockRetentionMode;

    use super::*;

    #[test]
    fn a_default_lock_is_counted_in_days_whatever_s3_says_it_in() {
        let retention = |days: Option<i32>, years: Option<i32>| {
            let mode = ObjectLockRetentionMode::Governance;
            let retention = DefaultRetention::builder().mode(mode);
            retention.set_days(days).set_years(years).build()
        };
        let days = |retention: &DefaultRetention| default_lock(retention).map(|lock| lock.days);
        assert_eq!(days(&retention(Some(7), None)), Some(7));
        assert_eq!(days(&retention(None, Some(1))), Some(366));
        assert_eq!(default_lock(&DefaultRetention::builder().build()), None);
    }
}
