//! Decides what becomes of every pack. Pure: the same inventory and time give the same plan.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::{Blob, Inventory};
use crate::{
    EngineError, PruneReport, PruneRequest,
    format::{FileKind, Id, IndexBlob, IndexFile, IndexPack},
};

/// Unused bytes within used packs that are let be, as a part of the used ones: below it, moving costs more than the
/// space it frees.
const TOLERATED_UNUSED_PERCENT: u64 = 5;
/// Bytes of used blobs that one pass moves at most, so that a pass ends in good time.
const LARGEST_MOVE: u64 = 2 << 30;

/// What a pass does.
#[derive(Default)]
pub(super) struct Plan {
    /// Index files to replace, with their new content.
    pub changed: Vec<(Id, IndexFile)>,
    /// Packs in no index, to be marked.
    pub orphans: Vec<IndexPack>,
    /// Blobs to move out of packs that are mostly unused, by pack.
    pub repack: Vec<(Id, Vec<IndexBlob>)>,
    /// Packs to free, with their size.
    pub delete: Vec<(Id, u64)>,
    /// Counts of what is decided; what is freed is counted when it is done.
    pub report: PruneReport,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Keep,
    Mark,
    /// Its used blobs move, then as `Mark`.
    Move,
    KeepMarked,
    Recover,
    Delete,
    /// Not in the store, and nothing needs it.
    Forget,
}

/// A pack with what of it is needed here: a blob that lies in several packs is needed in one.
struct Weighed<'a> {
    pack: &'a IndexPack,
    marked: bool,
    used: Vec<IndexBlob>,
    used_bytes: u64,
    unused_bytes: u64,
}

/// Makes the plan; an error where the repository is damaged, since then nothing may be freed.
pub(super) fn plan(inventory: &Inventory, request: &PruneRequest) -> Result<Plan, EngineError> {
    let weighed = weigh(inventory)?;
    let moves = choose_moves(&weighed, inventory, request);
    let mut plan = Plan::default();
    let mut decisions = BTreeMap::new();
    for (id, pack) in &weighed {
        let decision = if moves.contains(id) {
            Decision::Move
        } else {
            decide(pack, inventory, request)?
        };
        decisions.insert(*id, decision);
        let size = inventory.packs.get(id).map_or(0, |(size, _)| *size);
        match decision {
            Decision::Mark => plan.report.packs_marked += 1,
            Decision::Move => {
                plan.report.packs_marked += 1;
                plan.repack.push((*id, pack.used.clone()));
            }
            Decision::Recover => plan.report.packs_recovered += 1,
            Decision::Delete => plan.delete.push((*id, size)),
            Decision::Keep | Decision::KeepMarked | Decision::Forget => {}
        }
    }
    for (id, (size, taken)) in &inventory.packs {
        // The store's clock says when it was written; a young one may belong to a copy that crashed and goes on.
        if !weighed.contains_key(id) && is_older(request.now, *taken, request.keep_pack) {
            let size = u32::try_from(*size).ok();
            plan.orphans.push(IndexPack {
                id: *id,
                blobs: Vec::new(),
                time: Some(request.now),
                size,
            });
            plan.report.orphans += 1;
            plan.report.packs_marked += 1;
        }
    }
    let mut placed = HashSet::new();
    for (id, file) in &inventory.indexes {
        if let Some(new) = rewrite(file, &decisions, &mut placed, request.now) {
            plan.changed.push((*id, new));
        }
    }
    Ok(plan)
}

impl Plan {
    /// Proves that afterwards every needed blob lies in an indexed pack that is neither marked nor freed.
    pub(super) fn check(&self, inventory: &Inventory) -> Result<(), EngineError> {
        let changed: BTreeMap<_, _> = self.changed.iter().map(|(id, file)| (*id, file)).collect();
        let mut missing: HashSet<Blob> = inventory.used.clone();
        for (_, blobs) in &self.repack {
            for blob in blobs {
                missing.remove(&(blob.kind, blob.id));
            }
        }
        for (id, file) in &inventory.indexes {
            let file = changed.get(id).copied().unwrap_or(file);
            for pack in &file.packs {
                if self.delete.iter().any(|(deleted, _)| *deleted == pack.id) {
                    return Err(EngineError::Internal(format!(
                        "pack {} would be freed while in use",
                        pack.id
                    )));
                }
                for blob in &pack.blobs {
                    missing.remove(&(blob.kind, blob.id));
                }
            }
        }
        match missing.iter().next() {
            None => Ok(()),
            Some((_, id)) => Err(EngineError::Internal(format!("blob {id} would be lost"))),
        }
    }
}

fn is_older(now: Timestamp, then: Timestamp, age: SignedDuration) -> bool {
    now.duration_since(then) >= age
}

