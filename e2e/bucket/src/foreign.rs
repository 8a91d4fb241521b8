//! Whose key an org's data lies under, and what comes of trying everything that another org's mover has on it.

use std::collections::BTreeSet;

use serde::Serialize;
use tray_domain::{bucket_layout, ids::PartId};
use tray_engine::{EngineError, RepositoryKey, open_pack};
use tray_ledger::RemoteError;
use tray_mover::{Session, keys::wrapped_key, session::blocking};
use tray_operator::adapters::{kms::KmsKeys, s3_bucket::S3Bucket};
use tray_ports::MasterKeys;

use crate::{
    Failed,
    damage::largest_pack,
    org::{Folders, Org},
};

/// What was found and tried.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attempt {
    bucket: String,
    /// As S3 says it.
    bucket_region: String,
    /// The org's key.
    kms_key_arn: String,
    /// Objects in the org's repositories.
    objects: usize,
    /// The keys that S3 says they lie under.
    keys_in_use: BTreeSet<String>,
    /// A pack of the org.
    pack: String,
    /// Blobs in it, by the list that the org's own key opens.
    blobs: usize,
    refusals: Refusals,
}

/// What was answered to the other org's mover, and to its keys.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusals {
    /// S3, when its mover asked for the pack.
    s3: String,
    /// KMS, when its mover asked to unwrap this org's master key.
    kms: String,
    /// The engine, when it was given the pack and the other org's key.
    pack: String,
    /// The engine, when it was to open the repository with that key.
    repository: String,
}

/// Looks at all repositories of `org`, and tries on one of its packs what a mover of `other` has.
pub(crate) async fn attempt(org: &Org, other: &Org) -> Result<Attempt, Failed> {
    let state = org.ledger.state();
    let repositories = &state.repositories;
    let volume = repositories
        .first()
        .ok_or_else(|| format!("org {} has no repository", org.name))?;
    let folders = [Folders::make()?, Folders::make()?];
    let own = org.reader(&folders[0], volume).await?;
    let foreign = other.reader(&folders[1], volume).await?;
    let (own_key, foreign_key) = (
        own.master_key().await?.repository(volume),
        foreign.master_key().await?.repository(volume),
    );
    let pack = largest_pack(&own, volume).await?;
    let (mut objects, mut keys_in_use) = (0, BTreeSet::new());
    for volume in repositories {
        let keys = keys_under(org, volume).await?;
        objects += keys.len();
        keys_in_use.extend(keys);
    }
    Ok(Attempt {
        bucket: org.location.bucket.clone(),
        bucket_region: org.services.store.facts(&org.location.prefix).await?.cloud_region,
        kms_key_arn: org.key.to_string(),
        objects,
        keys_in_use,
        blobs: try_pack(&own, volume, &pack, own_key).await??,
        refusals: Refusals {
            s3: denied(read_pack(org, other, &foreign, volume, &pack).await)?,
            kms: denied(unwrap_master_key(org, other, &own, &foreign).await?)?,
            pack: unopened(try_pack(&own, volume, &pack, foreign_key.clone()).await?)?,
            repository: unopened(try_repository(&own, volume, foreign_key).await?)?,
        },
        pack,
    })
}

/// The key that S3 names for each object of a repository.
async fn keys_under(org: &Org, volume: &PartId) -> Result<Vec<String>, Failed> {
    let folders = Folders::make()?;
    let reader = org.reader(&folders, volume).await?;
    let bucket = S3Bucket::connect(&org.clients(&reader)?, &org.location)?;
    let prefix = bucket_layout::volume_repository(&org.location.prefix, &org.id, volume);
    let mut keys = Vec::new();
    for object in bucket.list_after(&prefix, "").await? {
        let head = bucket
            .client()
            .head_object()
            .bucket(&org.location.bucket)
            .key(&object.key)
            .send()
            .await
            .map_err(|error| format!("failed to ask S3 for the key of {}: {error:?}", object.key))?;
        keys.push(head.ssekms_key_id().unwrap_or("none").to_owned());
    }
    Ok(keys)
}

/// Asks for a pack of `org` as the mover `foreign` of `other`.
async fn read_pack(
    org: &Org,
    other: &Org,
    foreign: &Session,
    volume: &PartId,
    pack: &str,
) -> Result<(), RemoteError> {
    let clients = other
        .clients(foreign)
        .map_err(|error| RemoteError::Unusable(error.to_string()))?;
    let prefix = bucket_layout::volume_repository(&org.location.prefix, &org.id, volume);
    S3Bucket::connect(&clients, &org.location)?
        .read(&format!("{prefix}{pack}"), None)
        .await
        .map(drop)
}

/// Asks KMS for the master key of `org` as the mover `foreign` of `other`, which has somehow got the wrapped one.
async fn unwrap_master_key(
    org: &Org,
    other: &Org,
    own: &Session,
    foreign: &Session,
) -> Result<Result<(), RemoteError>, Failed> {
    let name = bucket_layout::wrapped_key(&org.location.prefix, &org.id);
    let ciphertext = wrapped_key(&name, &own.get(name.clone()).await?, &org.key)?;
    let kms = KmsKeys::new(&other.clients(foreign)?, &org.location)?;
    Ok(kms.unwrap(&org.key, &org.id, &ciphertext).await.map(drop))
}

/// Opens a pack, whose bytes the org's own mover reads, with `key`: how many blobs it holds.
async fn try_pack(
    own: &Session,
    volume: &PartId,
    pack: &str,
    key: RepositoryKey,
) -> Result<Result<usize, EngineError>, Failed> {
    let (store, pack) = (own.repository(volume), pack.to_owned());
    Ok(blocking(move || Ok(open_pack(store, &key, &pack))).await?)
}

/// Opens the repository, whose bytes the org's own mover reads, with `key`.
async fn try_repository(
    own: &Session,
    volume: &PartId,
    key: RepositoryKey,
) -> Result<Result<(), EngineError>, Failed> {
    let (engine, store) = (own.ports.engine.clone(), own.repository(volume));
    let cache = own.places.cache.clone();
    Ok(blocking(move || Ok(engine.open(store, &key, &cache).map(drop))).await?)
}

/// What AWS said when it refused. Anything else than a refusal proves nothing.
fn denied(answer: Result<(), RemoteError>) -> Result<String, Failed> {
    match answer {
        Err(RemoteError::Denied(why)) => Ok(why),
        other => Err(format!("another org's mover was not refused: {other:?}").into()),
    }
}

/// What the engine said of a key that does not fit.
fn unopened<T: std::fmt::Debug>(answer: Result<T, EngineError>) -> Result<String, Failed> {
    match answer {
        // The org's own key opens the same pack, so it is not damaged.
        Err(error @ (EngineError::WrongKey(_) | EngineError::Damaged { .. } | EngineError::Corrupt(_))) => {
            Ok(error.to_string())
        }
        other => Err(format!("another org's key was not refused: {other:?}").into()),
    }
}
