//! [`KeyService`] over KMS, and the unwrapping that movers do.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_kms::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::{KeySpec, KeyState, KeyUsageType, Tag},
};
use bytes::Bytes;
use tray_domain::{
    ids::{KmsKeyArn, OrgId},
    mover_task::BucketLocation,
    names,
    session_policy::MASTER_KEY_PURPOSE,
};
use tray_ledger::RemoteError;
use tray_ports::KeyService;
use tray_ports::MasterKeys;
use zeroize::Zeroizing;

use super::{
    aws_client::AwsClients,
    aws_error::{Attempt, code},
};

/// Bytes of an org's master key.
const MASTER_KEY_BYTES: usize = 64;
/// Keys of the tags on every key that the operator makes.
const TAG_MANAGED_BY: &str = "managed-by";
const TAG_ORG: &str = "orgId";
const TAG_INTENT: &str = "intent";

/// KMS of one region.
#[derive(Clone, Debug)]
pub struct KmsKeys {
    client: Client,
    cloud_region: String,
}

impl KmsKeys {
    /// KMS beside the bucket of `location`.
    pub fn new(clients: &AwsClients, location: &BucketLocation) -> Result<Self, RemoteError> {
        Ok(Self {
            client: clients.kms(location)?,
            cloud_region: location.cloud_region.clone(),
        })
    }

    fn failed<E>(&self, action: &'static str, on: &str, error: &SdkError<E, HttpResponse>) -> RemoteError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let region = &self.cloud_region;
        Attempt { action, on, region }.failed(error)
    }

    fn in_region(&self, key: &KmsKeyArn) -> Result<(), RemoteError> {
        if key.cloud_region() == self.cloud_region {
            return Ok(());
        }
        Err(RemoteError::Unusable(format!(
            "KMS key {key} lies in {}, not in {}: keys lie in the backup's cloud region",
            key.cloud_region(),
            self.cloud_region
        )))
    }

    /// The key that an earlier try made for `org` and `intent`: by its alias, or, where that try ended before it made
    /// one, by its tags among the keys that have none.
    async fn find_key(
        &self,
        org: &OrgId,
        intent: &str,
        alias: &str,
    ) -> Result<Option<KmsKeyArn>, RemoteError> {
        let mut named = BTreeSet::new();
        let mut marker = None;
        loop {
            let page = self
                .client
                .list_aliases()
                .set_marker(marker)
                .limit(100)
                .send()
                .await;
            let page = page.map_err(|error| self.failed("kms:ListAliases", "*", &error))?;
            for entry in page.aliases() {
                let Some(target) = entry.target_key_id() else {
                    continue;
                };
                if entry.alias_name() == Some(alias) {
                    let found = arn(entry.alias_arn().unwrap_or_default(), alias, target)?;
                    self.check_tags(&found, org, intent).await?;
                    return Ok(Some(found));
                }
                named.insert(target.to_owned());
            }
            if !page.truncated() {
                break;
            }
            marker = page.next_marker().map(str::to_owned);
        }
        let mut marker = None;
        loop {
            let page = self
                .client
                .list_keys()
                .set_marker(marker)
                .limit(1000)
                .send()
                .await;
            let page = page.map_err(|error| self.failed("kms:ListKeys", "*", &error))?;
            for entry in page.keys() {
                let (Some(id), Some(key)) = (entry.key_id(), entry.key_arn()) else {
                    continue;
                };
                if !named.contains(id) && self.has_tags(key, org, intent).await? {
                    return parsed(key).map(Some);
                }
            }
            if !page.truncated() {
                return Ok(None);
            }
            marker = page.next_marker().map(str::to_owned);
        }
    }

    async fn has_tags(&self, key: &str, org: &OrgId, intent: &str) -> Result<bool, RemoteError> {
        let answer = self.client.list_resource_tags().key_id(key).send().await;
        let tags = match answer {
            Ok(answer) => answer.tags.unwrap_or_default(),
            // Somebody else's key: its own policy may refuse us, or it has just gone.
            Err(error) if matches!(code(&error), "AccessDeniedException" | "NotFoundException") => {
                return Ok(false);
            }
            Err(error) => return Err(self.failed("kms:ListResourceTags", key, &error)),
        };
        let has = |key: &str, value: &str| {
            tags.iter()
                .any(|tag| tag.tag_key() == key && tag.tag_value() == value)
        };
        Ok(has(TAG_MANAGED_BY, names::OPERATOR) && has(TAG_ORG, org.as_str()) && has(TAG_INTENT, intent))
    }

    async fn check_tags(&self, key: &KmsKeyArn, org: &OrgId, intent: &str) -> Result<(), RemoteError> {
        if self.has_tags(key.as_str(), org, intent).await? {
            return Ok(());
        }
        Err(RemoteError::Unusable(format!(
            "the alias of org {org} leads to KMS key {key}, whose tags do not say that it was made for this org and intent \
             {intent}: point the alias back, or remove it"
        )))
    }

