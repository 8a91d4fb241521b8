//! Invariants 7, 10 to 15 and 20: ledgers, entry by entry.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use tray_domain::{
    bucket_layout,
    ids::{PartId, RunId},
    ledger::{Entry, Event, LedgerState, digest},
    manifest::{Consistency, Manifest, ManifestPart, PartSource, RunVerdict},
};

use super::{Invariants, Org};
use crate::{aws::Version, kubernetes::claims::volume_of_claim, log::Log, truth::Truth, world::World};

/// What a state may be large: as many runs as a year of two a day keeps, with room.
const LARGEST_STATE: usize = 400 * 1024;

impl Invariants {
    /// 12: the keys are 0 to n, chained, written once; so is the wrapped key. Of each entry what [`Walk`] looks for.
    pub(super) fn ledger_is_whole(&self, org: &Org) {
        let broken = |what: String| self.world.log.broken(12, what);
        let versions = org.bucket().versions(&bucket_layout::ledger_prefix("", &org.id));
        let mut walk = Walk::new(org, &self.world);
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
            walk.step(&entry);
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
    skew: SignedDuration,
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
    claims: Claims,
}

impl<'a> Walk<'a> {
    fn new(org: &'a Org, world: &'a World) -> Self {
        Self {
            org,
            log: &world.log,
            truth: &world.truth,
            skew: world.skew(),
            before: None,
            state: LedgerState::default(),
            planned: BTreeMap::new(),
            ended: BTreeMap::new(),
            first_good: BTreeMap::new(),
            legitimate: BTreeSet::new(),
            claims: Claims {
                cluster_uid: world.cluster_uid(),
                ..Claims::default()
            },
        }
    }

    fn broken(&self, invariant: u8, what: String) {
        self.log.broken(invariant, format!("{what} ({})", self.org.name));
    }

    fn step(&mut self, entry: &Entry) {
        if let Err((invariant, what)) = self.claims.follow(entry) {
            self.broken(invariant, format!("entry {} {what}", entry.seq));
        }
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

/// The claims of a ledger, as far as it was read.
#[derive(Default)]
struct Claims {
    /// The cluster whose processes are simulated.
    cluster_uid: String,
    epoch: u64,
    /// Another cluster has claimed it.
    is_lost: bool,
    /// Number of the process that has made the newest one: a later one leads after it.
    process: u64,
}

impl Claims {
    /// 15: nobody writes behind the claim of another cluster. 14: no leader of before writes behind the claim of the one after it.
    fn follow(&mut self, entry: &Entry) -> Result<(), (u8, String)> {
        let is_ours = entry.cluster_uid == self.cluster_uid;
        if is_ours && self.is_lost {
            return Err((15, "stands behind the claim of another cluster".to_owned()));
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
                    let what = format!(
                        "is the claim of {holder} under epoch {epoch}, behind epoch {before} of operator-{}",
                        self.process
                    );
                    return Err((14, what));
                }
                (self.epoch, self.process) = (entry.epoch, process);
            }
            // Where it has to stand in front of a claim it is of the epoch that comes.
            Event::Checkpoint { .. } if entry.epoch == self.epoch + 1 => {}
            _ if entry.epoch == self.epoch => {}
            _ => {
                let (epoch, claimed) = (entry.epoch, self.epoch);
                let what = format!("is of epoch {epoch}, behind the claim of epoch {claimed}");
                return Err((14, what));
            }
        }
        Ok(())
    }
}
