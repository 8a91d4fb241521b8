//! The AWS stand-in (`e2e/aws`), over TLS, in memory. It ends with the test process.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use aws_credential_types::Credentials;
use aws_smithy_types::base64;
use serde::Deserialize;
use tokio::sync::OnceCell;
use tray_domain::mover_task::{BucketLocation, Endpoints, SessionCredentials};
use tray_operator::adapters::{
    aws_client::{AwsClients, Patience},
    clock::SystemClock,
};
use tray_ports::Clock;

use super::api_server::eventually;

/// What the stand-in says of itself: `facts.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StandIn {
    /// `https://127.0.0.1:<port>`.
    pub endpoint: String,
    /// PEM file of its authority.
    pub ca_bundle: PathBuf,
    /// One JSON line per request.
    pub requests_log: PathBuf,
    /// The account that all is in.
    pub account: String,
    /// The account of [`Self::foreign`].
    pub other_account: String,
    /// Issuer of service account tokens.
    pub issuer: String,
    /// The operator's role.
    pub operator_role_arn: String,
    /// The movers' role.
    pub mover_role_arn: String,
    /// A user who may do everything.
    pub admin: AccessKey,
    /// A bucket with its ledger key per region, by the region's name.
    pub places: std::collections::BTreeMap<String, Place>,
    /// A log bucket per region, by the region's name.
    pub log_buckets: std::collections::BTreeMap<String, String>,
    /// A bucket in the org's own region.
    pub same_region: Place,
    /// A bucket of another account.
    pub foreign: Place,
}

/// An access key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccessKey {
    pub access_key_id: String,
    pub secret_access_key: String,
}

/// A bucket and what belongs to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    pub cloud_region: String,
    pub bucket: String,
    pub bucket_region: String,
    pub bucket_owner: String,
    pub ledger_key_arn: String,
}

/// Short enough for tests of what goes wrong.
pub(crate) const IMPATIENT: Patience = Patience {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(5),
    attempt: Duration::from_secs(8),
    operation: Duration::from_secs(30),
    tries: 4,
    pause: Duration::from_millis(20),
    idle: Duration::from_secs(1),
    slowest: 256 * 1024,
};

/// The one stand-in of whoever includes these modules; the first caller starts it.
///
/// # Panics
/// When it cannot be started, with what it said.
pub(crate) async fn stand_in() -> &'static StandIn {
    static STAND_IN: OnceCell<StandIn> = OnceCell::const_new();
    STAND_IN.get_or_init(start).await
}

#[allow(
    clippy::zombie_processes,
    reason = "it ends with its standard input, when this process does"
)]
async fn start() -> StandIn {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let source: PathBuf = [env!("CARGO_MANIFEST_DIR"), "e2e", "aws"].iter().collect();
    let prepared = Command::new("python3").arg(source.join("prepare.py")).output();
    let prepared = prepared.expect("python3 starts: install Python 3.10 or newer");
    assert!(
        prepared.status.success(),
        "the stand-in cannot be prepared:\n{}",
        String::from_utf8_lossy(&prepared.stderr)
    );
    let python = String::from_utf8(prepared.stdout).unwrap();

    let folder = tempfile::tempdir().unwrap().keep();
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut child = Command::new(python.trim())
        .args(["-m", "standin", "--stop-on-eof", "--dir"])
        .arg(&folder)
        .current_dir(&source)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    // Open for as long as this process lives: its end is the stand-in's signal.
    std::mem::forget(child.stdin.take());
    let facts = eventually(async || fs::read(folder.join("facts.json")).ok()).await;
    let facts = facts.unwrap_or_else(|| {
        let said = fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("the stand-in did not start:\n{said}")
    });
    serde_json::from_slice(&facts).unwrap()
}

impl StandIn {
    /// The place of a region by its name.
    pub(crate) fn place(&self, name: &str) -> &Place {
        &self.places[name]
    }

