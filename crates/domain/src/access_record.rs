//! The org's access record: one object of one JSON line for each thing that became of a grant of support access.
//!
//! ```text
//! <prefix>access/<orgId>/<compact UTC time>-<ULID>.json
//! ```
//! The name is made from what happened, to which object and when: written twice it is the same object, so a crash between
//! the write and its note leaves one line.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    ids::{OrgId, ulid_of},
    support::{Action, Role},
};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub action: Action,
    /// The TrayOrg.
    pub org: String,
    /// Its id.
    pub org_id: OrgId,
    /// The org's namespace.
    pub namespace: String,
    /// The SupportAccess.
    pub support_access: String,
    /// Its UID: the audit log of the API server has who made and deleted it.
    pub uid: String,
    /// What support may do.
    pub role: Role,
    /// The groups that are let in.
    pub groups: Vec<String>,
    /// Why.
    pub reason: String,
    /// When its time is over.
    pub until: Timestamp,
}

impl Line {
    /// Where it is written.
    pub fn key(&self, prefix: &str) -> String {
        let what = format!("{}/{}/{}", self.uid, self.action.as_str(), self.time);
        let id = ulid_of(self.time, &what);
        let time = self.time.strftime("%Y%m%dT%H%M%SZ");
        format!("{prefix}access/{}/{time}-{id}.json", self.org_id)
    }

    /// What is written.
    pub fn body(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(uid: &str, action: Action, time: &str) -> Line {
        Line {
            time: time.parse().unwrap(),
            action,
            org: "acme".to_owned(),
            org_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap(),
            namespace: "org-acme-7c9e6679".to_owned(),
            support_access: "ticket-7".to_owned(),
            uid: uid.to_owned(),
            role: Role::Debug,
            groups: vec!["support".to_owned()],
            reason: "ticket 7".to_owned(),
            until: "2026-01-01T04:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_same_thing_has_one_name_and_others_have_others() {
        let one = line("u", Action::Granted, "2026-01-01T00:00:00Z");
        let key = one.key("logs/");
        assert!(
            key.starts_with("logs/access/7c9e6679-7425-40de-944b-e07fc1f90ae7/20260101T000000Z-01"),
            "{key}"
        );
        assert!(
            std::path::Path::new(&key)
                .extension()
                .is_some_and(|e| e == "json")
        );
        assert_eq!(key, one.key("logs/"));
        for other in [
            line("v", Action::Granted, "2026-01-01T00:00:00Z"),
            line("u", Action::Closed, "2026-01-01T00:00:00Z"),
            line("u", Action::Granted, "2026-01-01T00:00:01Z"),
        ] {
            assert_ne!(other.key("logs/"), key);
        }
    }

    #[test]
    fn a_line_is_one_line_of_json() {
        let body = line("u", Action::Removed, "2026-01-01T00:00:00Z").body().unwrap();
        assert_eq!(body.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        for (field, want) in [
            ("time", "2026-01-01T00:00:00Z"),
            ("action", "Removed"),
            ("orgId", "7c9e6679-7425-40de-944b-e07fc1f90ae7"),
            ("supportAccess", "ticket-7"),
            ("role", "Debug"),
            ("until", "2026-01-01T04:00:00Z"),
        ] {
            assert_eq!(read[field], want, "{field}");
        }
    }
}
