//! Ledgers for the tests of what is decided on them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "it is for tests alone: what cannot be told is a mistake in the test"
)]

use jiff::{SignedDuration, Timestamp};

use super::{Entry, Event, LedgerState};
use crate::{
    ids::{OrgId, PartId, RunId},
    manifest::{
        self, Consistency, Manifest, ManifestPart, Objectives, PartRecord, PartSource, PlannedPart, RunPlan,
        RunVerdict,
    },
    names,
    stage::Stage,
    volume_facts::suspicions,
};

/// The org of all stories.
pub fn org() -> OrgId {
    "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap()
}

/// A ledger that grows entry by entry, as the operator would write it.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// What the entries add up to.
    pub state: LedgerState,
    /// The newest entry's bytes.
    pub newest: Vec<u8>,
    /// What runs are planned by.
    objectives: Option<Objectives>,
}

impl Story {
    /// An empty ledger with its claim.
    pub fn new() -> Self {
        let mut story = Self::default();
        story.tell(Event::Claim {}, Timestamp::UNIX_EPOCH);
        story
    }

    /// From here runs are planned by these objectives.
    pub fn promise(&mut self, objectives: Objectives) {
        self.objectives = Some(objectives);
    }

    /// Appends an event.
    pub fn tell(&mut self, event: Event, at: Timestamp) {
        let entry = Entry {
            format_version: event.format_version(),
            org_id: org(),
            seq: self.state.next_seq,
            at,
            cluster_uid: "cluster".into(),
            epoch: 1,
            previous_digest: self.state.last_digest.clone(),
            checkpoint: self.state.checkpoint,
            event,
        };
        self.newest = entry.encode().unwrap();
        self.state.apply(&entry, &self.newest).unwrap();
    }

    /// A run that was planned, with the objects and these volumes (name, files).
    pub fn planned(&mut self, planned_at: Timestamp, volumes: &[(&str, u64)]) -> RunPlan {
        self.planned_for(None, planned_at, volumes)
    }

    fn planned_for(
        &mut self,
        slot: Option<Timestamp>,
        planned_at: Timestamp,
        volumes: &[(&str, u64)],
    ) -> RunPlan {
        let plan = RunPlan {
            slot,
            objectives: self.objectives.clone(),
            ..plan_of(planned_at, volumes)
        };
        self.tell(Event::RunPlanned { plan: plan.clone() }, planned_at);
        plan
    }

    /// A run of these volumes that was committed `seconds` after its plan.
    pub fn committed(
        &mut self,
        planned_at: Timestamp,
        seconds: i64,
        volumes: &[(&str, u64)],
        verdict: RunVerdict,
    ) -> RunId {
        let plan = self.planned(planned_at, volumes);
        self.commit(plan, planned_at, seconds, volumes, verdict)
    }

    fn commit(
        &mut self,
        plan: RunPlan,
        planned_at: Timestamp,
        seconds: i64,
        volumes: &[(&str, u64)],
        verdict: RunVerdict,
    ) -> RunId {
        let manifest = Box::new(self.manifest(&plan, planned_at, volumes, verdict));
        let event = Event::RunCommitted { manifest };
        self.tell(event, planned_at + SignedDuration::from_secs(seconds));
        plan.run_id
    }

    /// The record of a run. A Suspicious one says what looks wrong by what the ledger holds now.
    fn manifest(
        &self,
        plan: &RunPlan,
        at: Timestamp,
        volumes: &[(&str, u64)],
        verdict: RunVerdict,
    ) -> Manifest {
        let mut manifest = manifest_of(plan, at, volumes, verdict);
        if verdict == RunVerdict::Suspicious {
            let parts = manifest.parts.iter();
            let copied: Vec<_> = parts
                .map(|part| (part.planned.clone(), part.record.clone()))
                .collect();
            manifest.suspicions = suspicions(&self.state, &copied);
        }
        manifest
    }

    /// A run of these volumes (name, files, consistency, folders) that was committed a minute after its plan.
    pub fn copied(
        &mut self,
        planned_at: Timestamp,
        volumes: &[(&str, u64, Consistency, &[String])],
        verdict: RunVerdict,
    ) -> RunId {
        let sizes: Vec<(&str, u64)> = volumes.iter().map(|(name, files, ..)| (*name, *files)).collect();
        let mut plan = plan_of(planned_at, &sizes);
        for part in &mut plan.parts {
            let volume = volumes.iter().find(|(name, ..)| *name == part.part.as_str());
            if let (Some((.., consistency, wanted)), PartSource::Volume { paths, .. }) =
                (volume, &mut part.source)
            {
                part.consistency = *consistency;
                *paths = wanted.to_vec();
            }
        }
        self.tell(Event::RunPlanned { plan: plan.clone() }, planned_at);
        let manifest = Box::new(self.manifest(&plan, planned_at, &sizes, verdict));
        self.tell(
            Event::RunCommitted { manifest },
            planned_at + SignedDuration::from_secs(60),
        );
        plan.run_id
    }

