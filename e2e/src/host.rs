//! The host's side: whether the cluster can run here, and the one link to it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, geteuid};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::files;
use crate::process::Program;
use crate::topology::{HOST_ADDRESS, HOST_LINK, INNER_LINK, LINK_NETWORK};
use crate::wait;

/// Refuses where nothing needs to be installed to know that it cannot work: wrong system, not root.
pub fn check_system() -> Result<()> {
    if std::env::consts::OS != "linux" {
        return Err(Error::refused(
            format!(
                "this is {}, and nodes need Linux namespaces",
                std::env::consts::OS
            ),
            "Run it on a Linux machine or in a virtual machine.",
        ));
    }
    if !geteuid().is_root() {
        return Err(Error::refused(
            "namespaces, mounts and cgroups need root",
            "Run it as root (sudo -E keeps the caches of your user).",
        ));
    }
    Ok(())
}

/// Refuses where the kernel lacks a part, or the link's name or subnet is taken.
pub fn check_machine() -> Result<()> {
    check_kernel()?;
    if link_exists()? {
        remove_left_link()?;
    }
    let routes = Program::new("ip")
        .args(["-4", "-json", "route", "show", "table", "all"])
        .run()?;
    match taken(&routes)? {
        None => Ok(()),
        Some(route) => Err(Error::refused(
            format!(
                "the subnet {}/{} of the link to the cluster is taken: {} on {}",
                LINK_NETWORK.0,
                LINK_NETWORK.1,
                route.dst,
                route.dev.as_deref().unwrap_or("no device")
            ),
            "Remove that route or address, or run the cluster on another machine.",
        )),
    }
}

/// Removes the link of a cluster that has just ended: no cluster runs any more, and the kernel may take a minute to take it
/// away with its namespace. What has its name and is no such link is somebody else's.
fn remove_left_link() -> Result<()> {
    let of_ours = Program::new("ip").args(["-json", "link", "show", "dev", HOST_LINK, "type", "veth"]);
    // Gone by now is as good.
    let is_ours = of_ours.run().map_or(true, |links| links.contains(HOST_LINK));
    if is_ours {
        let _ = Program::new("ip")
            .args(["link", "delete", "dev", HOST_LINK])
            .run();
    }
    if is_ours && await_no_link(Duration::from_secs(20)).is_ok() {
        return Ok(());
    }
    Err(Error::refused(
        format!("the network interface {HOST_LINK} exists already"),
        format!("Something else uses its name: `ip link delete {HOST_LINK}` removes it."),
    ))
}

/// Creates the link: the host's end here, the other in the network namespace of `init`.
pub fn create_link(init: Pid) -> Result<()> {
    let init = init.as_raw_nonzero();
    let batch = format!(
        "link add {HOST_LINK} type veth peer name {INNER_LINK} netns {init}\n\
         address add {HOST_ADDRESS}/{} dev {HOST_LINK}\n\
         link set {HOST_LINK} up\n",
        LINK_NETWORK.1
    );
    Program::new("ip")
        .args(["-batch", "-"])
        .input(batch)
        .run()
        .map(drop)
}

/// Waits until the kernel has taken the link away, which it does some time after its namespace is gone.
pub fn await_no_link(deadline: Duration) -> Result<()> {
    wait::until(
        &format!("the network interface {HOST_LINK} did not go away"),
        deadline,
        Path::new(INTERFACES),
        || Ok((!link_exists()?).then_some(())),
    )
}

/// The network interfaces of this process's namespace. `/sys/class/net` shows those of whoever mounted it.
const INTERFACES: &str = "/proc/self/net/dev";

/// The names of all network interfaces.
pub fn interfaces() -> Result<Vec<String>> {
    let table = files::read(Path::new(INTERFACES))?;
    let named = table.lines().filter_map(|line| line.split_once(':'));
    Ok(named.map(|(name, _)| name.trim().to_owned()).collect())
}

fn link_exists() -> Result<bool> {
    Ok(interfaces()?.iter().any(|name| name == HOST_LINK))
}

/// Tries the kernel's parts in namespaces that end with the attempt.
fn check_kernel() -> Result<()> {
    let attempts = [
        ("network, mount and PID namespaces", "true"),
        ("bridge links", "ip link add traytry0 type bridge"),
        ("veth links", "ip link add traytry0 type veth"),
        ("nftables", "nft add table ip traytry"),
        (
            "overlayfs",
            "mount -t tmpfs tmpfs /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m && \
             mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w overlay /mnt/m",
        ),
    ];
    for (part, script) in attempts {
        let attempt = Program::new("unshare").args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
        ]);
        if let Err(error) = attempt.run() {
            return Err(Error::refused(
                format!("this kernel does not give us {part}\n{error}"),
                "Run it on a kernel that has them built in or as modules, without a container around it.",
            ));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Route {
    dst: String,
    dev: Option<String>,
}

/// The first route that overlaps the link's subnet; default routes do not count.
fn taken(routes: &str) -> Result<Option<Route>> {
    let routes: Vec<Route> =
        serde_json::from_str(routes).map_err(Error::unexpected("the answer of `ip route`"))?;
    Ok(routes
        .into_iter()
        .find(|route| network(&route.dst).is_some_and(|other| overlap(other, LINK_NETWORK))))
}

/// `10.0.0.0/8` or a single address; `None` for `default`.
fn network(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    Some((address.parse().ok()?, length.parse().ok()?))
}

fn overlap((left, left_length): (Ipv4Addr, u8), (right, right_length): (Ipv4Addr, u8)) -> bool {
    let length = u32::from(left_length.min(right_length));
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    length != 0 && (left.to_bits() & mask) == (right.to_bits() & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_over_our_subnet_is_named_and_the_default_route_is_not_one() {
        let free = r#"[{"dst":"default","dev":"eth0"},{"dst":"10.198.0.4/30","dev":"a"},{"dst":"0.0.0.0/0","dev":"b"}]"#;
        assert!(taken(free).unwrap().is_none());
        for dst in ["10.198.0.0/30", "10.198.0.1", "10.0.0.0/8", "10.198.0.3/32"] {
            let routes = format!(r#"[{{"dst":"default","dev":"eth0"}},{{"dst":"{dst}","dev":"vpn0"}}]"#);
            let route = taken(&routes).unwrap().unwrap();
            assert_eq!((route.dst.as_str(), route.dev.as_deref()), (dst, Some("vpn0")));
        }
    }
}
