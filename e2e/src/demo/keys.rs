//! Whose key the copies lie under, and that no other key opens them.

use super::{orgs::Org, unexpected};
use crate::{
    bucket::{Bucket, ForeignKey},
    error::Result,
};

/// Looks at all of the org's repositories, and tries on a pack everything that a mover of `other` has. An error where
/// something lies elsewhere or under another key, or where anything but a refusal came of it.
pub fn try_foreign_key(bucket: &Bucket, org: &Org, other: &Org, cloud_region: &str) -> Result<ForeignKey> {
    let found = bucket.try_foreign_key(org.name, other.name)?;
    let what = format!("the bucket of {}", org.name);
    if found.bucket_region == cloud_region {
        return Err(unexpected(
            &what,
            &format!("it lies in {cloud_region}, as the org"),
        ));
    }
    if found.keys_in_use != [found.kms_key_arn.clone()] {
        return Err(unexpected(
            &what,
            &format!("keys in use: {:?}", found.keys_in_use),
        ));
    }
    if found.blobs == 0 {
        return Err(unexpected(&what, &format!("{} holds nothing", found.pack)));
    }
    Ok(found)
}
