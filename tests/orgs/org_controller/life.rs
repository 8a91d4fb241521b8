//! The life of an org between its first placement and its end: what becomes of it, of its Region and of its namespace.

use kube::{
    Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::support::{
    api_server::{self, api_of, eventually},
    chart,
    installed::conditions,
    objects::dry_run,
    org_world::{
        READY, child, database, exempt, names, namespace_labels, namespace_of, object, operator, org, orgs,
        patch, read, region, region_with, uid, until, world,
    },
};

async fn spec_of(client: &Client, kind: &str, namespace: &str, name: &str) -> Value {
    let api = api_of(client, &child("apps/v1", kind, namespace)).await.unwrap();
    api.get(name).await.unwrap().data["spec"].clone()
}

async fn regions(client: &Client) -> kube::Api<DynamicObject> {
    api_of(client, &object("Region", "x", &json!({}))).await.unwrap()
}

#[tokio::test]
async fn a_suspended_org_runs_nothing_keeps_everything_and_runs_again() {
    let client = world().await;
    let paused = org("paused", '0', &json!({}));
    let namespace = namespace_of(&paused);
    api_server::apply(&client, &paused).await;
    until(&client, "paused", READY).await;
    let claim = uid(&client, "v1", "PersistentVolumeClaim", &namespace, "data-db-0").await;

    patch(
        &client,
        "paused",
        &json!({"spec": {"lifecycle": {"state": "Suspended"}}}),
    )
    .await;
    let suspended = [
        ("Ready", "True/Suspended"),
        ("WorkloadsAvailable", "False/Suspended"),
    ];
    let told = until(&client, "paused", &suspended).await;
    assert!(!conditions(&told).contains_key("Stalled"));
    assert_eq!(
        spec_of(&client, "StatefulSet", &namespace, "db").await["replicas"],
        0
    );
    assert_eq!(
        uid(&client, "v1", "PersistentVolumeClaim", &namespace, "data-db-0").await,
        claim
    );
    let bindings = names(&client, "rbac.authorization.k8s.io/v1", "RoleBinding", &namespace).await;
    assert!(
        bindings.contains(&"tray-admins".to_owned()),
        "its owners still see it: {bindings:?}"
    );

    patch(
        &client,
        "paused",
        &json!({"spec": {"lifecycle": {"state": "Active"}}}),
    )
    .await;
    until(&client, "paused", READY).await;
    assert_eq!(
        spec_of(&client, "StatefulSet", &namespace, "db").await["replicas"],
        1
    );
    assert_eq!(
        uid(&client, "v1", "PersistentVolumeClaim", &namespace, "data-db-0").await,
        claim
    );
}

#[tokio::test]
async fn p1_an_org_lives_in_the_us_unless_it_says_otherwise_and_never_moves() {
    let client = world().await;
    let mut default = org("default", '7', &json!({}));
    default["spec"].as_object_mut().unwrap().remove("regionRef");
    api_server::apply(&client, &default).await;
    let told = until(&client, "default", &[("Stalled", "True/RegionNotServed")]).await;
    assert_eq!(told["spec"]["regionRef"], json!({"name": "us"}));
    assert!(conditions(&told)["Stalled"].2.contains("Region us"));

    // Not placed yet, it may still choose.
    patch(
        &client,
        "default",
        &json!({"spec": {"regionRef": {"name": "eu"}}}),
    )
    .await;
    until(&client, "default", READY).await;
    let moved = Patch::Merge(json!({"spec": {"regionRef": {"name": "us"}}}));
    let refused = orgs(&client)
        .await
        .patch("default", &PatchParams::default(), &moved)
        .await
        .unwrap_err();
    let kube::Error::Api(status) = &refused else {
        panic!("{refused}")
    };
    assert_eq!(status.code, 403, "on 422 GitOps tools delete and create anew");
    assert!(status.message.contains("is pinned to eu"), "{refused}");
}

#[tokio::test]
async fn a_cordoned_region_takes_no_new_orgs_and_keeps_up_those_it_has() {
    let client = world().await;
    region(&client, "full", "eu-south-1").await;
    let here = org(
        "here",
        'c',
        &json!({"orgId": "0c0c0c0c-0000-4000-8000-000000000001", "regionRef": {"name": "full"}}),
    );
    api_server::apply(&client, &here).await;
    until(&client, "here", READY).await;
    let cordon = |value: &str| Patch::Merge(json!({"spec": {"scheduling": value}}));
    let regions = regions(&client).await;
    regions
        .patch("full", &PatchParams::default(), &cordon("Cordoned"))
        .await
        .unwrap();

    let late = org(
        "late",
        'c',
        &json!({"orgId": "0c0c0c0c-0000-4000-8000-000000000002", "regionRef": {"name": "full"}}),
    );
    api_server::apply(&client, &late).await;
    let told = until(&client, "late", &[("Stalled", "True/RegionCordoned")]).await;
    assert!(conditions(&told)["Stalled"].2.contains("Region full"));
    patch(
        &client,
        "here",
        &json!({"spec": {"overrides": [{"name": "db", "image": "db:2"}]}}),
    )
    .await;
    until(&client, "here", READY).await;
    let template = spec_of(&client, "StatefulSet", &namespace_of(&here), "db").await["template"].clone();
    assert_eq!(template["spec"]["containers"][0]["image"], "db:2");

    regions
        .patch("full", &PatchParams::default(), &cordon("Schedulable"))
        .await
        .unwrap();
    until(&client, "late", READY).await;
}

#[tokio::test]
async fn an_orgs_own_workloads_come_and_go_with_its_spec_and_their_volumes_stay() {
    let client = world().await;
    let own = org(
        "own",
        'c',
        &json!({"orgId": "0c0c0c0c-0000-4000-8000-000000000003"}),
    );
    let namespace = namespace_of(&own);
    api_server::apply(&client, &own).await;
    until(&client, "own", READY).await;
    let mut cache = database("cache:1");
    cache["name"] = "cache".into();
    patch(&client, "own", &json!({"spec": {"workloads": [cache]}})).await;
    until(&client, "own", READY).await;
    assert_eq!(
        names(&client, "apps/v1", "StatefulSet", &namespace).await,
        ["cache", "db"]
    );

    // Nobody waits for what an org itself takes away.
    patch(&client, "own", &json!({"spec": {"workloads": null}})).await;
    let told = eventually(async || {
        let org = read(&client, "own").await?;
        (org["status"]["unusedVolumes"] == json!(["data-cache-0"])).then_some(())
    });
    assert!(told.await.is_some(), "{:#?}", read(&client, "own").await);
    assert_eq!(names(&client, "apps/v1", "StatefulSet", &namespace).await, ["db"]);
    let claims = names(&client, "v1", "PersistentVolumeClaim", &namespace).await;
    assert_eq!(claims, ["data-cache-0", "data-db-0"]);

    patch(
        &client,
        "own",
        &json!({"spec": {"workloads": [database("mine:1")]}}),
    )
    .await;
    let told = until(&client, "own", &[("Stalled", "True/WorkloadNameTaken")]).await;
    assert!(conditions(&told)["Stalled"].2.contains("db"));
    patch(&client, "own", &json!({"spec": {"workloads": null}})).await;
    until(&client, "own", READY).await;
}

/// As others have met it: a workload becomes a StatefulSet, and its Service cannot follow; or it comes back, and silently does not.
#[tokio::test]
async fn a_workload_changes_its_kind_when_the_pods_of_the_former_have_gone() {
    let client = world().await;
    let turned = org(
        "turned",
        'c',
        &json!({"orgId": "0c0c0c0c-0000-4000-8000-000000000008"}),
    );
    let namespace = namespace_of(&turned);
    let workload = |kind: &str| {
        json!({"spec": {"workloads": [{"name": "web", "kind": kind, "image": "web:1", "runAsUser": 1000,
            "ports": [{"name": "http", "port": 8080}]}]}})
    };
    let services = api_of(&client, &child("v1", "Service", &namespace))
        .await
        .unwrap();
    let becomes = async |headless: bool| {
        let is_so = eventually(async || {
            let service = services.get_opt("web").await.ok()??;
            ((service.data["spec"]["clusterIP"] == "None") == headless).then_some(())
        });
        let is_so = is_so.await.is_some();
        assert!(
            is_so,
            "not headless = {headless}: {:#?}",
            services.get_opt("web").await
        );
    };
    api_server::apply(&client, &turned).await;
    until(&client, "turned", READY).await;
    patch(&client, "turned", &workload("Deployment")).await;
    until(&client, "turned", READY).await;
    becomes(false).await;
    until(&client, "turned", READY).await;
    for (former, kind, headless) in [
        ("Deployment", "StatefulSet", true),
        ("StatefulSet", "Deployment", false),
    ] {
        patch(&client, "turned", &workload(kind)).await;
        let formers = api_of(&client, &child("apps/v1", former, &namespace))
            .await
            .unwrap();
        let going = eventually(async || formers.get("web").await.ok()?.metadata.deletion_timestamp);
        assert!(going.await.is_some(), "{former} web stays");
        let told = until(&client, "turned", &[("WorkloadsAvailable", "False/RollingOut")]).await;
        let message = &conditions(&told)["WorkloadsAvailable"].2;
        assert!(
            message.contains(&format!(
                "{kind} web is made when {former} web and its pods have gone"
            )),
            "{message}"
        );
        assert!(
            !names(&client, "apps/v1", kind, &namespace)
                .await
                .contains(&"web".to_owned()),
            "two kinds of one workload at once"
        );
        // The garbage collector, when the pods have gone.
        let none: [&str; 0] = [];
        let change = Patch::Merge(json!({"metadata": {"finalizers": none}}));
        formers
            .patch("web", &PatchParams::default(), &change)
            .await
            .unwrap();
        until(&client, "turned", READY).await;
        becomes(headless).await;
        assert!(
            !names(&client, "apps/v1", former, &namespace)
                .await
                .contains(&"web".to_owned())
        );
    }
}

#[tokio::test]
async fn p1_a_region_that_goes_or_comes_back_elsewhere_moves_nobody() {
    let client = world().await;
    region(&client, "moving", "eu-south-2").await;
    let settled = org(
        "settled",
        'c',
        &json!({"orgId": "0c0c0c0c-0000-4000-8000-000000000004", "regionRef": {"name": "moving"}}),
    );
    let namespace = namespace_of(&settled);
    api_server::apply(&client, &settled).await;
    let placed = until(&client, "settled", READY).await;
    let before = uid(&client, "apps/v1", "StatefulSet", &namespace, "db").await;

    remove_region(&client, "moving").await;
    until(&client, "settled", &[("Stalled", "True/RegionNotServed")]).await;
    region(&client, "moving", "eu-west-3").await;
    let told = until(
        &client,
        "settled",
        &[
            ("Stalled", "True/RegionChanged"),
            ("Ready", "False/RegionChanged"),
        ],
    )
    .await;
    let message = &conditions(&told)["Stalled"].2;
    assert!(
        message.contains("eu-south-2") && message.contains("eu-west-3"),
        "{message}"
    );
    assert_eq!(told["status"]["region"], placed["status"]["region"]);
    assert_eq!(
        namespace_labels(&client, &namespace).await["platform.tray.ai/region"],
        "eu-south-2"
    );
    assert_eq!(
        uid(&client, "apps/v1", "StatefulSet", &namespace, "db").await,
        before,
        "nothing was touched"
    );

    remove_region(&client, "moving").await;
    region(&client, "moving", "eu-south-2").await;
    until(&client, "settled", READY).await;
    assert_eq!(
        uid(&client, "apps/v1", "StatefulSet", &namespace, "db").await,
        before
    );
}

async fn remove_region(client: &Client, name: &str) {
    // The policy that keeps Regions in use.
    exempt(client, "tray-references", name).await;
    let regions = regions(client).await;
    let gone = eventually(async || {
        regions.delete(name, &DeleteParams::default()).await.ok();
        regions.get_opt(name).await.unwrap().is_none().then_some(())
    });
    assert!(gone.await.is_some(), "Region {name} stays");
}

#[tokio::test]
async fn p1_an_org_whose_status_is_lost_is_pinned_again_by_its_namespace() {
    let client = world().await;
    let forgetful = org(
        "forgetful",
        'c',
        &json!({"orgId": "0c0c0c0c-0000-4000-8000-000000000005"}),
    );
    let namespace = namespace_of(&forgetful);
    api_server::apply(&client, &forgetful).await;
    let placed = until(&client, "forgetful", READY).await;
    let before = uid(&client, "v1", "Namespace", "", &namespace).await;
    for policy in ["tray-org-transitions", "tray-status-guard"] {
        exempt(&client, policy, "forgetful").await;
    }
    let lost = Patch::Merge(json!({"status": null}));
    let orgs = orgs(&client).await;
    let taken = eventually(async || {
        orgs.patch_status("forgetful", &PatchParams::default(), &lost)
            .await
            .ok()
    });
    assert!(taken.await.is_some());
    let again = until(&client, "forgetful", READY).await;
    for field in ["orgId", "namespace", "region"] {
        assert_eq!(again["status"][field], placed["status"][field]);
    }
    assert_eq!(uid(&client, "v1", "Namespace", "", &namespace).await, before);
}

#[tokio::test]
async fn a_namespace_deleted_by_force_is_not_made_anew_in_silence() {
    let client = world().await;
    let bereft = org(
        "bereft",
        'c',
        &json!({"orgId": "0c0c0c0c-0000-4000-8000-000000000006"}),
    );
    let namespace = namespace_of(&bereft);
    api_server::apply(&client, &bereft).await;
    until(&client, "bereft", READY).await;
    let before = uid(&client, "v1", "Namespace", "", &namespace).await;

    exempt(&client, "tray-namespace-guard", &namespace).await;
    let shape = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {}});
    let namespaces = api_of(&client, &shape).await.unwrap();
    let deleted = eventually(async || namespaces.delete(&namespace, &DeleteParams::default()).await.ok());
    assert!(deleted.await.is_some());
    let told = until(&client, "bereft", &[("Stalled", "True/NamespaceLost")]).await;
    assert!(
        conditions(&told)["Stalled"].2.contains("is being deleted"),
        "{told:#?}"
    );
    // What the namespace controller does at the end.
    let mut emptied = namespaces.get(&namespace).await.unwrap();
    emptied.data["spec"]["finalizers"] = json!([]);
    namespaces
        .replace_subresource("finalize", &namespace, &PostParams::default(), &emptied)
        .await
        .unwrap();
    let told = eventually(async || {
        let org = read(&client, "bereft").await?;
        let message = conditions(&org).get("Stalled")?.2.clone();
        message
            .contains("which held the volumes")
            .then_some((org, message))
    });
    let (told, message) = told.await.expect("it is not told that the namespace is gone");
    assert!(
        message.contains("OrgRestore") && message.contains("accept-namespace-loss"),
        "{message}"
    );
    assert_eq!(conditions(&told)["WorkloadsAvailable"].0, "False");
    assert!(
        namespaces.get_opt(&namespace).await.unwrap().is_none(),
        "nothing is made over lost data"
    );

    // A person wants it anew; nothing starts before it is known which volumes held data.
    let accepted =
        json!({"metadata": {"annotations": {"platform.tray.ai/accept-namespace-loss": namespace}}});
    patch(&client, "bereft", &accepted).await;
    let id = bereft["spec"]["orgId"].as_str().unwrap().parse().unwrap();
    operator().await.ctx.board.lost.set(&id, [].into());
    let again = until(&client, "bereft", READY).await;
    assert_eq!(
        again["metadata"]["annotations"]["platform.tray.ai/accept-namespace-loss"],
        namespace.as_str(),
        "it may lie in Git"
    );
    let recorded = &again["status"]["acknowledgements"][0];
    assert_eq!(recorded["annotation"], "accept-namespace-loss");
    assert_eq!(
        (&recorded["value"], &recorded["result"]),
        (&json!(namespace), &json!("CarriedOut"))
    );
    assert_ne!(uid(&client, "v1", "Namespace", "", &namespace).await, before);
}

