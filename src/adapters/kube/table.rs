//! A table of what a watch has shown: rows by key, and by group.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// What a [`Table`] holds.
pub trait Row {
    /// What finds it.
    type Key: Ord + Clone;
    /// What finds it.
    fn key(&self) -> Self::Key;
    /// UID of the object it is about.
    fn uid(&self) -> &str;
    /// `resourceVersion` of the object it is about. The API server counts upwards.
    fn version(&self) -> u64;
    /// Rows of one group are found together; none = in no group.
    fn group(&self) -> Option<&str> {
        None
    }
}

/// Rows by key. Reading clones an `Arc`.
pub struct Table<R: Row> {
    rows: RwLock<Rows<R>>,
}

struct Rows<R: Row> {
    by_key: BTreeMap<R::Key, Arc<R>>,
    /// In order. Most groups have one or a few: a tree each would be mostly empty.
    groups: BTreeMap<String, Vec<R::Key>>,
    /// Newest version that the watch has shown, of any of its objects.
    shown: u64,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: RwLock::new(Rows {
                by_key: BTreeMap::new(),
                groups: BTreeMap::new(),
                shown: 0,
            }),
        }
    }
}

/// What became of a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Put<R> {
    /// It is older than what is known, which stays.
    Stale,
    /// It is in; before it there was this.
    Done(Option<Arc<R>>),
}

impl<R: Row> Table<R> {
    /// Panics of other threads leave a table whole: no row is ever half in.
    fn read(&self) -> RwLockReadGuard<'_, Rows<R>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn write(&self) -> RwLockWriteGuard<'_, Rows<R>> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of that key.
    pub fn get(&self, key: &R::Key) -> Option<Arc<R>> {
        self.read().by_key.get(key).cloned()
    }

    /// Every row, by key.
    pub fn all(&self) -> Vec<Arc<R>> {
        self.read().by_key.values().cloned().collect()
    }

    /// The rows of a group, by key.
    pub fn of(&self, group: &str) -> Vec<Arc<R>> {
        let rows = self.read();
        let keys = rows.groups.get(group).into_iter().flatten();
        keys.filter_map(|key| rows.by_key.get(key).cloned()).collect()
    }

    /// Every key.
    pub fn keys(&self) -> BTreeSet<R::Key> {
        self.read().by_key.keys().cloned().collect()
    }

    /// Puts in what the watch shows, unless a newer row of the same object is there: what a write was answered with may
    /// be newer than what the watch shows a moment later.
    pub fn put(&self, row: R) -> Put<R> {
        let mut rows = self.write();
        rows.shown = rows.shown.max(row.version());
        rows.put(row)
    }

    /// Puts in what a write was answered with, unless the watch is past it: the watch shows every version, in order, so
    /// it has told of this one already, and maybe of the object's end.
    pub fn answer(&self, row: R) -> Put<R> {
        let mut rows = self.write();
        if row.version() <= rows.shown {
            return Put::Stale;
        }
        rows.put(row)
    }

    /// Takes a row out, if it is about the object of that UID; none = whatever it is about.
    pub fn remove(&self, key: &R::Key, uid: Option<&str>) -> Option<Arc<R>> {
        let mut rows = self.write();
        let present = rows.by_key.get(key)?;
        if uid.is_some_and(|uid| uid != present.uid()) {
            return None;
        }
        let gone = rows.by_key.remove(key)?;
        if let Some(group) = gone.group() {
            rows.leave(group, key);
        }
        Some(gone)
    }
}

impl<R: Row> Rows<R> {
    fn put(&mut self, row: R) -> Put<R> {
        let key = row.key();
        let newer = |present: &Arc<R>| present.uid() == row.uid() && present.version() > row.version();
        if self.by_key.get(&key).is_some_and(newer) {
            return Put::Stale;
        }
        let before = self.by_key.remove(&key);
        if let Some(group) = before.as_ref().and_then(|before| before.group()) {
            self.leave(group, &key);
        }
        if let Some(group) = row.group() {
            self.join(group, &key);
        }
        self.by_key.insert(key, Arc::new(row));
        Put::Done(before)
    }

    fn join(&mut self, group: &str, key: &R::Key) {
        let keys = self.groups.entry(group.to_owned()).or_default();
        if let Err(place) = keys.binary_search(key) {
            if keys.is_empty() {
                keys.reserve_exact(1);
            }
            keys.insert(place, key.clone());
        }
    }

    fn leave(&mut self, group: &str, key: &R::Key) {
        if let Some(keys) = self.groups.get_mut(group) {
            if let Ok(place) = keys.binary_search(key) {
                keys.remove(place);
            }
            if keys.is_empty() {
                self.groups.remove(group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Thing {
        name: &'static str,
        uid: &'static str,
        version: u64,
        group: Option<&'static str>,
    }
    impl Row for Thing {
        type Key = &'static str;
        fn key(&self) -> &'static str {
            self.name
        }
        fn uid(&self) -> &str {
            self.uid
        }
        fn version(&self) -> u64 {
            self.version
        }
        fn group(&self) -> Option<&str> {
            self.group
        }
    }
    fn thing(uid: &'static str, version: u64, group: Option<&'static str>) -> Thing {
        Thing {
            name: "a",
            uid,
            version,
            group,
        }
    }

    #[test]
    fn an_older_version_of_the_same_object_is_stale_and_another_object_is_not() {
        let table = Table::default();
        assert_eq!(table.put(thing("u1", 5, None)), Put::Done(None));
        assert_eq!(table.put(thing("u1", 4, None)), Put::Stale);
        assert_eq!(table.get(&"a").unwrap().version, 5);
        assert!(matches!(table.put(thing("u2", 3, None)), Put::Done(Some(_))));
    }

    #[test]
    fn a_deletion_of_a_former_object_leaves_the_present_one() {
        let table = Table::default();
        table.put(thing("u2", 1, Some("g")));
        assert_eq!(table.remove(&"a", Some("u1")), None);
        assert!(table.remove(&"a", Some("u2")).is_some());
        assert!(table.of("g").is_empty());
    }

    #[test]
    fn an_answer_is_news_until_the_watch_is_past_it() {
        let table = Table::default();
        table.put(thing("u1", 5, None));
        assert!(matches!(table.answer(thing("u1", 6, None)), Put::Done(Some(_))));
        assert_eq!(table.put(thing("u1", 5, None)), Put::Stale, "the watch is behind");
        table.put(thing("u1", 7, None));
        table.remove(&"a", Some("u1"));
        assert_eq!(table.answer(thing("u1", 7, None)), Put::Stale);
        assert_eq!(table.get(&"a"), None, "what is gone is not brought back");
        assert_eq!(table.answer(thing("u2", 8, None)), Put::Done(None));
    }

    #[test]
    fn rows_change_groups() {
        let table = Table::default();
        table.put(thing("u", 1, Some("g")));
        table.put(thing("u", 2, Some("h")));
        assert!(table.of("g").is_empty());
        assert_eq!(table.of("h").len(), 1);
        table.put(thing("u", 3, None));
        assert!(table.of("h").is_empty());
    }
}