    /// A good run of one volume.
    pub fn good(&mut self, planned_at: &str, seconds: i64) -> RunId {
        self.committed(
            planned_at.parse().unwrap(),
            seconds,
            &[("data-db-0", 10)],
            RunVerdict::Good,
        )
    }

    /// A good run of one volume, planned at the very slot that it is for.
    pub fn at_slot(&mut self, slot: &str, seconds: i64) -> RunId {
        let slot = slot.parse().unwrap();
        let volumes = [("data-db-0", 10)];
        let plan = self.planned_for(Some(slot), slot, &volumes);
        self.commit(plan, slot, seconds, &volumes, RunVerdict::Good)
    }

    /// A run that a person has to look at.
    pub fn suspicious(&mut self, planned_at: &str, seconds: i64) -> RunId {
        self.committed(
            planned_at.parse().unwrap(),
            seconds,
            &[("data-db-0", 0)],
            RunVerdict::Suspicious,
        )
    }

    /// A run that has not ended.
    pub fn open(&mut self, planned_at: &str) -> RunId {
        self.planned(planned_at.parse().unwrap(), &[("data-db-0", 10)])
            .run_id
    }

    /// A run without a result.
    pub fn aborted(&mut self, planned_at: &str, seconds: i64) -> RunId {
        let planned_at: Timestamp = planned_at.parse().unwrap();
        let run_id = self.planned(planned_at, &[("data-db-0", 10)]).run_id;
        let event = Event::RunAborted {
            run_id: run_id.clone(),
            why: "a mover failed".into(),
        };
        self.tell(event, planned_at + SignedDuration::from_secs(seconds));
        run_id
    }
}

fn plan_of(planned_at: Timestamp, volumes: &[(&str, u64)]) -> RunPlan {
    let parts = std::iter::once((names::OBJECTS_PART, 0)).chain(volumes.iter().copied());
    RunPlan {
        run_id: RunId::of(planned_at, "uid"),
        snapshot_name: format!("acme-{}", planned_at.as_second()),
        slot: None,
        parts: parts.map(|(name, _)| planned_part(name)).collect(),
        excluded: vec![],
        not_copied: None,
        objectives: None,
    }
}

fn planned_part(name: &str) -> PlannedPart {
    let source = match name {
        names::OBJECTS_PART => PartSource::Objects {},
        _ => PartSource::Volume {
            claim_uid: format!("uid-{name}"),
            workload: "db".into(),
            paths: vec![],
        },
    };
    PlannedPart {
        part: name.parse().unwrap(),
        source,
        consistency: Consistency::Live,
    }
}

/// What a mover would record of a part with this many files, of 100 bytes each.
pub fn record(run_id: &RunId, part: &PartId, files: u64, at: Timestamp) -> PartRecord {
    PartRecord {
        format_version: manifest::FORMAT_VERSION,
        run_id: run_id.clone(),
        part: part.clone(),
        repository_snapshot: Some(format!("snapshot-{part}-{run_id}")),
        files,
        objects: u64::from(part.as_str() == names::OBJECTS_PART) * 7,
        bytes: files * 100,
        bytes_read: files * 100,
        bytes_added: files,
        content_digest: String::new(),
        started_at: at,
        finished_at: at,
        warnings: vec![],
        left_out: vec![],
        verified: true,
        engine_version: "engine".into(),
    }
}

fn manifest_of(plan: &RunPlan, at: Timestamp, volumes: &[(&str, u64)], verdict: RunVerdict) -> Manifest {
    let files_of = |part: &PartId| {
        volumes
            .iter()
            .find(|(name, _)| *name == part.as_str())
            .map_or(0, |(_, files)| *files)
    };
    let part = |planned: &PlannedPart| ManifestPart {
        planned: planned.clone(),
        record: record(&plan.run_id, &planned.part, files_of(&planned.part), at),
        consistency_point: at,
        record_key: String::new(),
    };
    Manifest {
        format_version: manifest::FORMAT_VERSION,
        org_id: org(),
        cluster_uid: "cluster".into(),
        run_id: plan.run_id.clone(),
        stage: Stage::Production,
        snapshot_name: plan.snapshot_name.clone(),
        slot: plan.slot,
        plan_digest: String::new(),
        consistency_point: at,
        parts: plan.parts.iter().map(part).collect(),
        excluded: vec![],
        kms_key_arn: "arn:aws:kms:eu-central-1:111122223333:key/k".parse().unwrap(),
        wrapped_key_id: "key/0001.json".into(),
        bucket: "bucket".into(),
        bucket_cloud_region: "eu-central-1".into(),
        verdict,
        suspicions: vec![],
        operator_version: "0".into(),
        engine_version: "0".into(),
    }
}
