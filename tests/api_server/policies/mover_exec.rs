//! Nobody looks into a running mover.

use super::{
    cases::{Case, connect},
    holds, pods,
    world::{ORG, PLAIN, STAFF, Who},
};

pub(super) const POLICY: &str = "tray-mover-exec";

/// A pod of the world that is named like a mover's.
pub(super) const MOVER: &str = "snap-1";

pub(super) fn cases() -> Vec<Case> {
    let ways = [
        "exec?command=sh&stdout=true",
        "attach?stdout=true",
        "portforward?ports=1",
        "proxy/",
    ];
    let words = "nobody may enter mover";
    let mut cases = Vec::new();
    for way in ways {
        let into = |namespace: &str, pod: &str| connect(format!("{}/{pod}/{way}", pods::path(namespace)));
        cases.push(into(PLAIN, MOVER).passes_for(Who::Admin));
        cases.push(into("tray-system", "tray-operator-1").passes_for(Who::Admin));
        for (namespace, pod) in [(ORG, MOVER), (ORG, "restore-1"), ("tray-system", "prune-1")] {
            cases.push(into(namespace, pod).refused_to(Who::In(STAFF[0]), words));
            cases.push(into(namespace, pod).refused_to(Who::Operator, words));
        }
    }
    let look = |namespace: &str| pods::debug(namespace, MOVER, &[pods::debugger()]);
    cases.push(look(PLAIN).passes_for(Who::Admin));
    cases.push(look(ORG).refused_to(Who::In(STAFF[0]), words));
    cases
}

#[tokio::test]
async fn p17_nobody_enters_a_mover() {
    holds(POLICY).await;
}
