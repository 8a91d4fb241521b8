//! Whether a RetentionPolicy or a BackupSchedule is another for the orgs that name it. Their status counts orgs: without
//! this, every new org would have all others looked at.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kube::Resource;
use tray_api::kinds::Kind;

use super::changes::Change;
use crate::adapters::kube::index::Index;

/// UID and generation: what says whether the spec is the same.
type Mark = (Option<String>, Option<i64>);

/// The specs as last seen by one controller.
#[derive(Default)]
pub struct Specs {
    seen: Mutex<HashMap<(Kind, String), Mark>>,
}

impl Specs {
    /// False where `change` is of such an object and its spec is the one seen last.
    pub fn are_news(&self, change: &Change, index: &Index) -> bool {
        let mark = |meta: &kube::api::ObjectMeta| (meta.uid.clone(), meta.generation);
        let (kind, name, now) = match change {
            Change::RetentionPolicy(name) => (
                Kind::RetentionPolicy,
                name,
                index.policies.get(name).map(|p| mark(p.meta())),
            ),
            Change::BackupSchedule(name) => (
                Kind::BackupSchedule,
                name,
                index.schedules.get(name).map(|s| mark(s.meta())),
            ),
            _ => return true,
        };
        let key = (kind, name.clone());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(now) = now else {
            seen.remove(&key);
            return true;
        };
        seen.insert(key, now.clone()) != Some(now)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use tray_api::retention_policy::RetentionPolicy;

    #[test]
    fn a_new_spec_is_news_and_a_new_status_is_none() {
        let policy = |generation: i64, version: u8| -> RetentionPolicy {
            let policy = json!({
                "apiVersion": "platform.tray.ai/v1alpha1", "kind": "RetentionPolicy", "spec": {},
                "metadata": {"name": "p", "uid": "u", "generation": generation, "resourceVersion": version.to_string()},
            });
            serde_json::from_value(policy).unwrap()
        };
        let (specs, index) = (Specs::default(), Index::default());
        let change = Change::RetentionPolicy("p".to_owned());
        for (generation, version, news) in [(1, 1, true), (1, 2, false), (2, 3, true)] {
            index.policies.put(policy(generation, version));
            assert_eq!(specs.are_news(&change, &index), news, "version {version}");
        }
        index.policies.remove("p", None);
        assert!(specs.are_news(&change, &index), "it is gone");
        assert!(specs.are_news(&Change::Org("acme".to_owned()), &index));
    }
}
