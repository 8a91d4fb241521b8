//! Invariants 7, 10 to 13, 15 and 20: ledgers, entry by entry.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tray_domain::{
    bucket_layout,
    ids::{PartId, RunId},
    ledger::{Entry, Event, LedgerState, digest},
    manifest::{Consistency, Manifest, ManifestPart, PartSource, RunVerdict},
};

use super::{Invariants, Org};
use crate::{aws::Version, kubernetes::claims::volume_of_claim, log::Log, traffic::OPERATOR, truth::Truth};

/// What a state may be large: as many runs as a year of two a day keeps, with room.
const LARGEST_STATE: usize = 400 * 1024;

impl Invariants {
    /// 12: the keys are 0 to n, chained, written once; so is the wrapped key. Of each entry what [`Walk`] looks for.
    pub(super) fn ledger_is_whole(&self, org: &Org) {
        let broken = |what: String| self.world.log.broken(12, what);
        let versions = org.bucket().versions(&bucket_layout::ledger_prefix("", &org.id));
        let mut walk = Walk::new(org, &self.world.log, &self.world.truth);
        walk.skew = self.world.skew();
        for (seq, (key, version)) in (0_u64..).zip(&versions) {
            let wanted = bucket_layout::ledger_entry("", &org.id, seq);
            let Version::Object(object) = version else {
                broken(format!("{key} was deleted"));
                return;
            };
            if *key != wanted {
                broken(format!(
                    "{wanted} is missing or was written twice: {key} comes instead"
                ));
                return;
            }
            let entry = match Entry::decode(seq, &object.body) {
                Ok(entry) => entry,
                Err(error) => {
                    broken(format!("{key}: {error}"));
                    return;
                }
            };
            if walk
                .before
                .as_ref()
                .is_some_and(|before| *before != entry.previous_digest)
            {
                broken(format!("{key} does not follow the entry before it"));
            }
            walk.step(&entry, &object.by);
            if let Err(error) = walk.state.apply(&entry, &object.body) {
                broken(format!("{key}: {error}"));
                return;
            }
            walk.before = Some(digest(&object.body));
        }
        walk.end();
        let wrapped = org.bucket().versions(&bucket_layout::wrapped_key("", &org.id));
        if wrapped.len() > 1 {
            broken(format!(
                "the wrapped key of {} was written {} times",
                org.id,
                wrapped.len()
            ));
        }
    }

    /// 20: what is kept in memory and in checkpoints stays bounded by what can be restored.
    pub(super) fn is_bounded(&self, org: &Org, state: &LedgerState) {
        let size = serde_json::to_vec(state)
            .map(|text| text.len())
            .unwrap_or_default();
        if size > LARGEST_STATE {
            let runs = state.runs.len();
            let what = format!("the state of {} has {size} bytes and {runs} runs", org.id);
            self.world.log.broken(20, what);
        }
    }
}

/// One walk along a ledger, from its first entry on.
struct Walk<'a> {
    org: &'a Org,
    log: &'a Log,
    truth: &'a Truth,
    skew: jiff::SignedDuration,
    /// Digest of the entry before.
    before: Option<String>,
    /// What the entries before add up to.
    state: LedgerState,
    planned: BTreeMap<RunId, u32>,
    ended: BTreeMap<RunId, u32>,
    /// When each part was well copied for the first time.
    first_good: BTreeMap<PartId, Timestamp>,
    /// Claims that a restore has filled, or whose beginning a person has accepted.
    legitimate: BTreeSet<String>,
    /// The newest process that has written.
    newest: Option<u64>,
}

impl<'a> Walk<'a> {
    fn new(org: &'a Org, log: &'a Log, truth: &'a Truth) -> Self {
        Self {
            org,
            log,
            truth,
            skew: jiff::SignedDuration::ZERO,
            before: None,
            state: LedgerState::default(),
            planned: BTreeMap::new(),
            ended: BTreeMap::new(),
            first_good: BTreeMap::new(),
            legitimate: BTreeSet::new(),
            newest: None,
        }
    }

    fn broken(&self, invariant: u8, what: String) {
        self.log.broken(invariant, format!("{what} ({})", self.org.name));
    }

