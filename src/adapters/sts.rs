//! [`SessionIssuer`] over STS: credentials cut down by a session policy.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use aws_sdk_sts::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::Credentials,
};
use tray_domain::mover_task::{BucketLocation, SessionCredentials};
use tray_ledger::RemoteError;
use tray_ports::SessionIssuer;

use super::{
    aws_client::AwsClients,
    aws_error::{Attempt, code},
    s3_bucket::timestamp,
};

/// Longest name of a session.
const LONGEST_NAME: usize = 64;

/// STS of one region.
#[derive(Clone, Debug)]
pub struct StsSessions {
    client: Client,
    cloud_region: String,
    web_identity_token: Option<PathBuf>,
}

impl StsSessions {
    /// STS beside the bucket of `location`.
    pub fn new(clients: &AwsClients, location: &BucketLocation) -> Result<Self, RemoteError> {
        Ok(Self {
            client: clients.sts(location)?,
            cloud_region: location.cloud_region.clone(),
            web_identity_token: clients.web_identity_token(),
        })
    }

    /// By the operator's own role: a role that is assumed by a role lives an hour at most.
    async fn by_role(
        &self,
        role_arn: &str,
        name: &str,
        policy: &str,
        seconds: i32,
    ) -> Result<Option<Credentials>, RemoteError> {
        self.client
            .assume_role()
            .role_arn(role_arn)
            .role_session_name(name)
            .policy(policy)
            .duration_seconds(seconds)
            .send()
            .await
            .map(|answer| answer.credentials)
            .map_err(|error| self.failed("sts:AssumeRole", role_arn, policy, &error))
    }

    /// By the operator's service account, whose token is read anew each time: the kubelet renews it.
    async fn by_web_identity(
        &self,
        token: &PathBuf,
        role_arn: &str,
        name: &str,
        policy: &str,
        seconds: i32,
    ) -> Result<Option<Credentials>, RemoteError> {
        let text = tokio::fs::read_to_string(token).await.map_err(|error| {
            RemoteError::Unusable(format!(
                "the web identity token {} cannot be read: {error}; mount a service account token there",
                token.display()
            ))
        })?;
        self.client
            .assume_role_with_web_identity()
            .role_arn(role_arn)
            .role_session_name(name)
            .web_identity_token(text.trim())
            .policy(policy)
            .duration_seconds(seconds)
            .send()
            .await
            .map(|answer| answer.credentials)
            .map_err(|error| self.failed("sts:AssumeRoleWithWebIdentity", role_arn, policy, &error))
    }

    fn failed<E>(
        &self,
        action: &'static str,
        role_arn: &str,
        policy: &str,
        error: &SdkError<E, HttpResponse>,
    ) -> RemoteError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        if code(error).starts_with("PackedPolicyTooLarge") {
            return RemoteError::Unusable(format!(
                "{action} on {role_arn}: the session policy ({} characters) is too long for STS: shorten spec.backup.prefix",
                policy.len()
            ));
        }
        let region = &self.cloud_region;
        Attempt {
            action,
            on: role_arn,
            region,
        }
        .failed(error)
    }
}

#[async_trait]
impl SessionIssuer for StsSessions {
    async fn assume(
        &self,
        role_arn: &str,
        session_name: &str,
        policy: &str,
        lifetime: Duration,
    ) -> Result<SessionCredentials, RemoteError> {
        let name = valid_name(session_name);
        let seconds = i32::try_from(lifetime.as_secs()).unwrap_or(i32::MAX);
        let issued = match &self.web_identity_token {
            Some(token) => {
                self.by_web_identity(token, role_arn, &name, policy, seconds)
                    .await?
            }
            None => self.by_role(role_arn, &name, policy, seconds).await?,
        };
        let incomplete = || RemoteError::Corrupt(format!("STS gave no whole credentials for {role_arn}"));
        let issued = issued.ok_or_else(incomplete)?;
        Ok(SessionCredentials {
            expires_at: timestamp(&issued.expiration).ok_or_else(incomplete)?,
            access_key_id: issued.access_key_id,
            secret_access_key: issued.secret_access_key,
            session_token: issued.session_token,
        })
    }
}

/// What STS takes for a name: letters, digits and `_+=,.@-`, 2 to 64 of them.
fn valid_name(name: &str) -> String {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    let cut = name.chars().take(LONGEST_NAME);
    let name: String = cut.map(|c| if valid(c) { c } else { '-' }).collect();
    if name.len() < 2 { format!("{name}--") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_becomes_one_that_sts_takes() {
        assert_eq!(valid_name("acme/data-db-0 ü"), "acme-data-db-0--");
        assert_eq!(valid_name(""), "--");
        assert_eq!(valid_name(&"a".repeat(100)).len(), 64);
    }
}
