//! Invariants 1, 2, 3, 4 and 6: copies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tray_domain::{
    bucket_layout,
    ids::{OrgId, PartId, RunId},
    ledger::{LedgerState, Run},
    manifest::{Manifest, ManifestPart, PartSource},
};
use tray_ledger::RemoteError;
use tray_mover::{archive, keys};
use tray_ports::MasterKeys;
use tray_testkit::memory::MemoryKeys;

use crate::{
    aws::{Bucket, Object, Place, Version},
    disks,
    engine::{Pack, Snapshot},
    log::Log,
    truth::Deleted,
};

/// How long good copies are kept, as the RetentionPolicy says.
const KEEP: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How many of each part stay, whatever their age.
const AT_LEAST: usize = 3;
/// Until when every version of what is left of a run that has ended is gone: sweeps go on for five days, and the bucket keeps what
/// they delete for one more.
const GONE_WITHIN: SignedDuration = SignedDuration::from_hours(8 * 24);

/// What is known of the copies of one org.
pub(super) struct Copies {
    org: OrgId,
    bucket: Arc<Bucket>,
    keys: Arc<MemoryKeys>,
    log: Arc<Log>,
    packs: Read<Pack>,
    snapshots: Read<Copied>,
    /// Manifests of runs that were good once.
    good: BTreeMap<RunId, Arc<Manifest>>,
    /// Runs that open, by how much the bucket had lost when that was found out.
    open: BTreeMap<RunId, u64>,
}

/// A snapshot of a repository.
struct Copied {
    run: String,
    digest: String,
    needs: BTreeSet<u64>,
}

/// Objects that were read, by key, with when S3 took them.
struct Read<T>(BTreeMap<String, (Timestamp, Arc<T>)>);

impl<T> Read<T> {
    fn of(&mut self, key: &str, object: &Object, read: impl FnOnce(&[u8]) -> T) -> Arc<T> {
        match self.0.get(key) {
            Some((at, known)) if *at == object.at => known.clone(),
            _ => {
                let known = Arc::new(read(&object.body));
                self.0.insert(key.to_owned(), (object.at, known.clone()));
                known
            }
        }
    }
}

/// What the packs of each repository hold.
type Contents = BTreeMap<PartId, BTreeSet<u64>>;