    fn step(&mut self, entry: &Entry, by: &str) {
        self.is_of_holder(entry);
        self.count_predecessors(by);
        match &entry.event {
            Event::RunPlanned { plan } => *self.planned.entry(plan.run_id.clone()).or_default() += 1,
            Event::RunCommitted { manifest } => {
                *self.ended.entry(manifest.run_id.clone()).or_default() += 1;
                self.committed(manifest, entry.at);
            }
            Event::RunAborted { run_id, .. } => *self.ended.entry(run_id.clone()).or_default() += 1,
            Event::Filled { claims, .. } => {
                let filled = claims.iter().map(|claim| claim.claim_uid.clone());
                self.legitimate.extend(filled);
            }
            Event::LossAccepted { volume, claim_uid } => {
                self.legitimate.insert(claim_uid.clone());
                self.first_good.remove(volume);
            }
            Event::Pruned { .. } => self.log.sometimes("a run is pruned"),
            Event::Swept {
                marked_packs,
                freed_bytes,
                ..
            } => {
                if *marked_packs > 0 {
                    self.log.sometimes("a sweep marks packs");
                }
                if *freed_bytes > 0 {
                    self.log.sometimes("a sweep frees packs");
                }
            }
            Event::SweepEnded { failed: Some(_), .. } => self.log.sometimes("a sweep is given up"),
            Event::Checkpoint { state } => self.is_a_fold(entry, state),
            _ => {}
        }
    }

    /// 13: what a process takes for the state is what the entries before add up to.
    fn is_a_fold(&self, entry: &Entry, said: &LedgerState) {
        self.log.sometimes("a checkpoint is written");
        if *said != self.state {
            let what = format!(
                "checkpoint {} is not what the entries before it add up to",
                entry.seq
            );
            self.broken(13, what);
        }
    }

    /// 15: whoever writes holds the ledger by the newest claim.
    fn is_of_holder(&self, entry: &Entry) {
        let Some((holder, epoch)) = &self.state.claim else {
            return;
        };
        let claims = matches!(entry.event, Event::Claim {});
        if entry.cluster_uid != *holder || entry.epoch < *epoch || (claims && entry.epoch == *epoch) {
            let what = format!(
                "entry {} is of cluster {} (epoch {}), and cluster {holder} has claimed the ledger (epoch {epoch})",
                entry.seq, entry.cluster_uid, entry.epoch
            );
            self.broken(15, what);
        }
    }

    /// Not an invariant yet: the code does not promise that nothing of a process is accepted once its successor has written.
    fn count_predecessors(&mut self, by: &str) {
        let Some(number) = by.strip_prefix(OPERATOR).and_then(|number| number.parse().ok()) else {
            return;
        };
        if self.newest.is_some_and(|newest| number < newest) {
            self.log.sometimes("a predecessor writes behind its successor");
        }
        self.newest = self.newest.max(Some(number));
    }

    fn committed(&mut self, manifest: &Manifest, at: Timestamp) {
        for part in &manifest.parts {
            if let PartSource::Volume { claim_uid, .. } = &part.planned.source {
                self.was_read_in_time(manifest, part);
                if manifest.verdict == RunVerdict::Good {
                    self.is_not_of_a_loss(manifest, part, claim_uid);
                    let first = self.first_good.entry(part.planned.part.clone());
                    first.or_insert(at);
                }
            }
        }
    }

    /// 7: after a volume has lost its content nothing counts as good until it is restored or a person accepts.
    fn is_not_of_a_loss(&self, manifest: &Manifest, part: &ManifestPart, claim_uid: &str) {
        let name = &part.planned.part;
        let Some(replaced) = self.truth.replaced_at(&volume_of_claim(claim_uid)) else {
            return;
        };
        let had_a_copy = self.first_good.get(name).is_some_and(|first| *first < replaced);
        if had_a_copy && !self.legitimate.contains(claim_uid) {
            let what = format!(
                "run {} counts as good, and {name} had lost its content at {replaced}",
                manifest.run_id
            );
            self.broken(7, what);
        }
    }

    /// 10: content is read after its consistency point, and after hooks have made it consistent, which they had not before that
    /// point.
    fn was_read_in_time(&self, manifest: &Manifest, part: &ManifestPart) {
        let snapshot = part.record.repository_snapshot.as_deref().unwrap_or_default();
        let Some(reading) = self.truth.reading(snapshot) else {
            return;
        };
        let (run, name, skew) = (&manifest.run_id, &part.planned.part, self.skew);
        let later = |one: Timestamp, other: Timestamp| one.duration_since(other) > skew;
        if later(part.consistency_point, reading.at) {
            let what = format!(
                "{name} of run {run} was read at {}, before its consistency point {}",
                reading.at, part.consistency_point
            );
            self.broken(10, what);
        }
        if part.planned.consistency != Consistency::Hooks {
            return;
        }
        match reading.consistent_since {
            Some(since) if !later(part.consistency_point, since) => {}
            since => {
                let what = format!(
                    "{name} of run {run} was consistent since {since:?} when it was read, and its point is {}",
                    part.consistency_point
                );
                self.broken(10, what);
            }
        }
    }

    /// 11: each run is planned once and ends once.
    fn end(&self) {
        for (what, counted) in [("planned", &self.planned), ("ended", &self.ended)] {
            for (run, count) in counted.iter().filter(|(_, count)| **count > 1) {
                self.broken(11, format!("run {run} was {what} {count} times"));
            }
        }
    }
}
