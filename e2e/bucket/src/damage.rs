//! What an administrator's hand does to an org's copies, and undoes: a key disabled, a pack deleted.

use std::sync::Arc;

use aws_credential_types::Credentials;
use clap::Args;
use serde::Serialize;
use tray_domain::{bucket_layout, ids::PartId};
use tray_engine::BlobStore;
use tray_mover::{Session, session::blocking};
use tray_operator::adapters::{aws_client::AwsClients, clock::SystemClock, s3_bucket::S3Bucket};

use crate::{
    Failed,
    org::{Folders, Org},
};

/// Folder of the packs in a repository.
const PACKS: &str = "data/";

/// A user who may do everything: the operator's own role can do none of this.
#[derive(Args)]
pub(crate) struct Admin {
    /// Access key of an administrator.
    #[arg(long, env = "ADMIN_ACCESS_KEY_ID")]
    access_key_id: String,
    /// Its secret.
    #[arg(long, env = "ADMIN_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_access_key: String,
}

/// An object under a delete marker: the marker's version brings it back.
#[derive(Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deleted {
    /// The object's key in the bucket.
    #[arg(long)]
    key: String,
    /// The version of the marker.
    #[arg(long)]
    version_id: String,
}

impl Admin {
    fn clients(&self, org: &Org) -> Result<AwsClients, Failed> {
        let Self {
            access_key_id,
            secret_access_key,
        } = self;
        let credentials = Credentials::new(access_key_id, secret_access_key, None, None, "admin");
        Ok(AwsClients::new(
            credentials,
            Some(&org.ca_bundle),
            Arc::new(SystemClock),
        )?)
    }
}

/// Disables the org's key.
pub(crate) async fn disable_key(org: &Org, admin: &Admin) -> Result<(), Failed> {
    let kms = admin.clients(org)?.kms(&org.location)?;
    kms.disable_key().key_id(org.key.as_str()).send().await?;
    Ok(())
}

/// Enables it again.
pub(crate) async fn enable_key(org: &Org, admin: &Admin) -> Result<(), Failed> {
    let kms = admin.clients(org)?.kms(&org.location)?;
    kms.enable_key().key_id(org.key.as_str()).send().await?;
    Ok(())
}

/// Deletes the largest pack of a volume's repository.
pub(crate) async fn delete_pack(org: &Org, admin: &Admin, volume: &PartId) -> Result<Deleted, Failed> {
    let prefix = bucket_layout::volume_repository(&org.location.prefix, &org.id, volume);
    let folders = Folders::make()?;
    let reader = org.reader(&folders, volume).await?;
    let key = format!("{prefix}{}", largest_pack(&reader, volume).await?);
    let bucket = S3Bucket::connect(&admin.clients(org)?, &org.location)?;
    let request = bucket
        .client()
        .delete_object()
        .bucket(&org.location.bucket)
        .key(&key);
    let version_id = request
        .send()
        .await?
        .version_id
        .ok_or("the bucket has no versions")?;
    Ok(Deleted { key, version_id })
}

/// Brings an object back from under its delete marker.
pub(crate) async fn undelete(org: &Org, admin: &Admin, deleted: &Deleted) -> Result<(), Failed> {
    let bucket = S3Bucket::connect(&admin.clients(org)?, &org.location)?;
    let request = bucket
        .client()
        .delete_object()
        .bucket(&org.location.bucket)
        .key(&deleted.key)
        .version_id(&deleted.version_id);
    request.send().await?;
    Ok(())
}

/// The name of the largest pack in a volume's repository, which `reader` may read.
pub(crate) async fn largest_pack(reader: &Session, volume: &PartId) -> Result<String, Failed> {
    let store: Arc<dyn BlobStore> = reader.repository(volume);
    let packs = blocking(move || Ok(store.list(PACKS)?)).await?;
    let largest = packs.into_iter().max_by_key(|pack| pack.size);
    Ok(largest.ok_or("the repository holds no pack")?.name)
}
