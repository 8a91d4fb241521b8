//! An org's webhook host: its token, its route, and what its status says of them. An org is ready without it.
//!
//! The Secret decides what the tokens are. It is read once after a start, for an org whose route is there already, and
//! written when a token is made, replaced or too old; otherwise the tokens are remembered, with the version they were at.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::ResourceExt;
use tracing::warn;
use tray_api::conditions::reasons;
use tray_domain::{
    names,
    webhook_tokens::{self, Tokens},
};

use super::{apply, validate::Valid};
use crate::{
    adapters::kube::{
        child::RouteFact,
        events::Severity,
        webhook_secret::{Recorded, Written, random_token},
    },
    controllers::{
        blocked::{Blocked, LATER},
        conditions::{ConditionFact, Truth},
        context::Context,
        until,
        view::{org::OrgView, region::webhook_fault},
    },
    resources::{
        child::{ChildId, ChildKind, DesiredChild},
        org::{
            Placement, access,
            webhook::{self, Webhook},
        },
    },
};

/// What is to be done about an org's webhook host.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Exposure<'a> {
    /// No workload takes webhooks.
    Unwanted,
    /// It cannot be had.
    Impossible(ConditionFact),
    /// It leads there.
    To(Webhook<'a>),
}

/// Decides it. Pure.
pub(super) fn exposure(valid: &Valid, webhooks: bool, has_gateway_api: bool) -> Exposure<'_> {
    let Some(workload) = webhook::workload(&valid.effective.workloads) else {
        return Exposure::Unwanted;
    };
    let Some(webhook) = Webhook::of(&valid.regional.spec, &valid.effective.workloads) else {
        let message = format!(
            "workload {} has webhook, and Region {} has no spec.ingress: set it there, or remove webhook",
            workload.name,
            valid.region.name_any(),
        );
        return Exposure::Impossible(ConditionFact::new(false, reasons::INGRESS_MISSING, message));
    };
    match webhook_fault(webhooks, has_gateway_api) {
        Some(fault) => Exposure::Impossible(fault),
        None => Exposure::To(webhook),
    }
}

impl Exposure<'_> {
    /// The children that it takes: none of those of [`crate::resources::org::children`].
    pub(super) fn children(&self, placement: &Placement) -> Vec<ChildId> {
        match self {
            Self::To(_) => vec![webhook::route_id(placement), webhook::grant(placement).id],
            Self::Unwanted | Self::Impossible(_) => Vec::new(),
        }
    }
}

/// What a pass found out about the webhook host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WebhookFindings {
    /// Condition WebhookReady; none where no workload takes webhooks.
    pub condition: Option<ConditionFact>,
    /// When it has to be looked at again, even if nothing changes.
    pub again: Option<Duration>,
}

/// The tokens that are known, by name of the org.
#[derive(Default)]
pub(super) struct KnownTokens {
    by_org: Mutex<HashMap<String, (String, Recorded)>>,
}

impl KnownTokens {
    fn get(&self, placement: &Placement) -> Option<Recorded> {
        let by_org = self.by_org.lock().unwrap_or_else(PoisonError::into_inner);
        let (namespace, recorded) = by_org.get(&placement.org)?;
        (*namespace == placement.namespace).then(|| recorded.clone())
    }

    fn put(&self, placement: &Placement, recorded: Recorded) {
        let mut by_org = self.by_org.lock().unwrap_or_else(PoisonError::into_inner);
        by_org.insert(placement.org.clone(), (placement.namespace.clone(), recorded));
    }

    /// Of an org that is gone.
    pub(super) fn forget(&self, org: &str) {
        let mut by_org = self.by_org.lock().unwrap_or_else(PoisonError::into_inner);
        by_org.remove(org);
    }
}

/// Makes the route lead where it should, and says how it fares. What fails is tried again, and keeps nothing else of the
/// org back.
pub(super) async fn expose(
    ctx: &Context,
    known: &KnownTokens,
    observed: &OrgView,
    valid: &Valid,
    exposure: &Exposure<'_>,
    now: Timestamp,
) -> WebhookFindings {
    let tried = try_expose(ctx, known, observed, valid, exposure, now).await;
    tried.unwrap_or_else(|blocked| {
        warn!(failure = %blocked, "the webhook host is not as it should be");
        let said = ConditionFact::new(Truth::Unknown, reasons::RETRYING, blocked.message);
        WebhookFindings {
            condition: Some(said),
            again: Some(LATER),
        }
    })
}

