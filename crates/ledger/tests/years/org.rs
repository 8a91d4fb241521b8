//! An org that lives for years: its entries are decided by the real functions and folded by the real state. What is in its bucket
//! is kept beside, as a pruner would leave it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use tray_domain::{
    ids::{OrgId, RunId, SweepId},
    ledger::{Entry, Event, FilledClaim, LedgerState, digest},
    manifest::{
        FORMAT_VERSION, LeftOut, LeftOutReason, Objectives, PartRecord, PartSource, PlannedPart, RunPlan,
    },
    retention::{self, Retention},
    run_plan::{self, CopiedPart, RunFacts, VolumeFacts},
    stage::Stage,
    sweep::{self, collectable, garbage},
    volume_facts::suspicions,
};

/// How snapshots are kept where nothing else is said: 28 runs at two a day.
pub(crate) const KEPT: Retention = Retention {
    keep_days: 14,
    keep_at_least: 3,
};

/// What goes wrong, and what a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    /// The run is committed.
    Good,
    /// The run is aborted, tried once more, and committed.
    Fails,
    /// The run is aborted, and so is every other try.
    Breaks,
    /// The run is committed, and the sweep that follows fails.
    SweepFails,
    /// The run is committed, and a restore of the newest good run follows.
    Restored,
    /// The run is committed, and a restore fills its claims and never ends, as those of an earlier version that were deleted.
    RestoreLeft,
    /// Nothing is done: the operator is down.
    Down,
}

/// The org.
pub(crate) struct Org {
    /// What its entries add up to.
    pub(crate) state: LedgerState,
    /// All that happened, if that is kept.
    pub(crate) events: Option<Vec<(Event, Timestamp)>>,
    /// Objects of each run in the bucket: archives and part records.
    pub(crate) bucket: BTreeMap<RunId, usize>,
    /// Runs that each sweep was told of, and what it has deleted.
    pub(crate) sweeps: Vec<(usize, usize)>,
    /// The time.
    pub(crate) now: Timestamp,
    volumes: Vec<VolumeFacts>,
    number: u64,
}

impl Org {
    /// One with so many volumes, claimed.
    pub(crate) fn new(volumes: usize) -> Self {
        let mut org = Self {
            state: LedgerState::default(),
            events: None,
            bucket: BTreeMap::new(),
            sweeps: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            volumes: (0..volumes).map(volume).collect(),
            number: 0,
        };
        org.tell(Event::Claim {});
        for volume in org.volumes.clone() {
            org.tell(Event::RepoInit { volume: volume.claim });
        }
        org
    }

    fn tell(&mut self, event: Event) {
        let entry = Entry {
            format_version: event.format_version(),
            org_id: org_id(),
            seq: self.state.next_seq,
            at: self.now,
            cluster_uid: uuid(0),
            epoch: 1,
            previous_digest: self.state.last_digest.clone(),
            checkpoint: self.state.checkpoint,
            event,
        };
        let bytes = entry.encode().unwrap();
        self.state.apply(&entry, &bytes).unwrap();
        self.events
            .iter_mut()
            .for_each(|kept| kept.push((entry.event.clone(), entry.at)));
    }

    /// Half a day.
    pub(crate) fn lives(&mut self, luck: Luck) {
        self.now += SignedDuration::from_hours(12);
        let noon = self.now;
        match luck {
            Luck::Down => return,
            Luck::Breaks => {
                for _ in 0..4 {
                    self.aborts();
                }
            }
            Luck::Fails => {
                self.aborts();
                self.commits();
            }
            _ => self.commits(),
        }
        match luck {
            Luck::Restored => self.restores(true),
            Luck::RestoreLeft => self.restores(false),
            _ => {}
        }
        self.collects();
        self.prunes();
        if sweep::due_at(&self.state).is_some_and(|due| due <= self.now) {
            self.sweeps(luck == Luck::SweepFails);
        }
        self.collects();
        self.now = noon;
    }

    fn plans(&mut self) -> RunPlan {
        self.number += 1;
        let run_id = RunId::of(self.now, &uuid(self.number));
        let name = format!("acme-{}", self.now.strftime("%Y%m%d%H%M%S"));
        let plan = RunPlan {
            not_copied: run_plan::not_copied(["made-by-somebody"], &self.volumes),
            objectives: Some(Objectives {
                rpo_hours: 24,
                rto_hours: 14,
                schedule: Some("0 */12 * * *".to_owned()),
                time_zone: Some("Europe/Zurich".to_owned()),
            }),
            ..run_plan::plan(run_id, &name, Some(self.now), &self.volumes)
        };
        self.tell(Event::RunPlanned { plan: plan.clone() });
        self.now += SignedDuration::from_mins(5);
        plan
    }

    fn aborts(&mut self) {
        let run_id = self.plans().run_id;
        self.bucket.insert(run_id.clone(), 1);
        let why = "a mover failed".to_owned();
        self.tell(Event::RunAborted { run_id, why });
        self.now += SignedDuration::from_mins(15);
    }

