//! Invariant 17: where what is of an org lies.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use tray_domain::{bucket_layout, ids::OrgId, ledger::LedgerState, names};
use tray_testkit::cluster::Name;

use super::{Invariants, Org};
use crate::{aws::Version, kubernetes::claims::claims_of};

impl Invariants {
    /// 17: nothing of an org lies in another region, bucket or folder, or under another key.
    pub(super) fn lies_where_it_has_to(&self, states: &BTreeMap<OrgId, Arc<LedgerState>>) {
        for (bucket, place) in &self.world.places {
            for (key, version) in place.bucket.versions("") {
                let Some(org) = self.orgs.iter().find(|org| key.contains(org.id.as_str())) else {
                    continue;
                };
                let folders = [
                    bucket_layout::org_prefix("", &org.id),
                    bucket_layout::ledger_prefix("", &org.id),
                ];
                let is_in_place =
                    bucket == org.home.bucket && folders.iter().any(|folder| key.starts_with(folder));
                if !is_in_place {
                    self.elsewhere(org, &format!("object {key} in bucket {bucket}"));
                }
                let own = states.get(&org.id).and_then(|state| state.kms_key_arn.as_ref());
                if let Version::Object(object) = version
                    && let Some(under) = object.under
                    && under.as_str() != org.home.ledger_key
                    && Some(&under) != own
                {
                    self.elsewhere(org, &format!("object {key} under {under}"));
                }
            }
        }
        for org in &self.orgs {
            self.runs_where_it_has_to(org);
        }
    }

    /// The same of its pods and volumes.
    fn runs_where_it_has_to(&self, org: &Org) {
        let namespace = org.namespace();
        let server = &self.world.server;
        let placed = server.read_all("pods", |pod| {
            let is_of_org = pod["metadata"]["namespace"] == namespace.as_str();
            let node = pod["spec"]["nodeName"].as_str().filter(|_| is_of_org)?;
            let claims = claims_of(pod).map(|claim| Name::new(namespace.clone(), claim));
            Some((Name::of(pod), node.to_owned(), claims.collect::<Vec<_>>()))
        });
        let cloud_region =
            |object: &Value| object["metadata"]["labels"][names::NODE_REGION] == org.home.cloud_region;
        for (pod, node, claims) in placed.into_iter().flatten() {
            if server.read("nodes", &Name::new("", node.clone()), cloud_region) == Some(false) {
                self.elsewhere(org, &format!("pod {} on node {node}", pod.name));
            }
            for volume in claims.iter().filter_map(|claim| self.world.volume_of(claim)) {
                if server.read("persistentvolumes", &Name::new("", volume.clone()), cloud_region)
                    == Some(false)
                {
                    self.elsewhere(org, &format!("volume {volume} of pod {}", pod.name));
                }
            }
        }
    }

    fn elsewhere(&self, org: &Org, what: &str) {
        let Org { name, home, .. } = org;
        let what = format!("{what} is of {name}, whose Region is {}", home.region);
        self.world.log.broken(17, what);
    }
}
