//! What others say in words is told nowhere: in no entry, no status, no event and no log. Each of them says a word of its own here,
//! and the codes beside it are told.

use std::{
    io,
    sync::{Arc, Mutex, Once},
};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ErrorMetadata, SdkError},
    operation::get_object::GetObjectError,
    primitives::SdkBody,
};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams},
};
use serde_json::{Value, json};
use tray_api::conditions::reasons;
use tray_domain::bucket_layout;
use tray_ledger::RemoteError;
use tray_operator::{
    adapters::aws_error::Attempt,
    controllers::{backup::BackupDriver, changes::Change},
};

use crate::{
    backups::{Org, nothing_is_left, says, snapshot, succeed},
    support::{
        api_server,
        objects::{dry_run, refusal},
        operator::Operator,
        orgs::api,
    },
};

/// What this process has logged since it was asked to keep that.
static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Kept;

impl io::Write for Kept {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        LOGGED.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what this process logs, at the level that an operator has where nobody asks for another.
pub(crate) fn keep_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let logs = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(|| Kept);
        tracing::subscriber::set_global_default(logs.finish()).unwrap();
    });
}

/// What others say may be an org's own: it is in no ledger, status, event or log.
pub(crate) async fn is_told_nowhere(operator: &Operator, org: &Org, said: &str) {
    let store = &operator.regions.store;
    for key in store.keys() {
        let body = store.object(&key).unwrap().body;
        assert!(!String::from_utf8_lossy(&body).contains(said), "{key}");
    }
    let client = api_server::shared().await.client().await;
    let all = ListParams::default();
    // Both APIs show the same events. Some objects of other tests are of their kind in nothing but name.
    for kind in ["OrgSnapshot", "OrgRestore", "TrayOrg", "Event"] {
        let version = match kind {
            "Event" => "v1",
            _ => "platform.tray.ai/v1alpha1",
        };
        let objects: Api<DynamicObject> = api(&client, version, kind, "").await;
        let told = serde_json::to_string(&objects.list(&all).await.unwrap()).unwrap();
        assert!(!told.contains(said), "{told}");
    }
    let told = format!("{:?}", operator.ctx.board.backups.get(&org.id));
    assert!(!told.contains(said), "{told}");
    let logged = String::from_utf8_lossy(&LOGGED.lock().unwrap()).into_owned();
    assert!(logged.contains("run committed"), "logs are not kept");
    let mut lines = logged.lines();
    assert_eq!(lines.find(|line| line.contains(said)), None);
}

/// What becomes of an answer of AWS that says `word`.
fn answer_of_aws(code: &str, word: &str) -> RemoteError {
    let metadata = ErrorMetadata::builder().code(code).message(word).build();
    let response = HttpResponse::new(403.try_into().unwrap(), SdkBody::from(word.to_owned()));
    let error = GetObjectError::generic(metadata);
    let attempt = Attempt {
        action: "s3:GetObject",
        on: "s3://tray-backups-eu/key",
        region: "eu-central-1",
    };
    attempt.failed(&SdkError::service_error(error, response))
}

/// A webhook that nobody answers for: what the API server says of it names where it lies.
fn webhook(namespace: &str, word: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "worded"},
        "webhooks": [{
            "name": "worded.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "timeoutSeconds": 1, "clientConfig": {"url": format!("https://127.0.0.1:1/{word}")},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}],
        }],
    })
}

/// S3, KMS, STS, a policy and a webhook refuse one after the other what a run needs. Each is told by its code.
pub(crate) async fn what_services_say_is_told_in_codes(operator: &Operator) {
    let client = api_server::shared().await.client().await;
    let operator = &operator.beside().await;
    let (store, keys, sessions) = (
        &operator.regions.store,
        &operator.regions.keys,
        &operator.regions.sessions,
    );
    let id = "cccccccc-cccc-4ccc-8ccc-cccccccccccc";
    let ledger = bucket_layout::ledger_prefix("", &id.parse().unwrap());
    store.refuse(&ledger, answer_of_aws("AccessDenied", "word-of-s3"));
    let running = operator.start(vec![Arc::new(BackupDriver::default())]).await;
    let org = Org::place("worded", id).await;
    let look = || operator.ctx.changes.publish(&Change::Org(org.name.to_owned()));
    says(
        operator,
        &org,
        reasons::BUCKET_UNAVAILABLE,
        "AccessDenied, HTTP 403",
    )
    .await;
    is_told_nowhere(operator, &org, "word-of-s3").await;
    store.refuse_no_more();

    keys.set_failure(Some(answer_of_aws("DisabledException", "word-of-kms")));
    org.ask("worded-one").await;
    look();
    says(
        operator,
        &org,
        reasons::KEY_UNUSABLE,
        "the KMS key is disabled: enable it",
    )
    .await;
    is_told_nowhere(operator, &org, "word-of-kms").await;

    sessions.set_failure(Some(answer_of_aws("AccessDenied", "word-of-sts")));
    keys.set_failure(None);
    look();
    let role = "assume arn:aws:iam::111122223333:role/tray-mover";
    says(operator, &org, reasons::BUCKET_UNAVAILABLE, role).await;
    is_told_nowhere(operator, &org, "word-of-sts").await;

    let namespace = org.namespace();
    let jobs_of_it = format!("request.namespace == '{namespace}'");
    let [policy, binding] = refusal("worded", ("batch", "jobs"), &jobs_of_it, "word-of-a-policy");
    let hook = webhook(&namespace, "word-of-a-webhook");
    for object in [&policy, &binding] {
        api_server::apply(&client, object).await;
    }
    until_refused(&namespace, "Forbidden").await;
    sessions.set_failure(None);
    look();
    says(operator, &org, reasons::RETRYING, "Forbidden (HTTP 403)").await;
    is_told_nowhere(operator, &org, "word-of-a-policy").await;

    api_server::apply(&client, &hook).await;
    remove(&binding).await;
    until_refused(&namespace, "InternalError").await;
    look();
    says(operator, &org, reasons::RETRYING, "InternalError (HTTP 500)").await;
    is_told_nowhere(operator, &org, "word-of-a-webhook").await;

    remove(&hook).await;
    remove(&policy).await;
    succeed(operator, &org, "worded-one", 3).await;
    snapshot("worded-one", "Committed").await;
    nothing_is_left(&org).await;
    running.stop().await;
}

/// Waits until the API server refuses a Job for that reason.
async fn until_refused(namespace: &str, reason: &str) {
    let client = api_server::shared().await.client().await;
    let jobs: Api<DynamicObject> = api(&client, "batch/v1", "Job", namespace).await;
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "probe", "namespace": namespace},
        "spec": {"template": {"spec": pod}}});
    let refused = api_server::eventually(async || match dry_run(&jobs, &job).await {
        Err(kube::Error::Api(status)) if status.reason == reason => Some(()),
        _ => None,
    });
    assert!(refused.await.is_some(), "no Job is refused: {reason}");
}

async fn remove(object: &Value) {
    let client = api_server::shared().await.client().await;
    let api: Api<DynamicObject> = api_server::api_of(&client, object).await.unwrap();
    let name = object["metadata"]["name"].as_str().unwrap();
    api.delete(name, &DeleteParams::default()).await.unwrap();
}