async fn try_expose(
    ctx: &Context,
    known: &KnownTokens,
    observed: &OrgView,
    valid: &Valid,
    exposure: &Exposure<'_>,
    now: Timestamp,
) -> Result<WebhookFindings, Blocked> {
    let webhook = match exposure {
        Exposure::Unwanted => return Ok(WebhookFindings::default()),
        Exposure::Impossible(fact) => {
            return Ok(WebhookFindings {
                condition: Some(fact.clone()),
                again: None,
            });
        }
        Exposure::To(webhook) => webhook,
    };
    let placement = &valid.placement;
    if !may_enter(ctx, placement) {
        // Whatever kept the operator out is told, and brings the next pass.
        return Ok(WebhookFindings {
            condition: Some(pending()),
            again: None,
        });
    }
    let tokens = tokens(ctx, known, observed, placement, now).await?;
    let route = webhook::route(placement, webhook, &tokens, observed.is_suspended());
    let mut refused = None;
    for child in [webhook::grant(placement), route] {
        refused = refused.or(ensure(ctx, &child, &tokens).await?);
    }
    if let Some(refused) = refused {
        return Ok(WebhookFindings {
            condition: Some(refused.fact()),
            again: refused.again,
        });
    }
    let route = ctx.index.children.get(&webhook::route_id(placement));
    let fact = route.as_ref().and_then(|route| route.observed.route());
    Ok(WebhookFindings {
        condition: Some(condition(fact, observed.is_suspended(), webhook, &tokens)),
        again: tokens.changes_at().map(|at| until(at, now)),
    })
}

/// Whether the operator has its rights in the org's namespace.
fn may_enter(ctx: &Context, placement: &Placement) -> bool {
    let binding = ChildId {
        kind: ChildKind::RoleBinding,
        namespace: placement.namespace.clone(),
        name: access::OPERATOR_BINDING.to_owned(),
    };
    let binding = ctx.index.children.get(&binding);
    binding.is_some_and(|binding| !binding.deleting)
}

async fn ensure(ctx: &Context, child: &DesiredChild, tokens: &Tokens) -> Result<Option<Blocked>, Blocked> {
    let Err(error) = ctx.cluster.ensure(child).await else {
        return Ok(None);
    };
    // What the API server says of a route may quote it.
    let hidden = |blocked: Blocked| {
        let message = tokens.hide(&blocked.message);
        blocked.saying(message)
    };
    match apply::refusal(error, false) {
        Ok(refused) => Ok(Some(hidden(refused))),
        Err(failed) => Err(hidden(failed)),
    }
}

/// The org's tokens as they should be now: remembered, read, made or replaced.
async fn tokens(
    ctx: &Context,
    known: &KnownTokens,
    observed: &OrgView,
    placement: &Placement,
    now: Timestamp,
) -> Result<Tokens, Blocked> {
    let secrets = &ctx.webhook_secrets;
    let annotations = observed.org.annotations();
    let asked = annotations
        .get(names::ANNOTATION_ROTATE_WEBHOOK_TOKEN)
        .map(String::as_str);
    let was_routed = observed
        .children
        .iter()
        .any(|child| child.id == webhook::route_id(placement));
    let fresh = random_token()
        .ok_or_else(|| Blocked::service(reasons::RETRYING, "the system gives no random numbers"))?;
    let mut recorded = match known.get(placement) {
        Some(recorded) => Some(recorded),
        // Where there is a route there was a token. A new org has none yet, and an org that is back says so below.
        None if was_routed => secrets.read(placement).await?,
        None => None,
    };
    for _ in 0..2 {
        let present = recorded.as_ref().and_then(|recorded| recorded.tokens.clone());
        let due = webhook_tokens::due(present.as_ref(), asked, now, || fresh.clone());
        match (due, present, &recorded) {
            (None, Some(tokens), Some(recorded)) => {
                known.put(placement, recorded.clone());
                return Ok(tokens);
            }
            (due, present, before) => {
                let Some(tokens) = due else { break };
                match secrets.write(placement, &tokens, before.as_ref()).await? {
                    Written::Done(written) => {
                        known.put(placement, written);
                        if was_routed && present.is_none() {
                            tell_lost(ctx, observed).await;
                        }
                        return Ok(tokens);
                    }
                    Written::Conflict => {
                        known.forget(&placement.org);
                        recorded = secrets.read(placement).await?;
                    }
                }
            }
        }
    }
    let name = names::WEBHOOK_TOKEN_SECRET;
    Err(Blocked::service(
        reasons::RETRYING,
        format!(
            "Secret {}/{name} changes at this very moment",
            placement.namespace
        ),
    ))
}

