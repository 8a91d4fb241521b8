//! Identifiers that cannot be built invalid.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not the identifier it was meant to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} is not valid: {rule}")]
pub struct InvalidId {
    /// What it was meant to be.
    pub kind: &'static str,
    /// What was given.
    pub value: String,
    /// What a valid one looks like.
    pub rule: &'static str,
}

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(value: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(value) {
                    Ok(Self(value.to_owned()))
                } else {
                    Err(InvalidId { kind: $kind, value: value.to_owned(), rule: $rule })
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                value.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// The org's UUID, lower case with hyphens.
    OrgId, "orgId", "a lower-case UUID", |v| uuid::Uuid::parse_str(v).is_ok_and(|u| u.hyphenated().to_string() == v)
}
text_id! {
    /// One snapshot run: a ULID, upper case, 26 characters.
    RunId, "runId", "a ULID in upper case", |v| v.parse::<ulid::Ulid>().is_ok_and(|u| u.to_string() == v)
}
text_id! {
    /// One sweep of an org's repositories: a ULID, upper case, 26 characters.
    SweepId, "sweepId", "a ULID in upper case", |v| v.parse::<ulid::Ulid>().is_ok_and(|u| u.to_string() == v)
}
text_id! {
    /// One part of a run: `objects`, or the name of a claim.
    PartId, "part", "a DNS label of at most 63 characters", is_dns_label
}
text_id! {
    /// ARN of a KMS key (never of an alias).
    KmsKeyArn, "kmsKeyArn", "arn:aws:kms:<region>:<account>:key/<id>",
    |v| { let p: Vec<&str> = v.splitn(6, ':').collect();
          p.len() == 6 && p[0] == "arn" && p[1].starts_with("aws") && p[2] == "kms" && !p[3].is_empty() && p[4].len() == 12
              && p[5].strip_prefix("key/").is_some_and(|k| !k.is_empty()) }
}

fn is_dns_label(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&value.len())
        && value.bytes().all(inner)
        && !value.starts_with('-')
        && !value.ends_with('-')
}

impl KmsKeyArn {
    /// The AWS region the key lies in.
    pub fn cloud_region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }
}

impl RunId {
    /// The run of an OrgSnapshot: computable again after a crash, from its slot (or creation time) and its UID.
    pub fn of(at: jiff::Timestamp, snapshot_uid: &str) -> Self {
        Self(ulid_of(at, snapshot_uid))
    }
}

impl SweepId {
    /// The sweep of an org that is planned at that time.
    pub fn of(at: jiff::Timestamp, org: &OrgId) -> Self {
        Self(ulid_of(at, org.as_str()))
    }
}

/// A ULID of that time, the same whenever it is made of the same text.
pub fn ulid_of(at: jiff::Timestamp, text: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(text.as_bytes());
    let mut random = [0u8; 16];
    random[6..].copy_from_slice(&digest[..10]);
    let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
    ulid::Ulid::from_parts(millis, u128::from_be_bytes(random)).to_string()
}
