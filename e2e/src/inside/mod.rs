//! What runs inside the cluster's namespaces.

pub mod addons;
mod control_plane;
mod daemons;
mod init;
mod isolation;
mod network;
mod node;
mod supervisor;

pub use control_plane::TOKEN_ISSUER;
pub use daemons::Daemons;
pub use init::init;
pub use supervisor::{DETACH, LINKED, Message, supervise};

use crate::error::Result;
use crate::paths::{Cache, ClusterDir};
use crate::tools::Toolbox;

/// What a service inside the namespaces may use.
pub struct Inside<'a> {
    /// The cluster's folder, as seen inside.
    pub dir: &'a ClusterDir,
    /// The cache, as seen inside. It is for reading.
    pub cache: &'a Cache,
    /// The built programs.
    pub tools: &'a Toolbox,
    /// Starts long-running programs and keeps them running.
    pub daemons: &'a Daemons,
}

/// Something that runs beside Kubernetes, inside the same namespaces.
pub struct ExtraService {
    /// For progress and errors.
    pub name: &'static str,
    /// On the host, before anything is started: fills the cache with what `start` needs.
    pub prepare: fn(&Cache) -> Result<()>,
    /// Inside: starts it and returns when it answers. Nodes and API server start meanwhile.
    pub start: fn(&Inside) -> Result<()>,
}

/// The services that every cluster has besides Kubernetes.
pub const EXTRA_SERVICES: &[ExtraService] = &[crate::aws::SERVICE];
