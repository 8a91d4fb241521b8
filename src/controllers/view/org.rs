//! All that is known of an org when a pass over it begins: read once from the index and the board, without a request, and
//! not looked at again during the pass. Every controller that works on an org goes by it.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::{
    backup_schedule::BackupSchedule,
    orgrestore::{OrgRestore, RestorePhase},
    orgsnapshot::OrgSnapshot,
    orgtombstone::OrgTombstone,
    region::Region,
    retention_policy::RetentionPolicy,
    trayorg::{LifecycleState, PinnedRegion, TrayOrg},
};
use tray_domain::{
    backup_place::{BackupPlace, Settled, settle},
    ids::OrgId,
    names,
    placement::Place,
    reattachment,
};

use super::{
    backup_place,
    identity::{Asker, holder, is_abandoned, is_of, namespace, org_id, pinned_by, taken_up},
    region::{Regional, regional},
    support::{Support, support_in},
};
use crate::{
    adapters::kube::{
        child::ChildFact,
        facts::{JobFact, NodeFact, PodFact, StorageClassFact, VolumeFact},
        index::Index,
    },
    controllers::board::{Board, Known},
    resources::org::{
        Placement,
        effective::{self, Conflict, Effective},
    },
};

/// A pod of the org, and where it runs.
#[derive(Clone, Debug)]
pub struct PlacedPod {
    /// The pod.
    pub pod: Arc<PodFact>,
    /// Its node, which alone says where it is; none = it has no node, or one that is not known.
    pub node: Option<Arc<NodeFact>>,
}

/// A volume of the org, and the nodes that it is tied to, as far as they are known.
#[derive(Clone, Debug)]
pub struct PlacedVolume {
    /// The volume.
    pub volume: Arc<VolumeFact>,
    /// Those nodes.
    pub nodes: Vec<Arc<NodeFact>>,
}

/// The Region that an org lives in, and what that gives it.
#[derive(Clone, Debug)]
pub struct Home {
    /// The Region.
    pub region: Arc<Region>,
    /// The same as the org has it at present.
    pub regional: Regional,
    /// What the org runs there.
    pub effective: Result<Effective, Conflict>,
}

impl Home {
    fn of(region: Arc<Region>, org: &TrayOrg) -> Self {
        let regional = regional(&region, org);
        Self {
            effective: effective::workloads(&org.spec, &regional.spec),
            regional,
            region,
        }
    }
}

/// What is known of an org.
#[derive(Clone, Debug)]
pub struct OrgView {
    /// The TrayOrg.
    pub org: Arc<TrayOrg>,
    /// Its id: [`org_id`], or that of what is held under its name.
    pub org_id: Option<OrgId>,
    /// The TrayOrg that holds its orgId.
    pub holder: Option<String>,
    /// Why what is held of orgs that are gone stands in its way.
    pub refusal: Option<reattachment::ReattachmentRefusal>,
    /// Its namespace, if it is there.
    pub namespace: Option<Arc<ChildFact>>,
    /// Where it is pinned to: in its status; on its namespace where the status was not written yet or is a new TrayOrg's; in
    /// its tombstone where the namespace is gone, too.
    pub pinned: Option<Place>,
    /// What is recorded of where its copies are.
    pub copies: Option<BackupPlace>,
    /// The tombstones under its name.
    pub tombstones: Vec<Arc<OrgTombstone>>,
    /// The Region that its spec names.
    pub region: Option<Arc<Region>>,
    /// Where it lives: the Region that it is pinned to, or of one that is not pinned yet the one that its spec names.
    pub home: Option<Home>,
    /// The StorageClass that the Region names.
    pub storage_class: Option<Arc<StorageClassFact>>,
    /// The RetentionPolicy that its spec names.
    pub policy: Option<Arc<RetentionPolicy>>,
    /// The BackupSchedule that its spec names.
    pub schedule: Option<Arc<BackupSchedule>>,
    /// Its OrgSnapshots.
    pub snapshots: Vec<Arc<OrgSnapshot>>,
    /// The OrgRestore that is under way: the first of `restores`.
    pub restore: Option<Arc<OrgRestore>>,
    /// The OrgRestores that have not ended: the one that has begun, then the others as they were made.
    pub restores: Vec<Arc<OrgRestore>>,
    /// Its children.
    pub children: Vec<Arc<ChildFact>>,
    /// The same as a number: another as soon as any of them is.
    pub children_mark: u64,
    /// Every pod in its namespace whatever it is labelled, and its movers elsewhere.
    pub pods: Vec<PlacedPod>,
    /// The volumes of its claims, and of claims that are gone.
    pub volumes: Vec<PlacedVolume>,
    /// The Jobs of its movers, in its namespace and in the operator's: looked at before the pods and claims. A copy whose mover
    /// has ended is judged by what was there then or later.
    pub movers: Vec<Arc<JobFact>>,
    /// What the board says of it.
    pub known: Known,
    /// Who of support is in it, and who is meant to be.
    pub support: Support,
}