impl Copies {
    pub(super) fn new(org: OrgId, place: &Place, log: Arc<Log>) -> Self {
        Self {
            org,
            bucket: place.bucket.clone(),
            keys: place.keys.clone(),
            log,
            packs: Read(BTreeMap::new()),
            snapshots: Read(BTreeMap::new()),
            good: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    pub(super) fn look(&mut self, state: &LedgerState, now: Timestamp) {
        let org = self.org.clone();
        let mut contents = None;
        for (run, known) in &state.runs {
            let Some(manifest) = known.restorable() else {
                continue;
            };
            if known.is_good() && !self.good.contains_key(run) {
                self.good.insert(run.clone(), Arc::new(manifest.clone()));
            }
            if let Err(why) = self.opens(manifest, state, &mut contents) {
                self.log
                    .broken(1, format!("run {run} of {org} does not open: {why}"));
            }
        }
        let protected = self.protected(now);
        for (run, manifest) in &protected {
            if let Err(why) = self.opens(manifest, state, &mut contents) {
                self.log
                    .broken(2, format!("run {run} of {org} has to be kept and is not: {why}"));
            }
        }
        self.each_part_has_a_copy(state);
        self.garbage_is_gone(state, now);
        // What is old and not among the newest need not be remembered.
        self.good = protected.into_iter().collect();
        self.open
            .retain(|run, _| self.good.contains_key(run) || state.runs.contains_key(run));
    }

    /// The good runs that have to stay: young ones, and the newest of each part.
    fn protected(&self, now: Timestamp) -> Vec<(RunId, Arc<Manifest>)> {
        let mut kept: BTreeMap<&PartId, usize> = BTreeMap::new();
        let mut protected = Vec::new();
        for (run, manifest) in self.good.iter().rev() {
            let is_young = now.duration_since(manifest.consistency_point) < KEEP;
            let mut is_newest = false;
            for part in &manifest.parts {
                let kept = kept.entry(&part.planned.part).or_default();
                is_newest |= *kept < AT_LEAST;
                *kept += 1;
            }
            if is_young || is_newest {
                protected.push((run.clone(), manifest.clone()));
            }
        }
        protected
    }

    /// 4: what was once well copied has a copy that can be restored.
    fn each_part_has_a_copy(&self, state: &LedgerState) {
        let once = self.good.values().flat_map(|manifest| parts(manifest));
        let mut missing: BTreeSet<&PartId> = once.collect();
        for manifest in good_copies(state) {
            if missing.is_empty() {
                return;
            }
            for part in parts(manifest) {
                missing.remove(part);
            }
        }
        for part in missing {
            let what = format!(
                "{part} of {} was well copied once and has no good copy any more",
                self.org
            );
            self.log.broken(4, what);
        }
    }

    /// 3: what is left of runs that have ended goes, with all its versions.
    fn garbage_is_gone(&mut self, state: &LedgerState, now: Timestamp) {
        let folders = [
            bucket_layout::objects_archives("", &self.org),
            bucket_layout::runs("", &self.org),
        ];
        for folder in folders {
            for (key, version) in self.bucket.versions(&folder) {
                // `<runId>.tray`, or `<runId>/parts/…`.
                let name = key[folder.len()..].split(['.', '/']).next().unwrap_or_default();
                self.may_be_there(state, &key, &version, name, now);
            }
        }
        for volume in &state.repositories {
            let repository = bucket_layout::volume_repository("", &self.org, volume);
            for (key, version) in self.bucket.versions(&format!("{repository}snapshots/")) {
                let run = match &version {
                    Version::Object(object) => self.snapshots.of(&key, object, Copied::read).run.clone(),
                    Version::Marker(_) => continue,
                };
                self.may_be_there(state, &key, &version, &run, now);
            }
        }
    }

    fn may_be_there(&self, state: &LedgerState, key: &str, version: &Version, run: &str, now: Timestamp) {
        let (Version::Object(object), Ok(run)) = (version, run.parse::<RunId>()) else {
            return;
        };
        let since = match state.runs.get(&run) {
            // The ledger has forgotten it, so it has ended.
            None => Some(object.at),
            Some(run) => run.pruned.as_ref().map(|(at, _)| *at).or(run.aborted_at()),
        };
        if since.is_some_and(|since| now.duration_since(since) > GONE_WITHIN) {
            let what = format!("{key} is still there, long after its run has ended");
            self.log.broken(3, what);
        }
    }

    /// 6: no claim is deleted whose content could not come back.
    pub(super) fn may_lose(&mut self, state: &LedgerState, deleted: &Deleted, skew: SignedDuration) {
        let mut contents = None;
        let before = |run: &&Run| run.committed_at().is_some_and(|at| at <= deleted.at + skew);
        let good = state.runs.values().filter(|run| run.is_good()).filter(before);
        let of_claim = good.filter_map(Run::restorable).filter(|manifest| {
            let mut parts = manifest.parts.iter();
            parts.any(|part| part.planned.part.as_str() == deleted.claim.name)
        });
        let mut of_claim = of_claim.collect::<Vec<_>>().into_iter();
        let has_copy = of_claim.any(|manifest| self.opens(manifest, state, &mut contents).is_ok());
        if !has_copy {
            let Deleted { claim, volume, .. } = deleted;
            let what = format!(
                "claim {}/{} ({volume}) was deleted without a good copy of it",
                claim.namespace, claim.name
            );
            self.log.broken(6, what);
        }
    }

    /// Whether all of a run is there. What was found to be there stays while the bucket loses nothing.
    fn opens(
        &mut self,
        manifest: &Manifest,
        state: &LedgerState,
        contents: &mut Option<Contents>,
    ) -> Result<(), String> {
        let losses = self.bucket.losses();
        if self.open.get(&manifest.run_id) == Some(&losses) {
            return Ok(());
        }
        if contents.is_none() {
            *contents = Some(self.contents(state));
        }
        for part in &manifest.parts {
            let id = &part.planned.part;
            if let PartSource::Objects {} = part.planned.source {
                self.archive_opens(manifest, part)?;
                continue;
            }
            let repository = bucket_layout::volume_repository("", &self.org, id);
            let wanted = part.record.repository_snapshot.as_deref().unwrap_or_default();
            let name = format!("{repository}snapshots/{wanted}");
            let object = self.bucket.get(&name);
            let object = object.ok_or_else(|| format!("{name} is not there"))?;
            let snapshot = self.snapshots.of(&name, &object, Copied::read);
            if snapshot.digest != part.record.content_digest {
                return Err(format!("{name} is not what the manifest says"));
            }
            let present = contents.as_ref().and_then(|contents| contents.get(id));
            let missing = match present {
                Some(present) => snapshot.needs.difference(present).count(),
                None => snapshot.needs.len(),
            };
            if missing > 0 {
                return Err(format!("{missing} contents of {id} are in no pack"));
            }
        }
        self.open.insert(manifest.run_id.clone(), losses);
        Ok(())
    }

    /// Whether the archive of a run's objects opens, and holds what the manifest says.
    fn archive_opens(&self, manifest: &Manifest, part: &ManifestPart) -> Result<(), String> {
        let run = &manifest.run_id;
        let name = bucket_layout::objects_archive("", &self.org, run);
        let get = |name: &str| {
            self.bucket
                .get(name)
                .ok_or_else(|| format!("{name} is not there"))
        };
        let archive = get(&name)?;
        let wrapped = bucket_layout::wrapped_key("", &self.org);
        let wrapped = keys::wrapped_key(&wrapped, &get(&wrapped)?.body, &manifest.kms_key_arn);
        let wrapped = wrapped.map_err(|error| error.to_string())?;
        let unwrapped = self.keys.unwrap(&manifest.kms_key_arn, &self.org, &wrapped);
        let master = match unwrapped.now_or_never() {
            Some(Ok(master)) => master,
            Some(Err(RemoteError::Unusable(_))) | None => return Ok(()),
            Some(Err(error)) => return Err(error.to_string()),
        };
        let master = keys::MasterKey::from_plaintext(&master).map_err(|error| error.to_string())?;
        let key = master.objects(run);
        let summary = archive::read(&key, &self.org, run, &archive.body, |_, _| ());
        let summary = summary.map_err(|error| format!("{name}: {error}"))?;
        if summary.content_digest == part.record.content_digest {
            Ok(())
        } else {
            Err(format!("{name} is not what the manifest says"))
        }
    }

    /// What the packs of each repository hold now.
    fn contents(&mut self, state: &LedgerState) -> Contents {
        let bucket = self.bucket.clone();
        let mut contents = Contents::new();
        for volume in &state.repositories {
            let folder = format!("{}data/", bucket_layout::volume_repository("", &self.org, volume));
            let mut present = BTreeSet::new();
            for (key, version) in bucket.newest(&folder) {
                let read = |body: &[u8]| serde_json::from_slice(body).unwrap_or_default();
                present.extend(self.packs.of(&key, &version, read).iter().copied());
            }
            contents.insert(volume.clone(), present);
        }
        contents
    }
}

impl Copied {
    /// One that cannot be read holds nothing that a manifest would name.
    fn read(body: &[u8]) -> Self {
        let Ok(snapshot) = serde_json::from_slice::<Snapshot>(body) else {
            return Self {
                run: String::new(),
                digest: String::new(),
                needs: BTreeSet::new(),
            };
        };
        Self {
            digest: disks::digest(&snapshot.files),
            needs: snapshot.needs(),
            run: snapshot.run_id,
        }
    }
}

/// The good runs that can be restored.
fn good_copies(state: &LedgerState) -> impl Iterator<Item = &Manifest> {
    let good = state.runs.values().filter(|run| run.is_good());
    good.filter_map(Run::restorable)
}

/// The parts that a run holds.
fn parts(manifest: &Manifest) -> impl Iterator<Item = &PartId> {
    manifest.parts.iter().map(|part| &part.planned.part)
}
