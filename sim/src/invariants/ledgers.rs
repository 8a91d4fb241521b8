//! Invariants 11, 12, 14 and 20: ledgers, entry by entry.

use std::collections::BTreeMap;

use tray_domain::{
    bucket_layout,
    ids::OrgId,
    ledger::{Entry, Event, LedgerState, digest},
};

use super::Invariants;
use crate::aws::Version;

/// What a state may be large: as many runs as a year of two a day keeps, with room.
const LARGEST_STATE: usize = 400 * 1024;

impl Invariants {
    /// 12: the keys are 0 to n, chained, written once; so is the wrapped key. 11: each run is planned once and ends once. 14: no leader
    /// of before writes behind the claim of the one after it.
    pub(super) fn ledger_is_whole(&self, org: &OrgId) {
        let broken = |invariant, what: String| self.world.log.broken(invariant, what);
        let versions = self.bucket().versions(&bucket_layout::ledger_prefix("", org));
        let mut before: Option<String> = None;
        let mut claims = Claims::default();
        let mut planned: BTreeMap<String, u32> = BTreeMap::new();
        let mut ended: BTreeMap<String, u32> = BTreeMap::new();
        for (seq, (key, version)) in (0_u64..).zip(&versions) {
            let wanted = bucket_layout::ledger_entry("", org, seq);
            let Version::Object(object) = version else {
                broken(12, format!("{key} was deleted"));
                return;
            };
            if *key != wanted {
                broken(
                    12,
                    format!("{wanted} is missing or was written twice: {key} comes instead"),
                );
                return;
            }
            let entry = match Entry::decode(seq, &object.body) {
                Ok(entry) => entry,
                Err(error) => {
                    broken(12, format!("{key}: {error}"));
                    return;
                }
            };
            if before
                .as_ref()
                .is_some_and(|before| *before != entry.previous_digest)
            {
                broken(12, format!("{key} does not follow the entry before it"));
            }
            before = Some(digest(&object.body));
            if let Err(what) = claims.follow(&entry, &self.world.cluster_uid()) {
                broken(14, format!("{key} {what}"));
            }
            match &entry.event {
                Event::RunPlanned { plan } => {
                    *planned.entry(plan.run_id.to_string()).or_default() += 1;
                }
                Event::RunCommitted { manifest } => {
                    *ended.entry(manifest.run_id.to_string()).or_default() += 1;
                }
                Event::RunAborted { run_id, .. } => *ended.entry(run_id.to_string()).or_default() += 1,
                _ => {}
            }
        }
        for (what, counted) in [("planned", planned), ("ended", ended)] {
            for (run, count) in counted.iter().filter(|(_, count)| **count > 1) {
                broken(11, format!("run {run} of {org} was {what} {count} times"));
            }
        }
        let wrapped = self.bucket().versions(&bucket_layout::wrapped_key("", org));
        if wrapped.len() > 1 {
            broken(
                12,
                format!("the wrapped key of {org} was written {} times", wrapped.len()),
            );
        }
    }

    /// 20: what is kept in memory and in checkpoints stays bounded by what can be restored.
    pub(super) fn is_bounded(&self, org: &OrgId, state: &LedgerState) {
        let size = serde_json::to_vec(state)
            .map(|text| text.len())
            .unwrap_or_default();
        if size > LARGEST_STATE {
            let runs = state.runs.len();
            self.world
                .log
                .broken(20, format!("the state of {org} has {size} bytes and {runs} runs"));
        }
    }
}

/// The claims of a ledger, as far as it was read.
#[derive(Default)]
struct Claims {
    epoch: u64,
    /// Another cluster has claimed it.
    is_lost: bool,
    /// Number of the process that has made the newest one: a later one leads after it.
    process: u64,
}

impl Claims {
    fn follow(&mut self, entry: &Entry, cluster_uid: &str) -> Result<(), String> {
        let is_ours = entry.cluster_uid == cluster_uid;
        if is_ours && self.is_lost {
            return Err("stands behind the claim of another cluster".to_owned());
        }
        match &entry.event {
            Event::Claim { .. } if !is_ours && entry.epoch > self.epoch => {
                self.is_lost = true;
                self.epoch = entry.epoch;
            }
            Event::Claim { holder } => {
                let number = holder.rsplit('-').next().and_then(|number| number.parse().ok());
                let process = number.unwrap_or_default();
                if entry.epoch <= self.epoch || process < self.process {
                    let (epoch, before) = (entry.epoch, self.epoch);
                    return Err(format!(
                        "is the claim of {holder} under epoch {epoch}, behind epoch {before} of operator-{}",
                        self.process
                    ));
                }
                (self.epoch, self.process) = (entry.epoch, process);
            }
            // Where it has to stand in front of a claim it is of the epoch that comes.
            Event::Checkpoint { .. } if entry.epoch == self.epoch + 1 => {}
            _ if entry.epoch == self.epoch => {}
            _ => {
                let (epoch, claimed) = (entry.epoch, self.epoch);
                return Err(format!(
                    "is of epoch {epoch}, behind the claim of epoch {claimed}"
                ));
            }
        }
        Ok(())
    }
}
