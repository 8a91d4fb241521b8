//! Invariants 1, 2, 3, 4 and 6: copies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use tray_domain::{
    bucket_layout,
    ids::{OrgId, PartId, RunId},
    ledger::{LedgerState, Run},
    manifest::{Manifest, PartSource},
};

use crate::{
    aws::Bucket,
    disks,
    engine::{Pack, Snapshot},
    log::Log,
    truth::Deleted,
};

/// How long good copies are kept, as the RetentionPolicy says.
const KEEP: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How many of each part stay, whatever their age.
const AT_LEAST: usize = 3;
/// Until when what is left of a run that has ended is gone.
const GONE_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What is known of copies.
pub(super) struct Copies {
    bucket: Arc<Bucket>,
    log: Arc<Log>,
    packs: BTreeMap<String, Arc<Pack>>,
    snapshots: BTreeMap<String, Arc<Snapshot>>,
    /// Manifests of runs that were good once, by org and run.
    good: BTreeMap<(OrgId, RunId), Manifest>,
}

impl Copies {
    pub(super) fn new(bucket: Arc<Bucket>, log: Arc<Log>) -> Self {
        Self {
            bucket,
            log,
            packs: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            good: BTreeMap::new(),
        }
    }

    pub(super) fn look(&mut self, org: &OrgId, state: &LedgerState, now: Timestamp) {
        let contents = self.contents(org, state);
        for (run, known) in &state.runs {
            let Some(manifest) = known.restorable() else {
                continue;
            };
            if known.is_good() {
                let name = (org.clone(), run.clone());
                self.good.entry(name).or_insert_with(|| manifest.clone());
            }
            if let Err(why) = self.opens(org, manifest, &contents) {
                self.log
                    .broken(1, format!("run {run} of {org} does not open: {why}"));
            }
        }
        for (run, manifest) in self.protected(org, now) {
            if let Err(why) = self.opens(org, &manifest, &contents) {
                self.log
                    .broken(2, format!("run {run} of {org} has to be kept and is not: {why}"));
            }
        }
        self.forget(org, now);
        self.each_part_has_a_copy(org, state);
        self.garbage_is_gone(org, state, now);
    }

    /// The good runs that have to stay: young ones, and the newest of each part.
    fn protected(&self, org: &OrgId, now: Timestamp) -> Vec<(RunId, Manifest)> {
        let mut kept: BTreeMap<PartId, usize> = BTreeMap::new();
        let mut protected = Vec::new();
        for ((_, run), manifest) in self.good.iter().filter(|((of, _), _)| of == org).rev() {
            let is_young = now.duration_since(manifest.consistency_point) < KEEP;
            let mut is_newest = false;
            for part in &manifest.parts {
                let kept = kept.entry(part.planned.part.clone()).or_default();
                is_newest |= *kept < AT_LEAST;
                *kept += 1;
            }
            if is_young || is_newest {
                protected.push((run.clone(), manifest.clone()));
            }
        }
        protected
    }

    /// What is old and not among the newest need not be remembered.
    fn forget(&mut self, org: &OrgId, now: Timestamp) {
        let protected: BTreeSet<RunId> = self.protected(org, now).into_iter().map(|(run, _)| run).collect();
        self.good
            .retain(|(of, run), _| of != org || protected.contains(run));
    }

    /// 4: what was once well copied has a copy that can be restored.
    fn each_part_has_a_copy(&self, org: &OrgId, state: &LedgerState) {
        let restorable: BTreeSet<&PartId> = good_copies(state)
            .flat_map(|manifest| manifest.parts.iter().map(|part| &part.planned.part))
            .collect();
        let once = self.good.iter().filter(|((of, _), _)| of == org);
        for part in once.flat_map(|(_, manifest)| &manifest.parts) {
            let part = &part.planned.part;
            if !restorable.contains(part) {
                self.log.broken(
                    4,
                    format!("{part} of {org} was well copied once and has no good copy any more"),
                );
            }
        }
    }

