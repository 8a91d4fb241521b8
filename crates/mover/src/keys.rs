//! The keys of one org: all are derived from its master key, which is unwrapped for each use and never kept.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hkdf::Hkdf;
use serde::Deserialize;
use sha2::Sha256;
use tray_domain::{
    ids::{KmsKeyArn, PartId, RunId},
    session_policy::MASTER_KEY_PURPOSE,
};
use tray_engine::RepositoryKey;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a master key.
pub const MASTER_KEY_BYTES: usize = 64;
/// Version of the wrapped key's object that this code reads.
const FORMAT_VERSION: u32 = 1;

/// Why there is no key. None of these is mended by another try.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The object is not what it should be.
    #[error("wrapped key {name} cannot be read: {why}")]
    Malformed {
        /// Where it lies.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// It was wrapped by another key than the org's.
    #[error("wrapped key {name} was wrapped by {found}, but the key of the org is {expected}")]
    OtherKey {
        /// Where it lies.
        name: String,
        /// Key it names.
        found: KmsKeyArn,
        /// The org's key as the operator pinned it.
        expected: KmsKeyArn,
    },
    /// KMS gave something else than a master key.
    #[error("KMS unwrapped {found} bytes, but a master key has {MASTER_KEY_BYTES}")]
    Length {
        /// How many it gave.
        found: usize,
    },
}

/// A wrapped master key as it lies in the bucket.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrappedKeyObject {
    format_version: u32,
    kms_key_arn: KmsKeyArn,
    purpose: String,
    ciphertext: String,
}

/// Reads the object of a wrapped master key: the ciphertext for KMS. `name` is where it lies.
pub fn wrapped_key(name: &str, object: &[u8], expected: &KmsKeyArn) -> Result<Vec<u8>, KeyError> {
    let malformed = |why: String| KeyError::Malformed {
        name: name.to_owned(),
        why,
    };
    let wrapped: WrappedKeyObject =
        serde_json::from_slice(object).map_err(|error| malformed(error.to_string()))?;
    if wrapped.format_version != FORMAT_VERSION {
        return Err(malformed(format!(
            "its format version is {}, this version reads {FORMAT_VERSION}",
            wrapped.format_version
        )));
    }
    if wrapped.purpose != MASTER_KEY_PURPOSE {
        return Err(malformed(format!(
            "its purpose is {:?}, not {MASTER_KEY_PURPOSE:?}",
            wrapped.purpose
        )));
    }
    if wrapped.kms_key_arn != *expected {
        return Err(KeyError::OtherKey {
            name: name.to_owned(),
            found: wrapped.kms_key_arn,
            expected: expected.clone(),
        });
    }
    BASE64
        .decode(&wrapped.ciphertext)
        .map_err(|error| malformed(format!("its ciphertext is not base64: {error}")))
}

/// An org's master key in clear. Lives as short as its user can make it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; MASTER_KEY_BYTES]);

impl MasterKey {
    /// Out of what KMS unwrapped.
    pub fn from_plaintext(plaintext: &Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let bytes = plaintext.as_slice().try_into().map_err(|_| KeyError::Length {
            found: plaintext.len(),
        })?;
        Ok(Self(bytes))
    }

    fn derive<const N: usize>(&self, info: &str) -> Zeroizing<[u8; N]> {
        let mut key = Zeroizing::new([0u8; N]);
        let expanded = Hkdf::<Sha256>::new(None, &self.0).expand(info.as_bytes(), &mut *key);
        // HKDF refuses only lengths above 255 digests; the callers' are one and two.
        debug_assert!(expanded.is_ok());
        key
    }

    /// The key of the repository of one volume.
    pub fn repository(&self, volume: &PartId) -> RepositoryKey {
        RepositoryKey::from_bytes(*self.derive::<64>(&format!("tray/v1/repo/{volume}")))
    }

    /// The key of the objects archive of one run.
    pub fn objects(&self, run: &RunId) -> ArchiveKey {
        ArchiveKey(self.derive::<32>(&format!("tray/v1/objects/{run}")))
    }
}

/// AES-256 key of one objects archive.
pub struct ArchiveKey(Zeroizing<[u8; 32]>);

impl ArchiveKey {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/k";

    fn master(fill: u8) -> MasterKey {
        MasterKey::from_plaintext(&Zeroizing::new(vec![fill; MASTER_KEY_BYTES])).unwrap()
    }
    fn object(change: &str, to: &str) -> String {
        format!(r#"{{"formatVersion":1,"kmsKeyArn":"{ARN}","purpose":"master-key","ciphertext":"AQID"}}"#)
            .replace(change, to)
    }
    fn run(text: &str) -> RunId {
        text.parse().unwrap()
    }

    #[test]
    fn the_derivation_is_an_interface() {
        // Whoever opens a copy without this program derives the same bytes: HKDF-SHA256, no salt.
        let mut expected = [0u8; 32];
        let run = run("01ARZ3NDEKTSV4RRFFQ69G5FAV");
        Hkdf::<Sha256>::new(None, &[7; 64])
            .expand(b"tray/v1/objects/01ARZ3NDEKTSV4RRFFQ69G5FAV", &mut expected)
            .unwrap();
        assert_eq!(master(7).objects(&run).as_bytes(), &expected);
    }

    #[test]
    fn every_run_and_every_org_has_its_own_key() {
        let (one, two) = (
            run("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
            run("01ARZ3NDEKTSV4RRFFQ69G5FAW"),
        );
        let keys = [
            master(1).objects(&one),
            master(1).objects(&two),
            master(2).objects(&one),
        ];
        assert_ne!(keys[0].as_bytes(), keys[1].as_bytes());
        assert_ne!(keys[0].as_bytes(), keys[2].as_bytes());
    }

    #[test]
    fn a_wrapped_key_is_read_only_if_it_is_the_orgs() {
        let arn: KmsKeyArn = ARN.parse().unwrap();
        let read = |text: String| wrapped_key("key/0001.json", text.as_bytes(), &arn);
        assert_eq!(read(object("", "")).unwrap(), [1, 2, 3]);
        for (change, to, says) in [
            ("formatVersion\":1", "formatVersion\":2", "format version is 2"),
            ("master-key", "other", "purpose"),
            ("key/k", "key/x", "wrapped by"),
            ("AQID", "!", "base64"),
            ("{", "", "cannot be read"),
        ] {
            let error = read(object(change, to)).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("key/0001.json"), "{error}");
        }
    }

    #[test]
    fn what_is_not_64_bytes_is_no_master_key() {
        let short = MasterKey::from_plaintext(&Zeroizing::new(vec![0; 32]));
        assert!(matches!(short, Err(KeyError::Length { found: 32 })));
    }
}
