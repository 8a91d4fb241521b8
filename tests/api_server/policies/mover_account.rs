//! Tokens of the movers' account are for kubelets, the account itself is the operator's.

use serde_json::{Value, json};

use super::{
    cases::{Case, change, create, delete},
    holds,
    world::{ORG, PLAIN, Who},
};

pub(super) const POLICY: &str = "tray-mover-account";

fn accounts(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts")
}

fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

fn token_secret(account: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "s", "annotations": {"kubernetes.io/service-account.name": account}},
    })
}

pub(super) fn cases() -> Vec<Case> {
    let mover = format!("{}/tray-mover", accounts(ORG));
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
    let token = |account: &str| create(format!("{}/{account}/token", accounts(ORG)), request.clone());
    let secrets = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets");
    let labelled = || change(mover.clone(), json!({"metadata": {"labels": {"a": "b"}}}));
    let tokens = "tokens of service account tray-mover are for movers alone";
    let changed = "service account tray-mover is created, changed and deleted by tray-operator alone";
    let asked = "Secrets must not ask for a token of service account tray-mover";
    vec![
        token("tray-mover").passes_for(Who::Kubelet),
        token("tray-workload").passes_for(Who::Admin),
        token("tray-mover").refused_to(Who::Admin, tokens),
        token("tray-mover").refused_to(Who::Operator, tokens),
        delete(format!("{}/tray-mover", accounts(PLAIN))).passes_for(Who::Admin),
        labelled().passes_for(Who::Operator),
        delete(mover.clone()).passes_for(Who::Controller("namespace-controller")),
        // A restore may put accounts back, but not this one.
        labelled().refused_to(Who::Mover(ORG), changed),
        labelled().refused_to(Who::Controller("namespace-controller"), changed),
        delete(mover.clone()).refused_to(Who::Admin, changed),
        create(accounts(ORG), account("tray-mover")).refused_to(Who::Mover(ORG), changed),
        create(secrets(ORG), token_secret("tray-workload")).passes_for(Who::Admin),
        create(secrets(PLAIN), token_secret("tray-mover")).passes_for(Who::Admin),
        create(secrets(ORG), token_secret("tray-mover")).refused_to(Who::Admin, asked),
        create(secrets(ORG), token_secret("tray-mover")).refused_to(Who::Operator, asked),
    ]
}

#[tokio::test]
async fn p3_nobody_gets_a_token_of_the_movers() {
    holds(POLICY).await;
}
