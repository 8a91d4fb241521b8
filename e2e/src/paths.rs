//! Where things are: the checkout, the cache outside it, and the folder of one cluster.

use std::path::{Path, PathBuf};

use crate::topology::Node;

/// The root of the checkout that this program was built from.
pub fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Built programs and images, shared by all checkouts of one user.
#[derive(Debug, Clone)]
pub struct Cache(PathBuf);

impl Cache {
    /// A cache at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// `$TRAY_CACHE`, else `$XDG_CACHE_HOME/tray-operator`, else `~/.cache/tray-operator`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the harness reads its environment here and nowhere else"
    )]
    pub fn from_env() -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let path = variable("TRAY_CACHE").unwrap_or_else(|| {
            variable("XDG_CACHE_HOME")
                .or_else(|| variable("HOME").map(|home| home.join(".cache")))
                .unwrap_or_else(std::env::temp_dir)
                .join("tray-operator")
        });
        Self(path)
    }

    /// The cache's own folder.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// One folder per built tool.
    pub fn tools(&self) -> PathBuf {
        self.0.join("tools")
    }

    /// Root file systems, image archives and the content that nodes start with.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }
}

/// The folder of one cluster: configuration, state and logs. Inside the namespaces it is mounted at [`ClusterDir::INSIDE`].
#[derive(Debug, Clone)]
pub struct ClusterDir(PathBuf);

impl ClusterDir {
    /// Where the folder is seen inside the cluster's namespaces. Short, because socket paths may have 107 bytes.
    pub const INSIDE: &str = "/run/tray";

    /// A cluster's folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// `target/cluster` of the checkout.
    pub fn in_workspace() -> Self {
        Self(workspace().join("target/cluster"))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The administrator's kubeconfig, for use on the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// What kubectl remembers of the API: the next cluster has the same address and other kinds.
    pub fn kubectl_cache(&self) -> PathBuf {
        self.0.join("kubectl-cache")
    }

    /// Certificates, keys and the kubeconfigs of the components.
    pub fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }

    /// The folder of all logs; it outlives the cluster.
    pub fn logs(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The log of one component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    /// The API server's audit log: one JSON event a line, level Metadata.
    pub fn audit_log(&self) -> PathBuf {
        self.log("audit")
    }

    /// The AWS stand-in's certificates, facts and request log.
    pub fn aws(&self) -> PathBuf {
        self.0.join("aws")
    }

    /// The process id of a component, as seen inside the PID namespace.
    pub fn pid_file(&self, component: &str) -> PathBuf {
        self.0.join("pids").join(component)
    }

    /// The folder of one node.
    pub fn node(&self, node: &Node) -> NodeDir {
        NodeDir(self.0.join("nodes").join(node.name))
    }
}

/// The folder of one node.
#[derive(Debug, Clone)]
pub struct NodeDir(PathBuf);

impl NodeDir {
    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The socket of the node's containerd.
    pub fn containerd_socket(&self) -> PathBuf {
        self.0.join("containerd.sock")
    }

    /// The folder behind one of the node's local persistent volumes.
    pub fn volume(&self, index: usize) -> PathBuf {
        self.0.join("volumes").join(format!("vol-{index:02}"))
    }
}