/// Every indexed pack once, unmarked before marked, with what of it is needed.
fn weigh(inventory: &Inventory) -> Result<BTreeMap<Id, Weighed<'_>>, EngineError> {
    let mut weighed: BTreeMap<Id, Weighed<'_>> = BTreeMap::new();
    let unmarked = inventory
        .indexes
        .iter()
        .flat_map(|(_, file)| &file.packs)
        .map(|pack| (pack, false));
    let marked = inventory
        .indexes
        .iter()
        .flat_map(|(_, file)| &file.packs_to_delete)
        .map(|pack| (pack, true));
    let mut placed: HashSet<Blob> = HashSet::new();
    for (pack, marked) in unmarked.chain(marked) {
        // A crash can leave a pack in two index files; then the one that keeps it holds.
        if weighed.contains_key(&pack.id) {
            continue;
        }
        let is_stored = inventory.packs.contains_key(&pack.id);
        let mut entry = Weighed {
            pack,
            marked,
            used: Vec::new(),
            used_bytes: 0,
            unused_bytes: 0,
        };
        for blob in &pack.blobs {
            let key = (blob.kind, blob.id);
            if is_stored && inventory.used.contains(&key) && placed.insert(key) {
                entry.used.push(*blob);
                entry.used_bytes += u64::from(blob.length);
            } else {
                entry.unused_bytes += u64::from(blob.length);
            }
        }
        weighed.insert(pack.id, entry);
    }
    match inventory.used.difference(&placed).next() {
        None => Ok(weighed),
        Some((_, id)) => {
            let named: HashMap<Id, Id> = weighed
                .values()
                .flat_map(|w| w.pack.blobs.iter().map(|blob| (blob.id, w.pack.id)))
                .filter(|(blob, _)| blob == id)
                .collect();
            let why = named.get(id).map_or("is in no index".to_owned(), |pack| {
                format!("lies in {}, which is missing", FileKind::Pack.name(*pack))
            });
            Err(EngineError::Corrupt(format!(
                "blob {id} of a snapshot {why}; nothing was pruned"
            )))
        }
    }
}

fn decide(
    weighed: &Weighed<'_>,
    inventory: &Inventory,
    request: &PruneRequest,
) -> Result<Decision, EngineError> {
    let pack = weighed.pack;
    let Some((size, taken)) = inventory.packs.get(&pack.id) else {
        return Ok(Decision::Forget);
    };
    if !weighed.used.is_empty() && pack.size.is_some_and(|indexed| u64::from(indexed) != *size) {
        let name = FileKind::Pack.name(pack.id);
        return Err(EngineError::Corrupt(format!(
            "{name} is {size} bytes long; nothing was pruned"
        )));
    }
    Ok(match (weighed.marked, weighed.used.is_empty()) {
        (false, true) if is_old_enough(pack, *taken, request) => Decision::Mark,
        (false, _) => Decision::Keep,
        (true, false) => Decision::Recover,
        (true, true) => match pack.time {
            Some(marked) if is_older(request.now, marked, request.keep_delete) => Decision::Delete,
            _ => Decision::KeepMarked,
        },
    })
}

/// By the later of its own time and the store's.
fn is_old_enough(pack: &IndexPack, taken: Timestamp, request: &PruneRequest) -> bool {
    let written = pack.time.map_or(taken, |time| time.max(taken));
    is_older(request.now, written, request.keep_pack)
}

/// Packs to empty: the worst first, until little enough is unused.
fn choose_moves(
    weighed: &BTreeMap<Id, Weighed<'_>>,
    inventory: &Inventory,
    request: &PruneRequest,
) -> HashSet<Id> {
    let partly = |w: &&Weighed<'_>| !w.marked && !w.used.is_empty() && w.unused_bytes > 0;
    let old = |w: &&Weighed<'_>| {
        let listed = inventory.packs.get(&w.pack.id);
        listed.is_some_and(|(size, taken)| {
            w.pack.size.is_none_or(|indexed| u64::from(indexed) == *size)
                && is_old_enough(w.pack, *taken, request)
        })
    };
    let used: u64 = weighed.values().map(|w| w.used_bytes).sum();
    let mut unused: u64 = weighed.values().filter(partly).map(|w| w.unused_bytes).sum();
    let mut candidates: Vec<_> = weighed.values().filter(partly).filter(old).collect();
    // Share of the unused, descending, without division.
    candidates.sort_by_key(|w| std::cmp::Reverse(w.unused_bytes * 10_000 / (w.unused_bytes + w.used_bytes)));
    let mut chosen = HashSet::new();
    let mut moved = 0;
    for candidate in candidates {
        if unused * 100 <= used * TOLERATED_UNUSED_PERCENT || moved + candidate.used_bytes > LARGEST_MOVE {
            break;
        }
        unused -= candidate.unused_bytes;
        moved += candidate.used_bytes;
        chosen.insert(candidate.pack.id);
    }
    chosen
}

/// The file after the plan; `None` where it stays as it is. `placed` holds the packs that earlier files list.
fn rewrite(
    file: &IndexFile,
    decisions: &BTreeMap<Id, Decision>,
    placed: &mut HashSet<Id>,
    now: Timestamp,
) -> Option<IndexFile> {
    let mut new = IndexFile::default();
    let mut is_changed = false;
    let unmarked = file.packs.iter().map(|pack| (pack, false));
    let marked = file.packs_to_delete.iter().map(|pack| (pack, true));
    for (pack, was_marked) in unmarked.chain(marked) {
        let decision = decisions.get(&pack.id).copied().unwrap_or(Decision::Keep);
        let mut pack = pack.clone();
        let is_marked = match decision {
            Decision::Keep | Decision::Recover => false,
            Decision::Mark | Decision::Move | Decision::KeepMarked => true,
            Decision::Delete | Decision::Forget => {
                is_changed = true;
                continue;
            }
        };
        if !placed.insert(pack.id) {
            is_changed = true;
            continue;
        }
        if is_marked != was_marked || (is_marked && pack.time.is_none()) {
            // A pack is marked, or used again, from now on.
            pack.time = Some(now);
            is_changed = true;
        }
        let list = if is_marked {
            &mut new.packs_to_delete
        } else {
            &mut new.packs
        };
        list.push(pack);
    }
    is_changed.then_some(new)
}
