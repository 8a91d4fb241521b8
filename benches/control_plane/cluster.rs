//! A fresh etcd and kube-apiserver, with fsync, an audit log, and ordinary accounts: system:masters is exempt from the
//! API server's own fairness.

use std::{fs, net::TcpListener, path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::{audit::Requests, process::Process, tools};

/// Who is measured.
pub(crate) const CONTESTANT: &str = "contestant";
/// Who makes and changes TrayOrgs.
pub(crate) const PLATFORM: &str = "platform";
/// Who sets the cluster up.
const ADMIN: &str = "admin";

/// Everybody's requests, without their bodies, once they have ended.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata, users: [contestant, platform]}, {level: None}]
";

pub(crate) struct Cluster {
    pub etcd: Process,
    pub server: Process,
    folder: tempfile::TempDir,
    url: String,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let etcd_url = format!("http://127.0.0.1:{}", free_port());
        let etcd = Process::start(
            &tools::program("etcd"),
            &[
                "--data-dir=data".to_owned(),
                "--quota-backend-bytes=8589934592".to_owned(),
                format!("--listen-client-urls={etcd_url}"),
                format!("--advertise-client-urls={etcd_url}"),
                format!("--listen-peer-urls=http://127.0.0.1:{}", free_port()),
            ],
            &folder.path().join("etcd"),
            false,
        );
        let home = folder.path().join("kube-apiserver");
        fs::create_dir_all(&home).unwrap();
        let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(home.join("server.crt"), identity.cert.pem()).unwrap();
        fs::write(home.join("server.key"), identity.signing_key.serialize_pem()).unwrap();
        fs::write(home.join("audit.yaml"), AUDIT_POLICY).unwrap();
        let tokens: Vec<String> = [
            (ADMIN, "system:masters"),
            (PLATFORM, "bench"),
            (CONTESTANT, "bench"),
        ]
        .iter()
        .map(|(name, group)| format!("{name}-token,{name},{name},{group}\n"))
        .collect();
        fs::write(home.join("tokens.csv"), tokens.concat()).unwrap();
        let port = free_port();
        let arguments = [
            &format!("--etcd-servers={etcd_url}"),
            "--bind-address=127.0.0.1",
            &format!("--secure-port={port}"),
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            "--token-auth-file=tokens.csv",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/12",
            "--service-account-issuer=https://bench.invalid",
            "--service-account-key-file=server.crt",
            "--service-account-signing-key-file=server.key",
            "--audit-policy-file=audit.yaml",
            "--audit-log-path=audit.log",
        ];
        let arguments = arguments.map(str::to_owned);
        let server = Process::start(&tools::program("kube-apiserver"), &arguments, &home, false);
        let cluster = Self {
            etcd,
            server,
            folder,
            url: format!("https://127.0.0.1:{port}"),
        };
        let admin = cluster.client(ADMIN).await;
        let ready = http::Request::get("/readyz").body(vec![]).unwrap();
        let mut tries = 0;
        while admin.request_text(ready.clone()).await.is_err() {
            tries += 1;
            assert!(tries < 600, "the API server does not become ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        cluster
    }

    /// A client of the cluster's administrator.
    pub(crate) async fn admin(&self) -> Client {
        self.client(ADMIN).await
    }

    /// A client of that account.
    pub(crate) async fn client(&self, user: &str) -> Client {
        let kubeconfig: Kubeconfig = serde_json::from_value(self.kubeconfig(user)).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        Client::try_from(config.unwrap()).unwrap()
    }

    fn kubeconfig(&self, user: &str) -> Value {
        json!({
            "clusters": [{"name": "bench", "cluster": {
                "server": self.url,
                "certificate-authority": self.folder.path().join("kube-apiserver/server.crt"),
            }}],
            "users": [{"name": user, "user": {"token": format!("{user}-token")}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": user}}],
            "current-context": "bench",
        })
    }

    /// Starts this program in the role `arguments` say, as the one who is measured.
    pub(crate) fn contestant(&self, arguments: &[&str]) -> Process {
        let folder = self.folder.path().join("contestant");
        fs::create_dir_all(&folder).unwrap();
        let kubeconfig = folder.join("kubeconfig");
        fs::write(&kubeconfig, self.kubeconfig(CONTESTANT).to_string()).unwrap();
        let program = std::env::current_exe().unwrap();
        let mut line = vec![
            format!("KUBECONFIG={}", kubeconfig.display()),
            program.display().to_string(),
        ];
        line.extend(arguments.iter().map(|&argument| argument.to_owned()));
        // `exec`s, so that its id is the program's.
        Process::start("/usr/bin/env".as_ref(), &line, &folder, true)
    }

    /// What `user` asks from now on.
    pub(crate) fn requests(&self, user: &'static str) -> Requests {
        Requests::of(user, self.log())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("kube-apiserver/audit.log")
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
