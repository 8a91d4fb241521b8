//! What a cluster says of itself in each place of backups, and what the cluster that has taken its orgs over says to it there. Pure.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How often a cluster says that it is there. Its last word is when it was lost.
pub const EVERY: SignedDuration = SignedDuration::from_mins(5);
/// How often a place is asked whether the cluster was fenced there.
pub const ASKED_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Version of the form of the object.
const FORMAT_VERSION: u32 = 1;

/// The object by which a cluster says that it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// Version of its form.
    pub format_version: u32,
    /// UID of the cluster.
    pub cluster_uid: String,
    /// When it was written, by the operator's clock.
    pub at: Timestamp,
    /// Version of the operator.
    pub operator_version: String,
    /// The process that leads, by the name that it has in claims.
    pub holder: String,
}

impl Heartbeat {
    /// Of that process of that cluster.
    pub fn new(cluster_uid: &str, holder: &str, operator_version: &str, at: Timestamp) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            cluster_uid: cluster_uid.to_owned(),
            at,
            operator_version: operator_version.to_owned(),
            holder: holder.to_owned(),
        }
    }
}

/// A cluster is fenced in a place: another one has taken its orgs over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fence {
    /// By whom, and when.
    By {
        /// UID of the cluster that has.
        cluster_uid: String,
        /// When, by the clock of that cluster.
        at: Timestamp,
    },
    /// The marker is there and does not say that: why.
    Unreadable(String),
}

/// What every version of the marker says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    cluster_uid: String,
    at: Timestamp,
}

impl Fence {
    /// What a marker says. One that cannot be read fences, too: whoever wrote it meant to.
    pub fn read(marker: &[u8]) -> Self {
        match serde_json::from_slice(marker) {
            Ok(Marker { cluster_uid, at }) => Self::By { cluster_uid, at },
            // What lies there is not repeated.
            Err(error) => Self::Unreadable(format!("{:?} at column {}", error.classify(), error.column())),
        }
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By { cluster_uid, at } => {
                write!(f, "cluster {cluster_uid} has taken its orgs over, at {at}")
            }
            Self::Unreadable(why) => {
                write!(
                    f,
                    "a marker says that its orgs were taken over, and cannot be read ({why})"
                )
            }
        }
    }
}

/// Whether what is to be done so often is due. A clock that was set back keeps nothing waiting.
pub fn is_due(last: Option<Timestamp>, every: SignedDuration, now: Timestamp) -> bool {
    last.is_none_or(|last| now.duration_since(last).abs() >= every)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_heartbeat_says_who_and_when() {
        let beat = Heartbeat::new("0d1f6b1e", "operator-1/ab", "0.2.0", at("2026-01-01T00:00:00Z"));
        assert_eq!(
            serde_json::to_value(&beat).unwrap(),
            json!({"formatVersion": 1, "clusterUid": "0d1f6b1e", "at": "2026-01-01T00:00:00Z",
                "operatorVersion": "0.2.0", "holder": "operator-1/ab"})
        );
    }

    #[test]
    fn a_marker_fences_whether_or_not_it_can_be_read() {
        let by = Fence::By {
            cluster_uid: "other".to_owned(),
            at: at("2026-01-01T00:00:00Z"),
        };
        let marker =
            json!({"formatVersion": 7, "clusterUid": "other", "at": "2026-01-01T00:00:00Z", "more": 1});
        assert_eq!(Fence::read(marker.to_string().as_bytes()), by);
        assert!(
            by.to_string()
                .contains("cluster other has taken its orgs over, at 2026-01-01T00:00:00Z")
        );
        for marker in ["", "{}", "secret", r#"{"clusterUid": "other", "at": "once"}"#] {
            let fence = Fence::read(marker.as_bytes());
            assert!(matches!(fence, Fence::Unreadable(_)), "{marker}: {fence:?}");
            assert!(fence.to_string().contains("cannot be read") && !fence.to_string().contains("secret"));
        }
    }

    #[test]
    fn what_is_done_every_five_minutes_is_due_then() {
        let last = at("2026-01-01T00:00:00Z");
        for (last, now, due) in [
            (None, "2026-01-01T00:00:00Z", true),
            (Some(last), "2026-01-01T00:04:59Z", false),
            (Some(last), "2026-01-01T00:05:00Z", true),
            (Some(last), "2025-12-31T23:00:00Z", true),
        ] {
            assert_eq!(is_due(last, EVERY, at(now)), due, "{now}");
        }
    }
}