/// What a look at an org needs besides the org.
pub struct Sources<'a> {
    /// The cluster.
    pub index: &'a Index,
    /// What controllers told each other.
    pub board: &'a Board,
    /// Groups that may be let in as support.
    pub support_groups: &'a [String],
    /// The time of the pass.
    pub now: Timestamp,
}

impl OrgView {
    /// Looks at an org.
    pub fn of(org: Arc<TrayOrg>, sources: &Sources<'_>) -> Self {
        let Sources {
            index,
            board,
            support_groups,
            now,
        } = *sources;
        let name = org.name_any();
        let movers = index.jobs.of(&name);
        // Before they are looked at: one that comes meanwhile makes it another.
        let children_mark = index.children.mark(&name);
        let (taken_up, refusal) = match taken_up(index, &org) {
            Ok(taken_up) => (taken_up, None),
            Err(refusal) => (None, Some(refusal)),
        };
        let asker = Asker {
            name: &name,
            is_heir: taken_up.is_some(),
            is_refused: refusal.is_some(),
        };
        let id = taken_up.or_else(|| org_id(&org));
        let namespace_name = id.as_ref().map(|id| names::org_namespace(&name, id));
        let namespace = namespace_name.as_deref().and_then(|own| namespace(index, own));
        let namespace = namespace.filter(|namespace| namespace.org.as_ref() == Some(&name));
        let tombstones = index.tombstones.of_org(&name);
        let own_tombstone = id.as_ref().and_then(|id| own(&tombstones, id));
        let pinned = pinned(&org, namespace.as_deref(), own_tombstone);
        let region = index.regions.get(&org.spec.region_ref.name);
        let home = match &pinned {
            Some(place) => index.regions.get(&place.region),
            None => region.clone(),
        };
        let restores = open_restores(index, &name);
        let copies = id
            .as_ref()
            .and_then(|id| backup_place::recorded(index, &org, id, own_tombstone));
        Self {
            holder: id.as_ref().and_then(|id| holder(index, id, asker)),
            refusal,
            pinned,
            copies,
            tombstones,
            storage_class: region
                .as_ref()
                .and_then(|region| index.storage_class(&region.spec.storage.storage_class_name)),
            region,
            home: home.map(|home| Home::of(home, &org)),
            policy: index.policies.get(&org.spec.retention_policy_ref.name),
            schedule: index.schedules.get(&org.spec.backup_schedule_ref.name),
            snapshots: index.snapshots.of_org(&name),
            restore: restores.first().cloned(),
            restores,
            children: index.children.of(&name),
            children_mark,
            pods: pods(index, &name, namespace_name.as_deref()),
            volumes: volumes(index, namespace_name.as_deref()),
            known: id.as_ref().map(|id| board.of(id)).unwrap_or_default(),
            support: namespace_name
                .as_deref()
                .map(|own| support_in(index, own, support_groups, now))
                .unwrap_or_default(),
            namespace,
            movers,
            org_id: id,
            org,
        }
    }

    /// Name of the TrayOrg.
    pub fn name(&self) -> String {
        self.org.name_any()
    }

    /// The claims in a namespace of it that have a volume, whoever made them.
    pub fn claims_with_volume<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a str> {
        let volumes = self.volumes.iter().filter(|placed| placed.volume.is_bound);
        let claims = volumes.filter_map(|placed| placed.volume.claim.as_ref());
        claims
            .filter(move |(of, _)| of == namespace)
            .map(|(_, claim)| claim.as_str())
    }