    fn commits(&mut self) {
        let plan = self.plans();
        let copied: Vec<CopiedPart> = plan.parts.iter().map(|part| self.copied(&plan, part)).collect();
        let parts: Vec<_> = plan
            .parts
            .iter()
            .cloned()
            .zip(copied.iter().map(|part| part.record.clone()))
            .collect();
        let facts = RunFacts {
            org_id: org_id(),
            cluster_uid: uuid(0),
            stage: Stage::Production,
            kms_key_arn: format!("arn:aws:kms:eu-central-1:111122223333:key/{}", uuid(1))
                .parse()
                .unwrap(),
            bucket: "tray-backups-eu".to_owned(),
            bucket_cloud_region: "eu-central-1".to_owned(),
            prefix: "production/".to_owned(),
            operator_version: "0.1.0".to_owned(),
        };
        let manifest = run_plan::manifest(&plan, &facts, &copied, suspicions(&self.state, &parts)).unwrap();
        self.bucket.insert(plan.run_id, 1 + plan.parts.len());
        self.tell(Event::RunCommitted {
            manifest: Box::new(manifest),
        });
    }

    fn copied(&self, plan: &RunPlan, part: &PlannedPart) -> CopiedPart {
        let text = format!("{}/{}", plan.run_id, part.part);
        let is_volume = matches!(part.source, PartSource::Volume { .. });
        let record = PartRecord {
            format_version: FORMAT_VERSION,
            run_id: plan.run_id.clone(),
            part: part.part.clone(),
            repository_snapshot: is_volume.then(|| digest(text.as_bytes())),
            files: 123_456 * u64::from(is_volume),
            objects: 345 * u64::from(!is_volume),
            bytes: 123_456_789_012,
            bytes_read: 123_456_789_012,
            bytes_added: 1_234_567_890,
            content_digest: digest(format!("content of {text}").as_bytes()),
            started_at: self.now,
            finished_at: self.now,
            warnings: vec![],
            left_out: left_out(is_volume),
            verified: true,
            engine_version: "rustic_core 0.13.0".to_owned(),
        };
        CopiedPart {
            record,
            pod_uid: uuid(self.number),
            hook_started_at: Some(self.now + SignedDuration::from_secs(is_volume.into())),
        }
    }

    fn restores(&mut self, to_its_end: bool) {
        let Some(run_id) = self.state.newest_good().map(|(id, _)| id.clone()) else {
            return;
        };
        let restore = format!("bring-it-back ({})", uuid(self.number));
        let claim = |volume: &VolumeFacts| FilledClaim {
            volume: volume.claim.clone(),
            claim_uid: volume.claim_uid.clone(),
        };
        let claims = self.volumes.iter().map(claim).collect();
        if to_its_end {
            self.tell(Event::RestorePlanned {
                restore: restore.clone(),
                run_id: run_id.clone(),
            });
        }
        self.tell(Event::Filled {
            restore: restore.clone(),
            run_id: run_id.clone(),
            claims,
        });
        if to_its_end {
            let (succeeded, seconds, bytes) = (true, 3_600, 123_456_789_012);
            self.tell(Event::Restored {
                restore,
                run_id,
                succeeded,
                data_is_back: succeeded,
                seconds,
                bytes,
                refused: 0,
                why: None,
            });
        }
    }

    fn prunes(&mut self) {
        for removal in retention::plan(&self.state, KEPT, None, self.now).unwrap() {
            self.tell(Event::Pruned {
                run_id: removal.run_id,
                why: removal.why,
            });
        }
    }

    fn sweeps(&mut self, fails: bool) {
        let sweep_id = SweepId::of(self.now, &org_id());
        self.tell(Event::sweep_planned(sweep_id.clone()));
        let named = garbage(&self.state);
        self.now += SignedDuration::from_mins(10);
        let failed = fails.then(|| "BucketFailed".to_owned());
        if !fails {
            // As the pruner does it: what is there and is named.
            let deleted = named.iter().filter_map(|run| self.bucket.remove(run)).sum();
            self.sweeps.push((named.len(), deleted));
            for volume in self.volumes.clone() {
                self.tell(Event::Swept {
                    volume: volume.claim,
                    marked_packs: 12,
                    freed_bytes: 1_234_567,
                });
            }
        }
        self.tell(Event::SweepEnded { sweep_id, failed });
    }

    fn collects(&mut self) {
        let runs = collectable(&self.state);
        if !runs.is_empty() {
            self.tell(Event::Collected { runs });
        }
    }

    /// Bytes of a checkpoint that is written now.
    pub(crate) fn checkpoint_bytes(&self) -> usize {
        let state = Box::new(self.state.clone());
        serde_json::to_vec(&Event::Checkpoint { state }).unwrap().len()
    }

    /// Runs that can be restored.
    pub(crate) fn restorable(&self) -> BTreeSet<RunId> {
        self.state
            .restorable_runs()
            .into_iter()
            .map(|(id, _)| id.clone())
            .collect()
    }
}

/// As in a cluster with many kinds of others.
fn left_out(is_volume: bool) -> Vec<LeftOut> {
    let mut left_out = Vec::new();
    for number in 0..if is_volume { 0 } else { 100 } {
        let kind = format!("somekinds{number}.example.com");
        LeftOut::note(&mut left_out, LeftOutReason::NotArchived, &kind);
    }
    left_out
}

fn volume(number: usize) -> VolumeFacts {
    VolumeFacts {
        claim: format!("data-database-{number}").parse().unwrap(),
        claim_uid: uuid(number as u64),
        workload: "database".to_owned(),
        excluded: false,
        paths: vec!["backup".to_owned()],
        has_hooks: true,
        mounted: true,
    }
}

pub(crate) fn org_id() -> OrgId {
    "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap()
}

/// As long as a UID is.
fn uuid(number: u64) -> String {
    format!("7c9e6679-7425-40de-944b-{number:012x}")
}