    /// How a place is reached.
    pub(crate) fn location(&self, place: &Place, prefix: &str) -> BucketLocation {
        BucketLocation {
            bucket: place.bucket.clone(),
            bucket_owner: place.bucket_owner.clone(),
            cloud_region: place.bucket_region.clone(),
            prefix: prefix.to_owned(),
            endpoints: Endpoints {
                s3: self.endpoint.clone(),
                kms: self.endpoint.clone(),
                sts: self.endpoint.clone(),
            },
        }
    }

    /// How the log bucket of a place is reached.
    pub(crate) fn logs(&self, name: &str, prefix: &str) -> BucketLocation {
        let place = self.place(name);
        BucketLocation {
            bucket: self.log_buckets[name].clone(),
            cloud_region: place.cloud_region.clone(),
            ..self.location(place, prefix)
        }
    }

    /// Clients with the given credentials.
    pub(crate) fn clients(&self, credentials: Credentials) -> AwsClients {
        let bundle = fs::read(&self.ca_bundle).unwrap();
        AwsClients::new(credentials, Some(&bundle), Arc::new(SystemClock)).unwrap()
    }

    /// Clients of the user who may do everything.
    pub(crate) fn admin(&self) -> AwsClients {
        let AccessKey {
            access_key_id,
            secret_access_key,
        } = &self.admin;
        self.clients(Credentials::new(
            access_key_id,
            secret_access_key,
            None,
            None,
            "admin",
        ))
    }

    /// Clients with a mover's credentials.
    pub(crate) fn session(&self, session: &SessionCredentials) -> AwsClients {
        self.clients(Credentials::new(
            &session.access_key_id,
            &session.secret_access_key,
            Some(session.session_token.clone()),
            None,
            "session",
        ))
    }

    /// Clients of the operator's role, assumed with a token of its service account as in a cluster.
    pub(crate) async fn operator(&self) -> AwsClients {
        self.operator_within(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#)
            .await
    }

    /// The same where an administrator has left the role no more than `statement`.
    pub(crate) async fn operator_within(&self, statement: &str) -> AwsClients {
        let nobody = self.clients(Credentials::new("none", "none", None, None, "nobody"));
        let location = self.location(self.place("eu"), "");
        let assumed = nobody
            .sts(&location)
            .unwrap()
            .assume_role_with_web_identity()
            .role_arn(&self.operator_role_arn)
            .role_session_name("operator")
            .web_identity_token(self.service_account_token("tray-system", "tray-operator"))
            .policy(format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#))
            .send()
            .await
            .unwrap();
        let session = assumed.credentials.unwrap();
        self.clients(Credentials::new(
            session.access_key_id,
            session.secret_access_key,
            Some(session.session_token),
            None,
            "operator",
        ))
    }

    /// A service account token as the cluster would issue it. The stand-in reads its claims and no signature.
    pub(crate) fn service_account_token(&self, namespace: &str, name: &str) -> String {
        let url_safe = |text: String| {
            let text = base64::encode(text).replace('+', "-").replace('/', "_");
            text.trim_end_matches('=').to_owned()
        };
        let expires = SystemClock.now().as_second() + 3600;
        let claims = serde_json::json!({
            "iss": self.issuer,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "aud": ["sts.amazonaws.com"],
            "exp": expires,
        });
        let header = url_safe(r#"{"alg":"RS256"}"#.to_owned());
        format!(
            "{header}.{}.{}",
            url_safe(claims.to_string()),
            url_safe("signature".to_owned())
        )
    }

    /// The first `times` requests of `method` whose path contains `path` go wrong, as `e2e/aws/standin/faults.py` says.
    pub(crate) fn inject(&self, name: &str, method: &str, path: &str, times: u32, what: &serde_json::Value) {
        let folder = self.requests_log.parent().unwrap().join("faults");
        fs::create_dir_all(&folder).unwrap();
        let rule = serde_json::json!({"method": method, "path": path, "times": times, "do": what});
        fs::write(folder.join(format!("{name}.json")), rule.to_string()).unwrap();
    }
}
