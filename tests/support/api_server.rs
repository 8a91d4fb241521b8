//! A real API server with its etcd and nothing else: no nodes, no controllers. It ends with the test process.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub(crate) use super::objects::{api_of, apply, eventually};
use super::tools;

/// Token of the cluster's administrator. The server listens on loopback and lives as long as the test.
const TOKEN: &str = "administrator-of-a-test";
/// Runs a program in a folder until standard input ends, which it does with the process that holds the other end,
/// however that ends; then removes the folder. Killed outright: an API server whose etcd went first never ends by itself.
const KEEPER: &str = r#"folder=$1; shift
"$@" & program=$!
cat > /dev/null
kill -9 $program; wait $program
rm -rf "$folder""#;

/// A running API server.
pub(crate) struct ApiServer {
    kubeconfig: Kubeconfig,
    audit_log: PathBuf,
}

/// The one API server of whoever includes these modules; the first caller starts it.
pub(crate) async fn shared() -> &'static ApiServer {
    static SERVER: OnceCell<ApiServer> = OnceCell::const_new();
    SERVER.get_or_init(ApiServer::start).await
}

impl ApiServer {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap().keep();
        let (etcd, server) = (folder.join("etcd"), folder.join("kube-apiserver"));
        let etcd_url = format!("http://127.0.0.1:{}", free_port());
        keep_running(
            "etcd",
            &etcd,
            &[
                "--data-dir=data",
                "--unsafe-no-fsync",
                &format!("--listen-client-urls={etcd_url}"),
                &format!("--advertise-client-urls={etcd_url}"),
                &format!("--listen-peer-urls=http://127.0.0.1:{}", free_port()),
            ],
        );

        fs::create_dir_all(&server).unwrap();
        let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(server.join("server.crt"), identity.cert.pem()).unwrap();
        fs::write(server.join("server.key"), identity.signing_key.serialize_pem()).unwrap();
        fs::write(
            server.join("tokens.csv"),
            format!("{TOKEN},admin,admin,system:masters\n"),
        )
        .unwrap();
        // Whoever connects to something, and nothing else.
        let connections = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
            "rules": [
                {"level": "Metadata", "omitStages": ["RequestReceived"], "resources": [{"group": "", "resources":
                    ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy"]}]},
                {"level": "None"},
            ],
        });
        fs::write(server.join("audit.json"), connections.to_string()).unwrap();
        let port = free_port();
        keep_running(
            "kube-apiserver",
            &server,
            &[
                &format!("--etcd-servers={etcd_url}"),
                "--bind-address=127.0.0.1",
                &format!("--secure-port={port}"),
                "--tls-cert-file=server.crt",
                "--tls-private-key-file=server.key",
                "--token-auth-file=tokens.csv",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--audit-policy-file=audit.json",
                "--audit-log-path=audit.log",
                "--service-account-issuer=https://tests.invalid",
                "--service-account-key-file=server.crt",
                "--service-account-signing-key-file=server.key",
                // Would refuse every pod, since no controller makes the service accounts' `default`.
                "--disable-admission-plugins=ServiceAccount",
            ],
        );

        let kubeconfig = serde_json::from_value(json!({
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority": server.join("server.crt"),
            }}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }))
        .unwrap();
        let started = Self {
            kubeconfig,
            audit_log: server.join("audit.log"),
        };
        let client = started.client().await;
        let ready = http::Request::get("/readyz").body(vec![]).unwrap();
        let became_ready = eventually(async || client.request_text(ready.clone()).await.ok()).await;
        assert!(
            became_ready.is_some(),
            "the API server did not become ready:\n{}",
            log_end(&server)
        );
        started
    }

    /// The events of its audit log: every connection to a pod or Service that was asked for.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let log = fs::read_to_string(&self.audit_log).unwrap_or_default();
        // The last line may be half written.
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// How programs reach it as the cluster's administrator.
    pub(crate) fn kubeconfig(&self) -> &Kubeconfig {
        &self.kubeconfig
    }

    /// A client of the cluster's administrator.
    pub(crate) async fn client(&self) -> Client {
        self.client_as(None, &[]).await
    }

    /// How the cluster's administrator reaches it.
    pub(crate) async fn config(&self) -> Config {
        let options = KubeConfigOptions::default();
        Config::from_custom_kubeconfig(self.kubeconfig.clone(), &options)
            .await
            .unwrap()
    }

    /// A client of `user` in `groups`, by impersonation.
    pub(crate) async fn client_as(&self, user: Option<&str>, groups: &[&str]) -> Client {
        Client::try_from(self.config_as(user, groups).await).unwrap()
    }

    /// A client of somebody whom the cluster knows by name, in no group that gives him rights.
    pub(crate) async fn client_of(&self, user: &str) -> Client {
        self.client_as(Some(user), &["system:authenticated"]).await
    }

    /// How a client of `user` in `groups` reaches the server, by impersonation.
    pub(crate) async fn config_as(&self, user: Option<&str>, groups: &[&str]) -> Config {
        let mut config = self.config().await;
        config.auth_info.impersonate = user.map(str::to_owned);
        config.auth_info.impersonate_groups =
            (!groups.is_empty()).then(|| groups.iter().map(|&group| group.to_owned()).collect());
        config
    }
}

/// Gives a user rights in the whole cluster: the rules of a ClusterRole. It takes a moment.
pub(crate) async fn permit(client: &Client, user: &str, rules: &Value) {
    let (version, name) = ("rbac.authorization.k8s.io/v1", format!("tests-{user}"));
    let group = "rbac.authorization.k8s.io";
    let role =
        json!({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    let binding = json!({
        "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    });
    for object in [role, binding] {
        apply(client, &object).await;
    }
}

/// Starts a program in `folder`, which is made and belongs to it. Its output goes to `log` there.
#[allow(
    clippy::zombie_processes,
    reason = "it ends with its standard input, when this process does"
)]
fn keep_running(name: &str, folder: &Path, args: &[&str]) {
    fs::create_dir_all(folder).unwrap();
    let log = File::create(folder.join("log")).unwrap();
    let mut keeper = Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(folder)
        .arg(tools::program(name))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    // Open for as long as this process lives: its end is the keeper's signal.
    std::mem::forget(keeper.stdin.take());
}

/// A port that nobody listens on, below the range that outgoing connections take theirs from: one of these could take it before
/// the server does.
fn free_port() -> u16 {
    loop {
        let random = uuid::Uuid::new_v4().as_u128() % 20_000;
        let port = 10_000 + u16::try_from(random).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn log_end(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
