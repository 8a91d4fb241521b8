//! What the server holds: objects by kind and name, one version that counts every write, and the writes of a while.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    kinds::ServedKind,
    object::{Name, Stored},
};

/// For how long the writes of a kind are known: a watch that comes back later than that begins anew.
const KNOWN_FOR: Duration = Duration::from_secs(300);

/// A write.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) version: u64,
    pub(super) at: Timestamp,
    pub(super) name: Name,
    /// None = it was made.
    pub(super) old: Option<Arc<Stored>>,
    /// None = it is gone.
    pub(super) new: Option<Arc<Stored>>,
    /// What it was at its end, at the version of that.
    pub(super) last: Option<Arc<Stored>>,
}

/// The objects of a kind.
#[derive(Debug, Default)]
struct Objects {
    by_name: BTreeMap<Name, Arc<Stored>>,
    log: VecDeque<Arc<Written>>,
    /// What was written up to this version is no longer known.
    compacted: u64,
}

/// What the server holds.
#[derive(Debug, Default)]
pub(super) struct Store {
    kinds: BTreeMap<String, Arc<ServedKind>>,
    objects: BTreeMap<String, Objects>,
    version: u64,
}

impl Store {
    /// Serves a kind from now on.
    pub(super) fn serve(&mut self, kind: ServedKind) {
        let resource = kind.resource();
        self.objects.entry(resource.clone()).or_default();
        self.kinds.insert(resource, Arc::new(kind));
    }

    /// Serves a kind no more: its objects are gone.
    pub(super) fn withdraw(&mut self, resource: &str) {
        self.kinds.remove(resource);
        self.objects.remove(resource);
    }

    /// Every kind that is served.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Arc<ServedKind>> {
        self.kinds.values()
    }

    pub(super) fn kind(&self, resource: &str) -> Option<Arc<ServedKind>> {
        self.kinds.get(resource).cloned()
    }

    /// Version of the last write.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, resource: &str, name: &Name) -> Option<Arc<Stored>> {
        self.objects.get(resource)?.by_name.get(name).cloned()
    }

    /// The objects of a kind, by namespace and name.
    pub(super) fn all(&self, resource: &str) -> Vec<Arc<Stored>> {
        let objects = self.objects.get(resource).into_iter();
        objects
            .flat_map(|objects| objects.by_name.values().cloned())
            .collect()
    }

    /// The objects of a kind as they were at a version; none where that is no longer known.
    pub(super) fn all_at(&self, resource: &str, version: u64) -> Option<Vec<Arc<Stored>>> {
        let objects = self.objects.get(resource)?;
        if version < objects.compacted {
            return None;
        }
        let is_newest = objects.log.back().is_none_or(|last| last.version <= version);
        if is_newest {
            return Some(objects.by_name.values().cloned().collect());
        }
        let mut by_name = objects.by_name.clone();
        for written in objects
            .log
            .iter()
            .rev()
            .take_while(|written| written.version > version)
        {
            match &written.old {
                Some(old) => drop(by_name.insert(written.name.clone(), old.clone())),
                None => drop(by_name.remove(&written.name)),
            }
        }
        Some(by_name.into_values().collect())
    }

    /// What was written to a kind after a version; an error where that is no longer known: the oldest version that is.
    pub(super) fn since(&self, resource: &str, version: u64) -> Result<Vec<Arc<Written>>, u64> {
        let Some(objects) = self.objects.get(resource) else {
            return Ok(Vec::new());
        };
        if version < objects.compacted {
            return Err(objects.compacted);
        }
        let later = objects.log.iter().filter(|written| written.version > version);
        Ok(later.cloned().collect())
    }

    /// The version of a kind that was newest at a time, as far back as is known.
    pub(super) fn version_at(&self, resource: &str, time: Timestamp) -> u64 {
        let Some(objects) = self.objects.get(resource) else {
            return self.version;
        };
        let later = objects.log.iter().find(|written| written.at > time);
        later.map_or(self.version, |written| written.version - 1)
    }

    /// Forgets what was written to every kind so far: nobody can read on from an earlier version.
    pub(super) fn compact(&mut self) {
        for objects in self.objects.values_mut() {
            objects.log.clear();
            objects.compacted = self.version;
        }
    }

    /// Puts an object where it says that it is, at a version of its own.
    pub(super) fn put(
        &mut self,
        resource: &str,
        mut object: Value,
        owners: Arc<Vec<Value>>,
        at: Timestamp,
    ) -> Arc<Written> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let name = Name::of(&object);
        let new = Arc::new(Stored::new(object, owners));
        let objects = self.objects.entry(resource.to_owned()).or_default();
        let old = objects.by_name.insert(name.clone(), new.clone());
        objects.note(Written {
            version: self.version,
            at,
            name,
            old,
            new: Some(new),
            last: None,
        })
    }

    /// Takes an object away, if it is there.
    pub(super) fn remove(&mut self, resource: &str, name: &Name, at: Timestamp) -> Option<Arc<Written>> {
        let objects = self.objects.get_mut(resource)?;
        let old = objects.by_name.remove(name)?;
        self.version += 1;
        let (mut last, owners) = (old.object.clone(), old.owners.clone());
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        Some(objects.note(Written {
            version: self.version,
            at,
            name: name.clone(),
            old: Some(old),
            new: None,
            last: Some(Arc::new(Stored::new(last, owners))),
        }))
    }
}

impl Objects {
    fn note(&mut self, written: Written) -> Arc<Written> {
        let known_for = SignedDuration::try_from(KNOWN_FOR).unwrap_or(SignedDuration::MAX);
        let since = written.at.saturating_sub(known_for).unwrap_or(Timestamp::MIN);
        while let Some(first) = self.log.pop_front_if(|first| first.at < since) {
            self.compacted = first.version;
        }
        let written = Arc::new(written);
        self.log.push_back(written.clone());
        written
    }
}
