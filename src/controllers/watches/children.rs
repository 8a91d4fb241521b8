//! Watches of what orgs consist of.

use std::{collections::BTreeSet, sync::Arc};

use tokio::task::JoinSet;
use tracing::info;
use tray_domain::names;

use super::Sync;
use crate::{
    adapters::kube::{child::ChildFact, children::Update, live::Live, watch::Watched},
    controllers::{changes::Change, context::Context},
    resources::child::{ChildId, ChildKind},
    telemetry::readiness::Readiness,
};

struct Children {
    kind: ChildKind,
    ctx: Arc<Context>,
    sync: Sync,
}

impl Children {
    fn publish(&self, id: &ChildId, org: Option<String>) {
        self.ctx.changes.publish(&Change::Child {
            org: org.unwrap_or_default(),
            id: id.clone(),
        });
    }
}

/// Follows the children of one kind, for ever.
pub(super) async fn children(ctx: Arc<Context>, kind: ChildKind, sync: Sync) {
    let ours = format!("{}={}", names::LABEL_MANAGED_BY, names::OPERATOR);
    let watches = ctx.watches.clone();
    watches
        .follow_children(kind, &ours, Children { kind, ctx, sync })
        .await;
}

/// Follows the children of a kind while the cluster serves it. At a start everything is known only when it is known
/// whether it does, and if so, which there are.
pub(super) async fn optional(ctx: Arc<Context>, kind: ChildKind, readiness: Arc<Readiness>) {
    let crd = kind.crd();
    let first = Sync::new(&readiness, &crd);
    // Dropping it ends what runs in it.
    let mut running: Option<JoinSet<()>> = None;
    let tell = |is_served: bool| {
        if is_served && running.is_none() {
            let sync = if readiness.missing().contains(&crd) {
                Sync::new(&readiness, kind.plural())
            } else {
                Sync::late(&readiness, kind.plural())
            };
            info!(%kind, "is served");
            running
                .insert(JoinSet::new())
                .spawn(children(ctx.clone(), kind, sync));
        } else if !is_served && running.take().is_some() {
            info!(%kind, "is served no more");
            let children = &ctx.index.children;
            for id in children.ids(kind) {
                children.remove(&id, None);
            }
            serve(&ctx, kind, false);
        }
        first.done();
    };
    ctx.watches.follow_crd(&crd, kind.group_version().1, tell).await;
}

/// Takes down whether an optional kind is served.
fn serve(ctx: &Context, kind: ChildKind, is_served: bool) {
    if ctx.index.set_served(kind, is_served) {
        ctx.changes.publish(&Change::GatewayApi);
    }
}

impl Watched for Children {
    type Object = Live;
    type Key = ChildId;

    fn put(&self, object: Live, _: bool) -> ChildId {
        if let Some(id) = self.ctx.index.children.echo(self.kind, &object) {
            return id;
        }
        let fact = ChildFact::of(self.kind, &object);
        let (id, org) = (fact.id.clone(), fact.org.clone());
        if let Update::News { before } = self.ctx.index.children.observe(fact) {
            // Whose it was has to know, too, where somebody changed the org's label.
            if before.is_some() && before != org {
                self.publish(&id, before);
            }
            self.publish(&id, org);
        }
        id
    }

    fn delete(&self, object: Live) {
        let fact = ChildFact::of(self.kind, &object);
        let gone = self.ctx.index.children.remove(&fact.id, Some(&fact.identity.uid));
        if let Some(gone) = gone {
            self.publish(&gone.id, gone.org);
        }
    }

    fn known(&self) -> BTreeSet<ChildId> {
        self.ctx.index.children.ids(self.kind)
    }

    fn vanish(&self, id: &ChildId) {
        if let Some(gone) = self.ctx.index.children.remove(id, None) {
            self.publish(&gone.id, gone.org);
        }
    }

    fn synced(&self) {
        if self.kind.is_optional() {
            serve(&self.ctx, self.kind, true);
        }
        self.sync.done();
    }
}
