//! What is remembered of every child, in little room: an org has some twenty, and there may be ten thousand orgs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{
    child::{ChildFact, ChildStatus, State, id_of},
    facts::Identity,
    interning::{Texts, Uid},
    live::Live,
};
use crate::resources::child::{ChildId, ChildKind};

/// The children of all orgs. Reading makes a [`ChildFact`] of what is stored.
#[derive(Default)]
pub struct Children {
    rows: RwLock<Rows>,
}

/// What became of what the API server said of a child.
#[derive(Debug, PartialEq, Eq)]
pub enum Update {
    /// It is older than what is known, or says nothing new.
    NothingNew,
    /// Something changed that somebody asks for. Before, the child was this org's.
    News {
        /// None = it was not known, or no org's.
        before: Option<String>,
    },
}

#[derive(Default)]
struct Rows {
    /// By namespace: that of the child, or the Namespace itself.
    namespaces: HashMap<Arc<str>, Vec<Stored>>,
    /// Namespaces in which an org has children: one, as a rule.
    orgs: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// Children of all orgs have the same names and, of their labels, mostly the same values.
    texts: Texts,
    /// Newest version of each kind that its watch has shown, of any child.
    shown: BTreeMap<ChildKind, u64>,
}

/// A child. Whatever only some have is apart.
struct Stored {
    kind: ChildKind,
    deleting: bool,
    name: Arc<str>,
    org: Option<Arc<str>>,
    uid: Uid,
    version: u64,
    digest: u64,
    state: Compact,
    more: Option<Box<More>>,
}

enum Compact {
    Settled(u64),
    New(Box<State>),
}

struct More {
    labels: Pairs,
    annotations: Pairs,
    observed: ChildStatus,
}

/// A map that is only ever read as a whole.
type Pairs = Box<[(Arc<str>, Arc<str>)]>;

impl Children {
    /// Panics of other threads leave the rows whole: no row is ever half in.
    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn write(&self) -> RwLockWriteGuard<'_, Rows> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a child.
    pub fn get(&self, id: &ChildId) -> Option<Arc<ChildFact>> {
        let rows = self.read();
        rows.find(id).map(|stored| Arc::new(stored.fact(bucket(id))))
    }

    /// The children of an org.
    pub fn of(&self, org: &str) -> Vec<Arc<ChildFact>> {
        let rows = self.read();
        let namespaces = rows.orgs.get(org).into_iter().flatten();
        let children = namespaces.flat_map(|namespace| {
            let stored = rows.namespaces.get(namespace).into_iter().flatten();
            stored.map(move |stored| (namespace, stored))
        });
        children
            .filter(|(_, stored)| stored.org.as_deref() == Some(org))
            .map(|(namespace, stored)| Arc::new(stored.fact(namespace)))
            .collect()
    }

