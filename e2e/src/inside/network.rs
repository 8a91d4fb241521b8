//! The network inside the namespace: the link to the host, and the bridge that stands for the network between nodes.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::Result;
use crate::files;
use crate::process::Program;
use crate::topology::{CLUSTER_ADDRESS, GATEWAY, INNER_LINK, LINK_NETWORK, NODE_BRIDGE, NODES};

/// Configures the links. The host has created its side before.
pub(super) fn configure() -> Result<()> {
    let mut batch = format!(
        "link set lo up\n\
         address add {CLUSTER_ADDRESS}/{} dev {INNER_LINK}\n\
         link set {INNER_LINK} up\n\
         link add {NODE_BRIDGE} type bridge\n\
         address add {GATEWAY}/24 dev {NODE_BRIDGE}\n",
        LINK_NETWORK.1
    );
    for node in &NODES {
        // Writing to a String cannot fail.
        let _ = writeln!(batch, "address add {}/24 dev {NODE_BRIDGE}", node.address());
    }
    let _ = writeln!(batch, "link set {NODE_BRIDGE} up");
    Program::new("ip").args(["-batch", "-"]).input(batch).run()?;

    files::write(Path::new("/proc/sys/net/ipv4/ip_forward"), "1")?;
    // Two pods on one bridge that talk through a Service: the answer must pass kube-proxy's rules too.
    let bridged = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if bridged.exists() {
        files::write(bridged, "1")?;
    }
    Ok(())
}