    /// Whether its TrayOrg is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.org.metadata.deletion_timestamp.is_some()
    }

    /// Whether nothing of it runs, as its spec wants.
    pub fn is_suspended(&self) -> bool {
        self.org.spec.lifecycle.state == LifecycleState::Suspended
    }

    /// Whether its status says that it was placed.
    pub fn is_placed(&self) -> bool {
        let status = self.org.status.as_ref();
        status.is_some_and(|status| status.region.is_some())
    }

    /// Whether a namespace is the org's, and not what an org that is gone has left under its name.
    pub fn is_its_own(&self, namespace: &ChildFact) -> bool {
        let id = self.org_id.as_ref().map(OrgId::as_str);
        self.refusal.is_none() && id.is_some_and(|id| is_of(namespace, id)) && !is_abandoned(namespace)
    }

    /// The tombstone of this very org, from a deletion after which it is back.
    pub fn own_tombstone(&self) -> Option<&OrgTombstone> {
        own(&self.tombstones, self.org_id.as_ref()?)
    }

    /// Name of the OrgRestore for which the org's workloads stand still.
    pub fn stopped_by(&self) -> Option<String> {
        let restore = self.restore.as_ref()?;
        let stops = restore.phase().is_some_and(RestorePhase::stops_workloads);
        stops.then(|| restore.name_any())
    }

    /// Where its copies are, if it lives in `home`. A Region that is another place by now says nothing of it.
    pub fn settled(&self, home: &PinnedRegion) -> Settled {
        let region = self.region.as_deref().filter(|region| {
            region.name_any() == home.name
                && region.spec.cloud_region == home.cloud_region
                && region.spec.jurisdiction == home.jurisdiction
        });
        settle(self.copies.clone(), region.map(backup_place::said).as_ref())
    }

    /// Where the org was placed; none where it never was, whatever may be held of an earlier one of its name. An org whose
    /// status was never written, or is lost, has a namespace that no earlier org left, or that it took up.
    pub fn placement(&self) -> Option<Placement> {
        let id = self.org_id.clone()?;
        let namespace = self.namespace.as_deref();
        let has_made_one =
            || self.refusal.is_none() && namespace.is_some_and(|namespace| !is_abandoned(namespace));
        if !self.is_placed() && !has_made_one() {
            return None;
        }
        let region = pinned_region(self.pinned.clone()?);
        let copies = self.settled(&region).place;
        Some(Placement::new(self.name(), id, region).with_backup(copies))
    }
}

/// The same place as a status has it.
pub fn pinned_region(place: Place) -> PinnedRegion {
    PinnedRegion {
        name: place.region,
        jurisdiction: place.jurisdiction,
        cloud_region: place.cloud_region,
    }
}

fn place_of(region: &PinnedRegion) -> Place {
    Place {
        region: region.name.clone(),
        jurisdiction: region.jurisdiction,
        cloud_region: region.cloud_region.clone(),
    }
}

fn own<'a>(tombstones: &'a [Arc<OrgTombstone>], id: &OrgId) -> Option<&'a OrgTombstone> {
    let mut tombstones = tombstones.iter().map(|tombstone| &**tombstone);
    tombstones.find(|tombstone| tombstone.spec.org_id == id.as_str())
}

fn pinned(org: &TrayOrg, namespace: Option<&ChildFact>, tombstone: Option<&OrgTombstone>) -> Option<Place> {
    let recorded = org.status.as_ref().and_then(|status| status.region.as_ref());
    match (recorded, namespace) {
        (Some(region), _) => Some(place_of(region)),
        (None, Some(namespace)) => pinned_by(namespace),
        (None, None) => Some(place_of(&tombstone?.spec.region)),
    }
}

/// One that has begun goes first whenever it was made: of two that were made within one second a name decides.
fn open_restores(index: &Index, org: &str) -> Vec<Arc<OrgRestore>> {
    let mut restores = index.restores.of_org(org);
    restores.retain(|restore| restore.is_open());
    restores.sort_by_key(|restore| {
        (
            !restore.has_begun(),
            restore.creation_timestamp(),
            restore.name_any(),
        )
    });
    restores
}

fn pods(index: &Index, org: &str, namespace: Option<&str>) -> Vec<PlacedPod> {
    let mut elsewhere = index.pods.of(names::SYSTEM_NAMESPACE);
    elsewhere.retain(|pod| pod.org.as_deref() == Some(org));
    let own = namespace
        .into_iter()
        .flat_map(|namespace| index.pods.of(namespace));
    own.chain(elsewhere)
        .map(|pod| PlacedPod {
            node: pod.node.as_deref().and_then(|name| index.node(name)),
            pod,
        })
        .collect()
}

fn volumes(index: &Index, namespace: Option<&str>) -> Vec<PlacedVolume> {
    let volumes = namespace
        .into_iter()
        .flat_map(|namespace| index.volumes.of(namespace));
    volumes
        .map(|volume| PlacedVolume {
            nodes: volume.nodes.iter().filter_map(|name| index.node(name)).collect(),
            volume,
        })
        .collect()
}
