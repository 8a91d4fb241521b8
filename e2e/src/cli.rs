//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The local three-region cluster and what runs on it.
#[derive(Parser)]
#[command(name = "tray-e2e", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start, stop and look into the local cluster.
    #[command(subcommand, arg_required_else_help = true)]
    Cluster(ClusterCommand),
    /// Build the operator's image and print the path of its OCI archive.
    Image(Place),
    /// Build the operator and its image, load it on all nodes and install the chart with Helm.
    Install(Place),
    /// The main job from end to end on a cluster of its own: three orgs, snapshots under a writer, a loss, a restore.
    Demo {
        #[command(flatten)]
        place: Place,
        /// Leave everything running at the end.
        #[arg(long)]
        keep: bool,
    },
    /// With the operator installed: make orgs and print what they cost: seconds, requests, memory.
    Bench(Place),
    /// What the harness starts itself as, inside namespaces.
    #[command(subcommand, hide = true)]
    Internal(InternalCommand),
}

#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// Start the cluster; build and make first what the cache lacks. Prints how to reach it.
    Up(Place),
    /// Stop it and remove what a killed one left. Logs stay in the cluster's folder.
    Down(Place),
    /// Say whether it runs, and show its nodes.
    Status(Place),
    /// Fill the cache (programs, images) without starting anything.
    Prepare(Place),
    /// Count the requests to the API server since its start: per user, verb and resource, without leases and watches.
    Requests {
        #[command(flatten)]
        place: Place,
        /// Only this user's.
        #[arg(long)]
        user: Option<String>,
    },
    /// Run a program inside the cluster's namespaces: `… run ip address`.
    Run {
        #[command(flatten)]
        place: Place,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Print a kubeconfig for another user.
    Kubeconfig {
        #[command(flatten)]
        place: Place,
        /// The user's name.
        #[arg(long)]
        user: String,
        /// A group of theirs.
        #[arg(long)]
        group: Option<String>,
    },
    /// Load an image archive (OCI layout) on all nodes.
    LoadImage {
        #[command(flatten)]
        place: Place,
        /// The archive's path.
        archive: PathBuf,
    },
}

#[derive(Subcommand)]
pub(crate) enum InternalCommand {
    /// The first process of a cluster's namespaces.
    Init(Place),
    /// Starts and keeps everything inside.
    Supervise(Place),
    /// Fills a containerd root with images.
    Import {
        #[command(flatten)]
        place: Place,
        #[arg(long)]
        root: PathBuf,
        archives: Vec<PathBuf>,
    },
}

/// Where the cluster's folder and the cache are.
#[derive(Args)]
pub(crate) struct Place {
    /// The cluster's folder [default: target/cluster of the checkout]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Built programs and images [default: $TRAY_CACHE, else ~/.cache/tray-operator]
    #[arg(long)]
    pub cache: Option<PathBuf>,
}