#[tokio::test]
async fn a_region_in_which_nothing_runs_takes_orgs() {
    let client = world().await;
    region_with(&client, "bare", "eu-north-1", &json!([])).await;
    let bare = org(
        "bare",
        'c',
        &json!({"orgId": "0c0c0c0c-0000-4000-8000-000000000007", "regionRef": {"name": "bare"}}),
    );
    api_server::apply(&client, &bare).await;
    until(&client, "bare", READY).await;
}

#[tokio::test]
async fn p19_whoever_is_no_owner_any_more_has_no_access_any_more() {
    let client = world().await;
    let owners = json!({"orgId": "b0b0b0b0-0000-4000-8000-000000000002", "owners": [
        {"kind": "User", "name": "stays@acme", "role": "Admin"}, {"kind": "User", "name": "leaves@acme", "role": "Admin"},
    ]});
    let staffed = org("staffed", 'd', &owners);
    let namespace = namespace_of(&staffed);
    api_server::apply(&client, &staffed).await;
    until(&client, "staffed", READY).await;
    let may = async |user: &str| {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": namespace}},
        });
        let request = http::Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&review).unwrap())
            .unwrap();
        let answer: Value = client.request(request).await.unwrap();
        answer["status"]["allowed"] == true
    };
    let both = eventually(async || (may("stays@acme").await && may("leaves@acme").await).then_some(()));
    assert!(both.await.is_some());
    let fewer = json!({"spec": {"owners": [{"kind": "User", "name": "stays@acme", "role": "Admin"}]}});
    patch(&client, "staffed", &fewer).await;
    let out = eventually(async || (!may("leaves@acme").await).then_some(()));
    assert!(out.await.is_some(), "access stays");
    assert!(may("stays@acme").await);
}

