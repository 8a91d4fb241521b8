//! A CRD of ours is not deleted by mistake, and can be on purpose.

use serde_json::json;

use super::{
    cases::{Case, change, delete},
    holds,
    world::{Who, world},
};

pub(super) const POLICY: &str = "tray-crd-guard";

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// CRDs of the world besides ours: group and plural. The first is of our group.
pub(super) const OTHERS: [(&str, &str); 2] =
    [("platform.tray.ai", "experiments"), ("example.com", "widgets")];

pub(super) fn cases() -> Vec<Case> {
    let words = "run kubectl annotate crd trayorgs.platform.tray.ai platform.tray.ai/allow-delete=true first";
    let trayorgs = format!("{CRDS}/trayorgs.platform.tray.ai");
    vec![
        delete(format!("{CRDS}/widgets.example.com")).passes_for(Who::Admin),
        change(trayorgs.clone(), json!({"metadata": {"labels": {"a": "b"}}})).passes_for(Who::Admin),
        delete(trayorgs.clone()).refused_to(Who::Admin, words),
        delete(trayorgs).refused_to(Who::Operator, words),
    ]
}

#[tokio::test]
async fn a_crd_goes_only_when_it_was_said_first() {
    holds(POLICY).await;
    let world = world().await;
    let path = format!("{CRDS}/experiments.platform.tray.ai");
    let meant = json!({"metadata": {"annotations": {"platform.tray.ai/allow-delete": "true"}}});
    assert_eq!(
        world
            .ask(Who::Admin, &delete(path.clone()))
            .await
            .unwrap_err()
            .code,
        403
    );
    world.ask(Who::Admin, &change(path.clone(), meant)).await.unwrap();
    world.ask(Who::Admin, &delete(path)).await.unwrap();
}
