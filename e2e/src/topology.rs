//! The constants of the cluster: its nodes, addresses and names.

use std::net::Ipv4Addr;

/// One node: a kubelet and a containerd of its own.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    /// The name under which it registers.
    pub name: &'static str,
    /// The cloud region that it stands for (`topology.kubernetes.io/region`).
    pub region: &'static str,
    /// Position in [`NODES`], from 1; decides the node's address and pod subnet.
    pub index: u8,
}

/// One node per region.
pub const NODES: [Node; 3] = [
    Node {
        name: "us-west-2-n1",
        region: "us-west-2",
        index: 1,
    },
    Node {
        name: "eu-west-1-n1",
        region: "eu-west-1",
        index: 2,
    },
    Node {
        name: "ap-southeast-2-n1",
        region: "ap-southeast-2",
        index: 3,
    },
];

impl Node {
    /// The availability zone (`topology.kubernetes.io/zone`): each region has its zone `a`.
    pub fn zone(&self) -> String {
        format!("{}a", self.region)
    }

    /// The node's own address on the node network.
    pub const fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 199, 0, 10 + self.index)
    }

    /// The subnet that the node's pods get their addresses from.
    pub fn pod_subnet(&self) -> String {
        format!("10.244.{}.0/24", self.index)
    }

    /// The bridge that the node's pods are attached to.
    pub fn pod_bridge(&self) -> String {
        format!("tray{}", self.index)
    }
}

/// All pods' addresses.
pub const POD_NETWORK: &str = "10.244.0.0/16";
/// All Services' addresses.
pub const SERVICE_NETWORK: &str = "10.96.0.0/16";
/// The address of the Service `kubernetes`: the first one of [`SERVICE_NETWORK`].
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The address of the cluster's DNS.
pub const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The bridge inside the network namespace that stands for the network between the nodes.
pub const NODE_BRIDGE: &str = "trayhost";
/// Where pods and nodes reach the API server and the AWS stand-in.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 199, 0, 1);

/// The host's end of the one link to the cluster.
pub const HOST_LINK: &str = "tray-host0";
/// The cluster's end of it.
pub const INNER_LINK: &str = "tray0";
/// The link's subnet.
pub const LINK_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 198, 0, 0), 30);
/// The host's address on the link.
pub const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 198, 0, 1);
/// Where the host reaches the cluster: API server and AWS stand-in.
pub const CLUSTER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 198, 0, 2);

/// The port of the API server, on all of the cluster's addresses.
pub const API_PORT: u16 = 6443;

/// The folder of all our cgroups, below each hierarchy's root.
pub const CGROUP_ROOT: &str = "tray";
