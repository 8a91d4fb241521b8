//! Argo CD's sync engine, as its own agent runs it: a sync for each commit that it is told of.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Child;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tray_e2e::paths::ClusterDir;
use tray_e2e::topology::CLUSTER_ADDRESS;
use tray_e2e::{Cluster, Program};

use crate::repo::Repo;

/// Who it is to the API server.
pub(crate) const USER: &str = "argocd";
/// Where it is told to sync.
const PORT: u16 = 9001;
/// Runs a program until standard input ends, which it does with whoever holds the other end.
const KEEPER: &str = r#""$@" & program=$!; cat > /dev/null; kill -9 $program; wait $program"#;
/// How long a sync may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Argo {
    agent: Child,
    output: Receiver<String>,
    dir: ClusterDir,
    _kubeconfig: tempfile::NamedTempFile,
}

impl Argo {
    /// Starts it, in the cluster's network: anybody who reaches it can have it sync. It does once by itself.
    pub(crate) fn start(cluster: &Cluster, agent: &Program, repo: &Repo) -> Self {
        let mut kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let text = cluster.kubeconfig_for(USER, Some("system:masters")).unwrap();
        kubeconfig.write_all(text.as_bytes()).unwrap();
        let dir = cluster.dir().clone();
        let agent = agent
            .clone()
            .arg(repo.path())
            .flag("kubeconfig", kubeconfig.path())
            .flag("port", PORT.to_string())
            // It syncs when it is told to.
            .flag("resync-seconds", "86400")
            .behind(Program::new("sh").args(["-c", KEEPER, "keeper"]));
        let mut agent = cluster.enter(agent).spawn_piped(&dir.log(USER)).unwrap();
        let stdout = agent.stdout.take().unwrap();
        let (send, output) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines
                .take_while(|line| send.send(line.clone()).is_ok())
                .for_each(drop);
        });
        Self {
            agent,
            output,
            dir,
            _kubeconfig: kubeconfig,
        }
    }

    /// Syncs what the repository holds now: `Kind/name` → what came of it.
    pub(crate) fn sync(&self, objects: usize) -> BTreeMap<String, String> {
        let mut stream = TcpStream::connect((CLUSTER_ADDRESS, PORT)).unwrap();
        stream.write_all(b"GET /api/v1/sync HTTP/1.0\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        self.outcome(objects)
    }

    /// What came of the sync that it began last. It speaks of so many objects.
    pub(crate) fn outcome(&self, objects: usize) -> BTreeMap<String, String> {
        let mut table = BTreeMap::new();
        while table.len() < objects {
            let line = self.output.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                let log = self.dir.log(USER);
                panic!("no outcome ({error}) after {table:#?}; see {}", log.display())
            });
            // `group/Kind/namespace/name`, two or more spaces, the message; before them a line that names both columns.
            let Some((resource, message)) = line.split_once("  ") else {
                panic!("not understood: {line}");
            };
            let mut parts = resource.split('/').skip(1);
            if let (Some(kind), Some(name)) = (parts.next(), parts.nth(1)) {
                table.insert(format!("{kind}/{name}"), message.trim().to_owned());
            }
        }
        table
    }
}

impl Drop for Argo {
    fn drop(&mut self) {
        drop(self.agent.stdin.take());
        // It may have ended by itself.
        let _ = self.agent.wait();
    }
}