    /// A number that is the same while the org has the same children, and each is known to cover the same wanted body.
    pub fn mark(&self, org: &str) -> u64 {
        let rows = self.read();
        let mut hasher = DefaultHasher::new();
        for namespace in rows.orgs.get(org).into_iter().flatten() {
            let stored = rows.namespaces.get(namespace).into_iter().flatten();
            for child in stored.filter(|stored| stored.org.as_deref() == Some(org)) {
                let covers = match child.state {
                    Compact::Settled(wanted) => Some(wanted),
                    Compact::New(_) => None,
                };
                let place = (namespace, child.kind, &child.name);
                (place, &child.uid, child.deleting, covers).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// Every child of a kind.
    pub fn ids(&self, kind: ChildKind) -> BTreeSet<ChildId> {
        let rows = self.read();
        let children = rows.namespaces.iter().flat_map(|(namespace, stored)| {
            let stored = stored.iter().filter(|stored| stored.kind == kind);
            stored.map(|stored| stored.id(namespace))
        });
        children.collect()
    }

    /// The Namespaces whose names end so: those of orgs whose orgId begins so.
    pub fn namespaces_ending(&self, end: &str) -> Vec<Arc<ChildFact>> {
        let rows = self.read();
        let namespaces = rows.namespaces.iter().filter(|(name, _)| name.ends_with(end));
        let found = namespaces.filter_map(|(name, stored)| {
            let namespace = stored.iter().find(|stored| stored.kind == ChildKind::Namespace)?;
            Some(Arc::new(namespace.fact(name)))
        });
        // The first decides: by name, not by chance.
        let mut found: Vec<_> = found.collect();
        found.sort_by(|one, other| one.id.name.cmp(&other.id.name));
        found
    }

    /// Which child an object is, where exactly that version of it is known already: the watch's echo of our own write.
    pub fn echo(&self, kind: ChildKind, live: &Live) -> Option<ChildId> {
        let (id, identity) = (id_of(kind, live), Identity::of(&live.metadata));
        let rows = self.read();
        let stored = rows.find(&id)?;
        let same = stored.version == identity.version && stored.uid.is(&identity.uid);
        same.then_some(id)
    }

    /// Takes in what the watch shows of a child. What a write was answered with may be newer, and stays.
    pub fn observe(&self, fact: ChildFact) -> Update {
        let mut rows = self.write();
        let shown = rows.shown.entry(fact.id.kind).or_default();
        *shown = fact.identity.version.max(*shown);
        rows.take_in(fact)
    }

    /// Takes in what a write was answered with, unless the watch of its kind is past it: the watch shows every version,
    /// in order, so it has told of this one already, and maybe of the child's end.
    pub(super) fn answer(&self, fact: ChildFact) {
        let mut rows = self.write();
        let shown = rows.shown.get(&fact.id.kind);
        if shown.is_none_or(|shown| fact.identity.version > *shown) {
            rows.take_in(fact);
        }
    }

    /// The child at that digest covers the wanted body: its substance need not be kept.
    pub(super) fn settle(&self, id: &ChildId, at: u64, wanted: u64) {
        let mut rows = self.write();
        if let Some(stored) = rows.find_mut(id).filter(|stored| stored.digest == at) {
            stored.state = Compact::Settled(wanted);
        }
    }

    /// Takes a child out, if it has that UID; none = whatever it has.
    pub fn remove(&self, id: &ChildId, uid: Option<&str>) -> Option<ChildFact> {
        let mut rows = self.write();
        let present = rows.find(id)?;
        if uid.is_some_and(|uid| !present.uid.is(uid)) {
            return None;
        }
        rows.take(id)
    }
}

/// Under which namespace a child is kept.
fn bucket(id: &ChildId) -> &str {
    match id.kind {
        ChildKind::Namespace => &id.name,
        _ => &id.namespace,
    }
}

impl Rows {
    fn find(&self, id: &ChildId) -> Option<&Stored> {
        self.namespaces
            .get(bucket(id))?
            .iter()
            .find(|stored| stored.is(id))
    }

    fn find_mut(&mut self, id: &ChildId) -> Option<&mut Stored> {
        let children = self.namespaces.get_mut(bucket(id))?;
        children.iter_mut().find(|stored| stored.is(id))
    }

    fn take_in(&mut self, fact: ChildFact) -> Update {
        let before = self.find(&fact.id).map(|stored| stored.fact(bucket(&fact.id)));
        let Some(before) = before else {
            self.put(fact);
            return Update::News { before: None };
        };
        if before.identity.uid == fact.identity.uid && before.identity.version > fact.identity.version {
            return Update::NothingNew;
        }
        let fact = fact.after(&before);
        let differs = fact.differs(&before);
        self.put(fact);
        if differs {
            Update::News { before: before.org }
        } else {
            Update::NothingNew
        }
    }

    fn put(&mut self, fact: ChildFact) {
        self.take(&fact.id);
        let namespace = self.texts.share(bucket(&fact.id));
        let stored = Stored::new(fact, &mut self.texts);
        if let Some(org) = &stored.org {
            let namespaces = self.orgs.entry(org.clone()).or_default();
            if !namespaces.contains(&namespace) {
                namespaces.reserve_exact(1);
                namespaces.push(namespace.clone());
            }
        }
        let children = self.namespaces.entry(namespace).or_default();
        if children.len() == children.capacity() {
            // A few at a time: doubling would leave up to half of it empty for good.
            children.reserve_exact(4);
        }
        children.push(stored);
    }

    fn take(&mut self, id: &ChildId) -> Option<ChildFact> {
        let namespace = bucket(id);
        let children = self.namespaces.get_mut(namespace)?;
        let at = children.iter().position(|stored| stored.is(id))?;
        let gone = children.swap_remove(at);
        let left_org = gone.org.as_ref().filter(|org| {
            let others = children.iter().filter_map(|stored| stored.org.as_ref());
            !others.into_iter().any(|other| other == *org)
        });
        if let Some(org) = left_org
            && let Some(namespaces) = self.orgs.get_mut(org)
        {
            namespaces.retain(|other| **other != *namespace);
            if namespaces.is_empty() {
                self.orgs.remove(org);
            }
        }
        if children.is_empty() {
            self.namespaces.remove(namespace);
        }
        Some(gone.fact(namespace))
    }
}

fn pairs(map: &BTreeMap<String, String>, texts: &mut Texts) -> Pairs {
    map.iter()
        .map(|(name, value)| (texts.share(name), texts.share(value)))
        .collect()
}

fn map(pairs: &Pairs) -> BTreeMap<String, String> {
    let owned = |(name, value): &(Arc<str>, Arc<str>)| (name.to_string(), value.to_string());
    pairs.iter().map(owned).collect()
}

impl Stored {
    fn new(fact: ChildFact, texts: &mut Texts) -> Self {
        let has_more =
            !fact.labels.is_empty() || !fact.annotations.is_empty() || fact.observed != ChildStatus::Nothing;
        Self {
            kind: fact.id.kind,
            deleting: fact.deleting,
            name: texts.share(&fact.id.name),
            org: fact.org.as_deref().map(|org| texts.share(org)),
            uid: fact.identity.uid.as_str().into(),
            version: fact.identity.version,
            digest: fact.digest,
            state: match fact.state {
                State::Settled(wanted) => Compact::Settled(wanted),
                new @ State::New { .. } => Compact::New(Box::new(new)),
            },
            more: has_more.then(|| {
                Box::new(More {
                    labels: pairs(&fact.labels, texts),
                    annotations: pairs(&fact.annotations, texts),
                    observed: fact.observed,
                })
            }),
        }
    }

    fn is(&self, id: &ChildId) -> bool {
        self.kind == id.kind && *self.name == id.name
    }

    fn id(&self, namespace: &str) -> ChildId {
        ChildId {
            kind: self.kind,
            namespace: match self.kind {
                ChildKind::Namespace => String::new(),
                _ => namespace.to_owned(),
            },
            name: self.name.to_string(),
        }
    }

    fn fact(&self, namespace: &str) -> ChildFact {
        let more = self.more.as_deref();
        ChildFact {
            id: self.id(namespace),
            identity: Identity {
                uid: self.uid.to_string(),
                version: self.version,
            },
            org: self.org.as_deref().map(str::to_owned),
            labels: more.map(|more| map(&more.labels)).unwrap_or_default(),
            annotations: more.map(|more| map(&more.annotations)).unwrap_or_default(),
            deleting: self.deleting,
            observed: more.map_or(ChildStatus::Nothing, |more| more.observed.clone()),
            digest: self.digest,
            state: match &self.state {
                Compact::Settled(wanted) => State::Settled(*wanted),
                Compact::New(state) => (**state).clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_mark_of_an_orgs_children_is_another_when_any_of_them_is() {
        let children = Children::default();
        let put = |uid: &str, version, replicas| {
            children.observe(fact(ChildKind::Deployment, Some("acme"), uid, version, replicas));
        };
        let nothing = children.mark("acme");
        put("u1", 1, 1);
        let found = children.mark("acme");
        assert_ne!(found, nothing);
        let web = children.of("acme").remove(0);
        children.settle(&web.id, web.digest, 7);
        let settled = children.mark("acme");
        assert_ne!(settled, found);
        children.observe(fact(ChildKind::Deployment, Some("other"), "u9", 9, 1));
        children.remove(&web.id, None);
        assert_eq!(children.mark("acme"), nothing);
        put("u1", 10, 1);
        assert_eq!(children.mark("acme"), found, "it is not compared yet");
        put("u1", 11, 2);
        assert_eq!(children.mark("acme"), found, "nor is it now");
        put("u2", 12, 2);
        assert_ne!(children.mark("acme"), found, "it was made anew");
        assert_eq!(children.mark("other"), nothing, "it was made acme's");
    }

    fn fact(kind: ChildKind, org: Option<&str>, uid: &str, version: u64, replicas: i64) -> ChildFact {
        let namespace = (kind != ChildKind::Namespace).then_some("n");
        let name = if kind == ChildKind::Namespace { "n" } else { "web" };
        let object = json!({
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": version.to_string(),
                "labels": {"platform.tray.ai/org": org}},
            "spec": {"replicas": replicas},
        });
        let mut object = object;
        if org.is_none() {
            object["metadata"]["labels"] = json!({});
        }
        ChildFact::of(kind, &serde_json::from_value(object).unwrap())
    }
    fn deployment(org: &str, uid: &str, version: u64, replicas: i64) -> ChildFact {
        fact(ChildKind::Deployment, Some(org), uid, version, replicas)
    }
    fn news(before: Option<&str>) -> Update {
        Update::News {
            before: before.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_read_is_what_was_put_in() {
        let children = Children::default();
        for put in [
            deployment("acme", "u", 5, 2),
            fact(ChildKind::Namespace, Some("acme"), "v", 1, 0),
        ] {
            assert_eq!(children.observe(put.clone()), news(None));
            assert_eq!(*children.get(&put.id).unwrap(), put);
            assert_eq!(children.ids(put.id.kind), [put.id].into());
        }
        assert_eq!(children.of("acme").len(), 2);
    }

    #[test]
    fn an_echo_is_known_by_its_version() {
        let live = |uid: &str, version: &str| {
            let metadata = json!({"name": "web", "namespace": "n", "uid": uid, "resourceVersion": version});
            serde_json::from_value::<Live>(json!({"metadata": metadata})).unwrap()
        };
        let children = Children::default();
        children.observe(deployment("acme", "u1", 5, 2));
        let is_echo = |uid, version| {
            children
                .echo(ChildKind::Deployment, &live(uid, version))
                .is_some()
        };
        assert!(is_echo("u1", "5"));
        assert!(!is_echo("u1", "6") && !is_echo("u2", "5"));
    }

    #[test]
    fn an_older_version_of_the_same_object_is_stale_and_another_object_is_not() {
        let children = Children::default();
        children.observe(deployment("acme", "u1", 5, 2));
        assert_eq!(
            children.observe(deployment("acme", "u1", 4, 3)),
            Update::NothingNew
        );
        assert_eq!(
            children.observe(deployment("acme", "u1", 6, 2)),
            Update::NothingNew
        );
        assert_eq!(
            children.observe(deployment("acme", "u1", 7, 3)),
            news(Some("acme"))
        );
        assert_eq!(
            children.observe(deployment("acme", "u2", 3, 3)),
            news(Some("acme"))
        );
    }

    #[test]
    fn an_answer_is_news_until_the_watch_of_its_kind_is_past_it() {
        let children = Children::default();
        let id = deployment("acme", "u1", 1, 2).id;
        let version = || children.get(&id).map(|known| known.identity.version);
        children.observe(fact(ChildKind::Namespace, Some("acme"), "v", 9, 0));
        children.answer(deployment("acme", "u1", 6, 2));
        children.observe(deployment("acme", "u1", 5, 2));
        assert_eq!(version(), Some(6), "the watch is behind");
        children.observe(deployment("acme", "u1", 7, 2));
        children.remove(&id, Some("u1"));
        children.answer(deployment("acme", "u1", 7, 2));
        assert_eq!(version(), None, "what is gone is not brought back");
        children.answer(deployment("acme", "u1", 8, 2));
        assert_eq!(version(), Some(8), "it had lost its label and has it again");
    }

    #[test]
    fn a_settled_child_keeps_no_substance_until_it_changes() {
        let children = Children::default();
        let first = deployment("acme", "u", 1, 2);
        children.observe(first.clone());
        children.settle(&first.id, first.digest + 1, 7);
        assert!(
            matches!(children.get(&first.id).unwrap().state, State::New { .. }),
            "another digest"
        );
        children.settle(&first.id, first.digest, 7);
        children.observe(deployment("acme", "u", 2, 2));
        assert_eq!(children.get(&first.id).unwrap().state, State::Settled(7));
        children.observe(deployment("acme", "u", 3, 9));
        let edited = children.get(&first.id).unwrap();
        assert!(matches!(&edited.state, State::New { before: Some(7), .. }));
    }

    #[test]
    fn a_deletion_of_a_former_object_leaves_the_present_one() {
        let children = Children::default();
        let present = deployment("acme", "u2", 1, 2);
        children.observe(present.clone());
        assert_eq!(children.remove(&present.id, Some("u1")), None);
        assert!(children.remove(&present.id, Some("u2")).is_some());
        assert!(children.get(&present.id).is_none() && children.of("acme").is_empty());
        let rows = children.read();
        assert!(
            rows.orgs.is_empty() && rows.namespaces.is_empty(),
            "nothing is left behind"
        );
    }

    #[test]
    fn a_child_changes_orgs_with_its_label() {
        let children = Children::default();
        children.observe(deployment("acme", "u", 1, 2));
        children.observe(fact(ChildKind::Namespace, Some("acme"), "v", 1, 0));
        assert_eq!(
            children.observe(deployment("other", "u", 2, 2)),
            news(Some("acme"))
        );
        assert_eq!((children.of("acme").len(), children.of("other").len()), (1, 1));
        let without = fact(ChildKind::Deployment, None, "u", 3, 2);
        assert_eq!(children.observe(without), news(Some("other")));
        assert!(children.of("other").is_empty());
    }
}