    async fn create_key(&self, org: &OrgId, intent: &str) -> Result<KmsKeyArn, RemoteError> {
        let tag = |key: &str, value: &str| {
            Tag::builder()
                .tag_key(key)
                .tag_value(value)
                .build()
                .map_err(|error| RemoteError::Unusable(format!("kms:CreateKey for org {org}: {error}")))
        };
        let created = self
            .client
            .create_key()
            .description(format!("Snapshots of org {org}"))
            .key_spec(KeySpec::SymmetricDefault)
            .key_usage(KeyUsageType::EncryptDecrypt)
            .multi_region(false)
            .tags(tag(TAG_MANAGED_BY, names::OPERATOR)?)
            .tags(tag(TAG_ORG, org.as_str())?)
            .tags(tag(TAG_INTENT, intent)?)
            .send()
            .await
            .map_err(|error| self.failed("kms:CreateKey", &format!("a key for org {org}"), &error))?;
        parsed(
            created
                .key_metadata()
                .and_then(|metadata| metadata.arn())
                .unwrap_or_default(),
        )
    }

    async fn create_alias(&self, alias: &str, key: &KmsKeyArn) -> Result<(), RemoteError> {
        let id = key.as_str().rsplit('/').next().unwrap_or_default();
        match self
            .client
            .create_alias()
            .alias_name(alias)
            .target_key_id(id)
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == "AlreadyExistsException" => Ok(()),
            Err(error) => Err(self.failed("kms:CreateAlias", &format!("{alias} of {key}"), &error)),
        }
    }
}

#[async_trait]
impl KeyService for KmsKeys {
    async fn ensure_key(&self, org: &OrgId, intent: &str) -> Result<KmsKeyArn, RemoteError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if intent.is_empty() || intent.len() > 64 || !intent.bytes().all(plain) {
            return Err(RemoteError::Unusable(format!(
                "the intent {intent:?} of org {org} cannot be part of an alias: 1 to 64 letters, digits, - and _"
            )));
        }
        // For people and for the next try. What the ledger pins is the ARN: an alias can be moved.
        let alias = format!("alias/tray/{org}/{intent}");
        let key = match self.find_key(org, intent, &alias).await? {
            Some(key) => key,
            None => self.create_key(org, intent).await?,
        };
        self.create_alias(&alias, &key).await?;
        Ok(key)
    }

    async fn generate_wrapped_key(
        &self,
        key: &KmsKeyArn,
        org: &OrgId,
        purpose: &str,
    ) -> Result<Bytes, RemoteError> {
        self.in_region(key)?;
        let answer = self
            .client
            .generate_data_key_without_plaintext()
            .key_id(key.as_str())
            .number_of_bytes(MASTER_KEY_BYTES as i32)
            .encryption_context(TAG_ORG, org.as_str())
            .encryption_context("purpose", purpose)
            .send()
            .await
            .map_err(|error| self.failed("kms:GenerateDataKeyWithoutPlaintext", key.as_str(), &error))?;
        match answer.ciphertext_blob {
            Some(blob) if answer.key_id.as_deref() == Some(key.as_str()) => {
                Ok(Bytes::from(blob.into_inner()))
            }
            _ => Err(RemoteError::Corrupt(format!(
                "KMS was asked for a key under {key} and answered with one under {}",
                answer.key_id.as_deref().unwrap_or("none")
            ))),
        }
    }

    async fn check_key(&self, key: &KmsKeyArn) -> Result<(), RemoteError> {
        self.in_region(key)?;
        let answer = self
            .client
            .describe_key()
            .key_id(key.as_str())
            .send()
            .await
            .map_err(|error| self.failed("kms:DescribeKey", key.as_str(), &error))?;
        match answer.key_metadata().and_then(|metadata| metadata.key_state()) {
            Some(KeyState::Enabled) => Ok(()),
            state => Err(RemoteError::Unusable(format!(
                "KMS key {key} is {}: enable it (or cancel its deletion)",
                state.map_or("in an unknown state", KeyState::as_str)
            ))),
        }
    }
}

#[async_trait]
impl MasterKeys for KmsKeys {
    async fn unwrap(
        &self,
        key: &KmsKeyArn,
        org: &OrgId,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
        self.in_region(key)?;
        let opened = self
            .client
            .decrypt()
            .key_id(key.as_str())
            .ciphertext_blob(Blob::new(ciphertext))
            .encryption_context(TAG_ORG, org.as_str())
            .encryption_context("purpose", MASTER_KEY_PURPOSE)
            .send()
            .await
            .map_err(|error| self.failed("kms:Decrypt", key.as_str(), &error))?;
        let master = Zeroizing::new(opened.plaintext.map(Blob::into_inner).unwrap_or_default());
        if master.len() == MASTER_KEY_BYTES {
            return Ok(master);
        }
        Err(RemoteError::Corrupt(format!(
            "the wrapped master key of org {org} holds {} bytes, not {MASTER_KEY_BYTES}",
            master.len()
        )))
    }
}

fn parsed(arn: &str) -> Result<KmsKeyArn, RemoteError> {
    arn.parse()
        .map_err(|error| RemoteError::Corrupt(format!("KMS named a key that is none: {error}")))
}

/// The ARN of the key `id` that an alias leads to.
fn arn(alias_arn: &str, alias: &str, id: &str) -> Result<KmsKeyArn, RemoteError> {
    parsed(&alias_arn.replace(alias, &format!("key/{id}")))
}