    /// 3: what is left of runs that have ended goes.
    fn garbage_is_gone(&self, org: &OrgId, state: &LedgerState, now: Timestamp) {
        let folders = [
            bucket_layout::objects_archives("", org),
            bucket_layout::runs("", org),
        ];
        let all = folders.iter().flat_map(|folder| {
            let listed = self.bucket.list(folder, "").into_iter();
            listed.map(|listed| (folder.len(), listed))
        });
        for (prefix, listed) in all {
            // `<runId>.tray`, or `<runId>/parts/…`.
            let name = listed.key[prefix..].split(['.', '/']).next();
            let Some(Ok(run)) = name.map(str::parse::<RunId>) else {
                continue;
            };
            let ended = state
                .runs
                .get(&run)
                .map(|run| run.pruned.as_ref().map(|(at, _)| *at).or(run.aborted_at()));
            let since = match ended {
                // The ledger has forgotten it, so it has ended.
                None => Some(listed.last_modified),
                Some(ended) => ended,
            };
            if since.is_some_and(|since| now.duration_since(since) > GONE_WITHIN) {
                self.log.broken(
                    3,
                    format!("{} is still there, long after its run has ended", listed.key),
                );
            }
        }
    }

    /// 6: no claim is deleted whose content could not come back.
    pub(super) fn may_lose(&mut self, org: &OrgId, state: &LedgerState, deleted: &Deleted) {
        let contents = self.contents(org, state);
        let of_claim = good_copies(state).filter(|manifest| {
            manifest
                .parts
                .iter()
                .any(|part| part.planned.part.as_str() == deleted.claim.name)
        });
        let mut manifests: Vec<Manifest> = of_claim.cloned().collect();
        manifests.retain(|manifest| self.opens(org, manifest, &contents).is_ok());
        if manifests.is_empty() {
            let Deleted { claim, volume } = deleted;
            let what = format!(
                "claim {}/{} ({volume}) was deleted without a good copy of it",
                claim.namespace, claim.name
            );
            self.log.broken(6, what);
        }
    }

    /// Whether all of a run is there.
    fn opens(
        &mut self,
        org: &OrgId,
        manifest: &Manifest,
        contents: &BTreeMap<PartId, BTreeSet<u64>>,
    ) -> Result<(), String> {
        for part in &manifest.parts {
            let id = &part.planned.part;
            if let PartSource::Objects {} = part.planned.source {
                let archive = bucket_layout::objects_archive("", org, &manifest.run_id);
                self.bucket
                    .get(&archive)
                    .ok_or_else(|| format!("{archive} is not there"))?;
                continue;
            }
            let repository = bucket_layout::volume_repository("", org, id);
            let wanted = part.record.repository_snapshot.clone().unwrap_or_default();
            let name = format!("{repository}snapshots/{wanted}");
            let snapshot = self.snapshot(&name)?;
            if disks::digest(&snapshot.files) != part.record.content_digest {
                return Err(format!("{name} is not what the manifest says"));
            }
            let missing = match contents.get(id) {
                Some(present) => snapshot.needs().difference(present).count(),
                None => snapshot.needs().len(),
            };
            if missing > 0 {
                return Err(format!("{missing} contents of {id} are in no pack"));
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, name: &str) -> Result<Arc<Snapshot>, String> {
        let Some(object) = self.bucket.get(name) else {
            self.snapshots.remove(name);
            return Err(format!("{name} is not there"));
        };
        if let Some(known) = self.snapshots.get(name) {
            return Ok(known.clone());
        }
        let read: Snapshot =
            serde_json::from_slice(&object.body).map_err(|error| format!("{name}: {error}"))?;
        let read = Arc::new(read);
        self.snapshots.insert(name.to_owned(), read.clone());
        Ok(read)
    }

    /// What the packs of each repository of an org hold now.
    fn contents(&mut self, org: &OrgId, state: &LedgerState) -> BTreeMap<PartId, BTreeSet<u64>> {
        let bucket = self.bucket.clone();
        let mut contents = BTreeMap::new();
        for volume in &state.repositories {
            let folder = format!("{}data/", bucket_layout::volume_repository("", org, volume));
            let mut present = BTreeSet::new();
            for listed in bucket.list(&folder, "") {
                let pack = self.packs.entry(listed.key).or_insert_with_key(|key| {
                    let body = bucket.get(key).map(|object| object.body).unwrap_or_default();
                    Arc::new(serde_json::from_slice(&body).unwrap_or_default())
                });
                present.extend(pack.iter().copied());
            }
            contents.insert(volume.clone(), present);
        }
        contents
    }
}

/// The good runs that can be restored.
fn good_copies(state: &LedgerState) -> impl Iterator<Item = &Manifest> {
    let good = state.runs.values().filter(|run| run.is_good());
    good.filter_map(Run::restorable)
}
