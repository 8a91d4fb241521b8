//! An API server in memory, behind the service of `kube::Client`: no sockets, no threads, no time but that which it is given.
//!
//! It answers what the operator's adapters ask, for any kind in its table, by the rules of the real one as far as they
//! matter to a client: `docs/simulation.md` says which, and what is left out. The same calls in the same order, with the same
//! clock and the same random numbers, give the same answers.
//!
//! - [`ApiServer::client`] is for who is tested.
//! - [`ApiServer::put`], [`ApiServer::change`] and the rest of that page are for the world: nodes and controllers of
//!   Kubernetes, which are not here.
//! - [`Faults`] decides what goes wrong, [`Admission`] what policies refuse, [`ApiServer::trace`] tells what was asked.

mod admission;
mod answer;
mod connection;
mod deletion;
mod discovery;
mod failure;
mod faults;
mod fields;
mod immutable;
mod kinds;
mod listeners;
mod merge;
mod object;
mod request;
mod selector;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod trace;
mod watch;
mod world;
mod writes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use serde_json::json;
use tray_ports::Clock;

pub use self::{
    admission::{Admission, Review},
    connection::Connection,
    failure::{busy, failure},
    faults::{Cut, Fate, Faults, NoFaults, Outcome},
    kinds::{ServedKind, Trait, of_kubernetes},
    object::{Name, Object},
    request::{Call, Verb},
    trace::{Observer, Traced},
    watch::Pace,
    world::{Change, Changes},
};
use self::{state::State, trace::Trace};

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// An API server. A clone is the same server.
#[derive(Clone)]
pub struct ApiServer(Arc<Mutex<State>>);

impl ApiServer {
    /// A server of those kinds, with the namespaces that every cluster has. `random` is what UIDs and made-up names come
    /// from.
    pub fn new(
        kinds: impl IntoIterator<Item = ServedKind>,
        clock: Arc<dyn Clock>,
        random: impl FnMut() -> u64 + Send + 'static,
    ) -> Self {
        let server = Self(Arc::new(Mutex::new(State::new(clock, Box::new(random)))));
        for kind in kinds {
            server.serve(kind);
        }
        for name in NAMESPACES {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            // Refused only where namespaces are not served.
            let _ = server.put(namespace);
        }
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that asks as `user`: the name by which faults, admission and the trace know it.
    pub fn client(&self, user: &str) -> Client {
        Client::new(self.connection(user), "default")
    }

    /// What is below such a client, for who puts layers in between.
    pub fn connection(&self, user: &str) -> Connection {
        Connection::new(self.clone(), user)
    }

    /// Serves a kind from now on, as after its CRD is established.
    pub fn serve(&self, kind: ServedKind) {
        self.state().store.serve(kind);
    }

    /// Serves a kind no more: its objects are gone, and its watches end.
    pub fn withdraw(&self, resource: &str) {
        let mut state = self.state();
        state.store.withdraw(resource);
        state
            .listeners
            .cut(Cut::Ended, |watch| watch.resource == resource);
    }

    /// Has `faults` decide what goes wrong from now on.
    pub fn set_faults(&self, faults: impl Faults + 'static) {
        self.state().faults = Box::new(faults);
    }

    /// Has `admission` decide which writes are let in from now on.
    pub fn set_admission(&self, admission: impl Admission + 'static) {
        self.state().admission = Some(Box::new(admission));
    }

    /// Ends watches now.
    pub fn cut_watches(&self, cut: Cut, which: impl FnMut(&Call) -> bool) {
        self.state().listeners.cut(cut, which);
    }

    /// The watches that are open, in the order in which they began.
    pub fn watches(&self) -> Vec<Call> {
        self.state().listeners.watches().cloned().collect()
    }

    /// Forgets what was written: a watch that comes back begins anew.
    pub fn compact(&self) {
        self.state().store.compact();
    }

    /// What was asked so far, in order.
    pub fn trace(&self) -> Vec<Traced> {
        self.state().trace.kept().cloned().unwrap_or_default()
    }

    /// The same, and forgets it: a long simulation reads it now and then.
    pub fn take_trace(&self) -> Vec<Traced> {
        self.state().trace.kept().map(std::mem::take).unwrap_or_default()
    }

    /// Has `observer` be told of what is asked from now on; no trace is kept any more.
    pub fn set_observer(&self, observer: impl Observer + 'static) {
        self.state().trace = Trace::Told(Box::new(observer));
    }

    /// Sets how often watches speak and how long they last, from the next ones on.
    pub fn set_pace(&self, pace: Pace) {
        self.state().pace = pace;
    }

    /// From now on `managedFields` are shown by a GET of one object alone: of what is sent and read again they are most, and a
    /// simulated year need not carry them.
    pub fn be_terse(&self) {
        self.state().shows_owners = false;
    }
}
