//! An object that an older version stored and this one cannot read.

use std::sync::Arc;

use jiff::Timestamp;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tray_api::{
    conditions::{reasons, types},
    crds::all_crds,
    kinds::Kind,
    trayorg::TrayOrg,
};
use tray_operator::controllers::malformed::MalformedObjects;

use crate::support::{
    api_server::{self, eventually},
    operator::Operator,
};

fn org_crd() -> Value {
    let crd = all_crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == "TrayOrg");
    serde_json::to_value(crd.unwrap()).unwrap()
}

/// The CRD as a version might have been that asked for less.
fn looser() -> Value {
    let mut crd = org_crd();
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["required"] = json!([]);
    crd
}

fn org(name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
}

#[tokio::test]
async fn an_org_that_cannot_be_read_says_so_and_the_others_are_seen() {
    let operator = Operator::new().await;
    let client = api_server::shared().await.client().await;
    let orgs: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<TrayOrg>(&()));
    api_server::apply(&client, &looser()).await;
    let without_plan = org("older", &json!({"regionRef": {"name": "eu"}}));
    let stored = eventually(async || orgs.create(&PostParams::default(), &without_plan).await.ok());
    assert!(stored.await.is_some(), "the looser CRD takes the object");
    let deadline = Timestamp::from_second(operator.ctx.now().as_second() + 8).unwrap();
    let recorded = |type_: &str| {
        json!({"type": type_, "status": "True", "reason": "Recorded", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let status = json!({"status": {
        "backup": {"count": 1, "rpo": {"verdict": "Met", "deadline": deadline.to_string()}},
        "conditions": [recorded("BackupHealthy"), recorded("RpoMet"), recorded("DataLost"), recorded("Ready")],
    }});
    orgs.patch_status("older", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    api_server::apply(&client, &org_crd()).await;
    let sound = org("sound", &json!({"regionRef": {"name": "eu"}, "plan": "Team"}));
    orgs.create(&PostParams::default(), &sound).await.unwrap();

    let running = operator.start(vec![Arc::new(MalformedObjects::default())]).await;
    let told = eventually(async || {
        let org = orgs.get("older").await.ok()?;
        let conditions = org.data["status"]["conditions"].as_array()?.clone();
        conditions.into_iter().find(|c| c["type"] == types::STALLED)
    });
    let stalled = told.await.expect("its status says that it cannot be read");
    assert_eq!(stalled["reason"], reasons::MALFORMED);
    let message = stalled["message"].as_str().unwrap();
    for part in ["TrayOrg older", "plan", "apply the object again"] {
        assert!(message.contains(part), "{message}");
    }
    // Nothing is well of it, what is lost stays lost, and its objective is missed at the deadline.
    let said = async || -> Option<String> {
        let org = orgs.get("older").await.ok()?;
        let conditions = org.data["status"]["conditions"].as_array()?.clone();
        let said = conditions
            .iter()
            .map(|c| format!("{} {}/{}", c["type"], c["status"], c["reason"]));
        let verdict = &org.data["status"]["backup"]["rpo"]["verdict"];
        Some(format!("{}, {verdict}", said.collect::<Vec<_>>().join(", ")).replace('"', ""))
    };
    let told = said().await.unwrap();
    for part in [
        "BackupHealthy False/Malformed",
        "RpoMet True/Recorded",
        "DataLost True/Recorded",
        "Met",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let missed = eventually(async || {
        let told = said().await?;
        (told.contains("RpoMet False/RpoBreached") && told.ends_with("Breached")).then_some(told)
    });
    let told = missed.await.expect("its objective is not missed");
    assert!(told.contains("DataLost True/Recorded"), "{told}");
    assert!(operator.ctx.now() >= deadline);
    let seen = eventually(async || operator.ctx.index.orgs.get("sound"));
    assert!(seen.await.is_some());
    assert!(operator.ctx.index.orgs.get("older").is_none());

    // Mended: nothing is held against it.
    let mended = json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": "older"},
        "spec": {"regionRef": {"name": "eu"}, "plan": "Team"}});
    api_server::apply(&client, &mended).await;
    let seen = eventually(async || operator.ctx.index.orgs.get("older"));
    assert!(seen.await.is_some());
    assert!(operator.ctx.index.malformed(Kind::TrayOrg, "older").is_none());
    running.stop().await;
}