/// Callers have to be given another token, and nobody asked for it.
async fn tell_lost(ctx: &Context, observed: &OrgView) {
    let note = format!(
        "Secret {} was gone or held no token: a new token was made, which callers of the webhook host need",
        names::WEBHOOK_TOKEN_SECRET
    );
    ctx.events
        .publish(
            &*observed.org,
            Severity::Warning,
            "WebhookTokenLost",
            "Expose",
            note,
        )
        .await;
}

fn pending() -> ConditionFact {
    ConditionFact::new(
        Truth::Unknown,
        reasons::ROUTE_PENDING,
        "the Gateway has not answered for the route yet",
    )
}

/// Condition WebhookReady of a route of which its Gateway says `fact`. Pure.
fn condition(
    fact: Option<&RouteFact>,
    is_suspended: bool,
    webhook: &Webhook<'_>,
    tokens: &Tokens,
) -> ConditionFact {
    let gateway = &webhook.ingress.gateway_ref;
    let gateway = format!("Gateway {}/{}", gateway.namespace, gateway.name);
    match fact {
        None | Some(RouteFact::Pending) => ConditionFact {
            message: format!(
                "{gateway} has not answered for the route yet: it is asked for by spec.ingress of the Region"
            ),
            ..pending()
        },
        Some(RouteFact::Refused(why)) => ConditionFact::new(
            false,
            reasons::ROUTE_REFUSED,
            format!("{gateway} does not take the route: {}", tokens.hide(why)),
        ),
        Some(RouteFact::Accepted) if is_suspended => ConditionFact::new(
            false,
            reasons::SUSPENDED,
            "the webhook host answers 503 while spec.lifecycle.state is Suspended",
        ),
        Some(RouteFact::Accepted) => ConditionFact::new(
            true,
            reasons::ROUTE_ACCEPTED,
            format!("calls with the token reach workload {}", webhook.workload.name),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;
    use tray_domain::webhook_tokens::Token;

    #[test]
    fn p21_what_the_gateway_says_is_told_without_the_token() {
        let region = fixtures::region_with_webhook();
        let secret = "a".repeat(43);
        let tokens = Tokens {
            current: Token::new(&secret).unwrap(),
            previous: None,
            rotation: None,
        };
        let webhook = Webhook::of(&region, &region.workloads).unwrap();
        let said =
            |fact: Option<RouteFact>, is_suspended| condition(fact.as_ref(), is_suspended, &webhook, &tokens);
        let refused = RouteFact::Refused(format!("Invalid: value {secret}"));
        for (fact, suspended, status, reason) in [
            (None, false, Truth::Unknown, reasons::ROUTE_PENDING),
            (
                Some(RouteFact::Pending),
                true,
                Truth::Unknown,
                reasons::ROUTE_PENDING,
            ),
            (
                Some(RouteFact::Accepted),
                false,
                Truth::True,
                reasons::ROUTE_ACCEPTED,
            ),
            (Some(RouteFact::Accepted), true, Truth::False, reasons::SUSPENDED),
            (Some(refused), false, Truth::False, reasons::ROUTE_REFUSED),
        ] {
            let found = said(fact, suspended);
            assert_eq!((found.status, found.reason.as_str()), (status, reason));
            assert!(!found.message.contains(&secret), "{}", found.message);
            if reason == reasons::ROUTE_REFUSED {
                assert!(
                    found.message.contains("Gateway tray-edge/edge"),
                    "{}",
                    found.message
                );
            }
        }
    }
}
