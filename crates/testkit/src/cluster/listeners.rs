//! Who is told of writes: the watches of clients, and the world.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    faults::{Cut, Faults},
    request::Call,
    selector::Filter,
    store::Written,
};

/// What finds a listener.
pub(super) type ListenerId = u64;

/// Everybody who is told of writes, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    next: ListenerId,
    by_id: BTreeMap<ListenerId, Listener>,
}

/// Somebody who is told of writes.
#[derive(Debug)]
pub(super) struct Listener {
    /// Empty = of every kind.
    resources: BTreeSet<String>,
    filter: Filter,
    /// The watch that it is; none = the world itself, which is told at once.
    watch: Option<Call>,
    queue: VecDeque<Told>,
    cut: Option<Cut>,
    woken: Arc<Notify>,
}

/// A write that is on its way to a listener.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) due: Instant,
    pub(super) resource: String,
    pub(super) written: Arc<Written>,
}

/// What a listener is to do.
#[derive(Debug)]
pub(super) enum Next {
    /// Tell this now.
    Tell(Told),
    /// Nothing is due before then; none = nothing is on its way.
    Wait(Option<Instant>),
    /// End in this way.
    End(Cut),
}

impl Listeners {
    /// Listens to kinds (none = all), and to those objects alone that the filter selects.
    pub(super) fn join(
        &mut self,
        resources: impl IntoIterator<Item = String>,
        filter: Filter,
        watch: Option<Call>,
    ) -> (ListenerId, Arc<Notify>) {
        self.next += 1;
        let woken = Arc::new(Notify::new());
        let listener = Listener {
            resources: resources.into_iter().collect(),
            filter,
            watch,
            queue: VecDeque::new(),
            cut: None,
            woken: woken.clone(),
        };
        self.by_id.insert(self.next, listener);
        (self.next, woken)
    }

    pub(super) fn leave(&mut self, id: ListenerId) {
        self.by_id.remove(&id);
    }

    /// Tells of what was written before somebody began to listen.
    pub(super) fn catch_up(&mut self, id: ListenerId, resource: &str, before: Vec<Arc<Written>>) {
        if let Some(listener) = self.by_id.get_mut(&id) {
            for written in before {
                listener.tell(resource, &written, Instant::now());
            }
        }
    }

    /// Tells everybody whom it concerns.
    pub(super) fn tell(&mut self, resource: &str, written: &Arc<Written>, faults: &mut dyn Faults) {
        for listener in self.by_id.values_mut() {
            if listener.hears(resource, written) {
                let lag = listener.watch.as_ref().map(|watch| faults.lag(watch, written.at));
                listener.tell(resource, written, Instant::now() + lag.unwrap_or_default());
            }
        }
    }

    /// What a listener is to do; what it is to tell is taken off its queue.
    pub(super) fn next(&mut self, id: ListenerId) -> Next {
        let Some(listener) = self.by_id.get_mut(&id) else {
            return Next::End(Cut::Ended);
        };
        if let Some(cut) = listener.cut {
            return Next::End(cut);
        }
        let now = Instant::now();
        match listener.queue.pop_front_if(|told| told.due <= now) {
            Some(told) => Next::Tell(told),
            None => Next::Wait(listener.queue.front().map(|told| told.due)),
        }
    }

    /// Ends watches.
    pub(super) fn cut(&mut self, cut: Cut, mut which: impl FnMut(&Call) -> bool) {
        for listener in self.by_id.values_mut() {
            if listener.watch.as_ref().is_some_and(&mut which) {
                listener.cut = Some(cut);
                listener.woken.notify_one();
            }
        }
    }

    /// The watches that are open, in the order in which they began.
    pub(super) fn watches(&self) -> impl Iterator<Item = &Call> {
        self.by_id.values().filter_map(|listener| listener.watch.as_ref())
    }
}

impl Listener {
    fn hears(&self, resource: &str, written: &Written) -> bool {
        let is_of_kind = self.resources.is_empty() || self.resources.contains(resource);
        let selects = |stored: &Option<_>| {
            stored
                .as_ref()
                .is_some_and(|stored: &Arc<super::object::Stored>| self.filter.selects(&stored.object))
        };
        is_of_kind && (selects(&written.old) || selects(&written.new))
    }

    /// Not before what was told before it.
    fn tell(&mut self, resource: &str, written: &Arc<Written>, due: Instant) {
        let after = self.queue.back().map(|told| told.due);
        self.queue.push_back(Told {
            due: after.map_or(due, |after| after.max(due)),
            resource: resource.to_owned(),
            written: written.clone(),
        });
        self.woken.notify_one();
    }
}
