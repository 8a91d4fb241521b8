//! One watch per kind, shared by all controllers. Of an object only what somebody asks for is kept; what changed is
//! published.

mod children;
mod facts;
mod own;

use std::sync::Arc;

use tokio::task::JoinSet;
use tray_api::{kinds::Kind, with_kind};
use tray_domain::names;

use self::{
    children::{children, optional},
    facts::facts,
    own::own,
};
use super::context::Context;
use crate::{
    adapters::kube::facts::{JobFact, NodeFact, PodFact, StorageClassFact, VolumeFact},
    resources::child::ChildKind,
    telemetry::readiness::Readiness,
};

/// Starts every watch. `readiness` waits for each until everything there is has been read.
pub fn start(ctx: &Arc<Context>, readiness: &Arc<Readiness>) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    for kind in Kind::ALL {
        with_kind!(kind, K => own::<K>(&mut watches, ctx, readiness));
    }
    facts::<NodeFact>(&mut watches, ctx, readiness, "");
    facts::<StorageClassFact>(&mut watches, ctx, readiness, "");
    // All of them: a label that was taken off must not hide a pod.
    facts::<PodFact>(&mut watches, ctx, readiness, "");
    facts::<VolumeFact>(&mut watches, ctx, readiness, "");
    let movers = format!("{}={}", names::LABEL_COMPONENT, names::COMPONENT_MOVER);
    facts::<JobFact>(&mut watches, ctx, readiness, &movers);
    for kind in ChildKind::ALL {
        if !kind.is_optional() {
            let sync = Sync::new(readiness, kind.plural());
            watches.spawn(children(ctx.clone(), kind, sync));
        } else if ctx.settings.webhooks {
            watches.spawn(optional(ctx.clone(), kind, readiness.clone()));
        }
    }
    watches
}

/// Tells readiness of the first sync of one watch.
struct Sync {
    readiness: Arc<Readiness>,
    name: String,
}

impl Sync {
    fn new(readiness: &Arc<Readiness>, name: impl Into<String>) -> Self {
        let name = name.into();
        readiness.needs(&name);
        Self {
            readiness: readiness.clone(),
            name,
        }
    }
    /// Of a watch that begins later: nobody waits for it.
    fn late(readiness: &Arc<Readiness>, name: impl Into<String>) -> Self {
        Self {
            readiness: readiness.clone(),
            name: name.into(),
        }
    }
    fn done(&self) {
        self.readiness.has(&self.name);
    }
}