#[tokio::test]
async fn without_its_binding_a_policy_says_nothing_until_the_chart_is_applied_again() {
    let client = world().await;
    let broken = org(
        "broken",
        'f',
        &json!({"orgId": "b0b0b0b0-0000-4000-8000-000000000001"}),
    );
    api_server::apply(&client, &broken).await;
    until(&client, "broken", READY).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "door", "namespace": namespace_of(&broken)},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    });
    let services = api_of(&client, &service).await.unwrap();
    let refused = async || {
        let answer = dry_run(&services, &service).await;
        matches!(answer, Err(kube::Error::Api(status)) if status.code == 403)
    };
    assert!(refused().await);

    let rendered = chart::render(&[]).unwrap();
    let kind = "ValidatingAdmissionPolicyBinding";
    let is_it = |o: &&Value| o["kind"] == kind && o["metadata"]["name"] == "tray-service-type";
    let binding = rendered.iter().find(is_it).unwrap();
    let bindings = api_of(&client, binding).await.unwrap();
    bindings
        .delete("tray-service-type", &DeleteParams::default())
        .await
        .unwrap();
    let open = eventually(async || (!refused().await).then_some(()));
    assert!(open.await.is_some(), "the policy speaks without its binding");

    api_server::apply(&client, binding).await;
    let shut = eventually(async || refused().await.then_some(()));
    assert!(shut.await.is_some(), "the policy stays silent");
    until(&client, "broken", READY).await;
}
