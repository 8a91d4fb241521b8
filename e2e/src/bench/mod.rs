//! `make bench`: what an org costs, measured on the local cluster. Figures are printed, never asserted.

mod movers;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use crate::audit::{AuditLog, Requests};
use crate::cluster::Cluster;
use crate::demo::kube::Kube;
use crate::error::{Error, Result};
use crate::examples;
use crate::files;
use crate::paths::workspace;
use crate::progress::Progress;
use crate::wait;

/// Who the operator is to the API server.
const OPERATOR: &str = "system:serviceaccount:tray-system:tray-operator";
/// How long nothing happens while idle requests are counted.
const IDLE: Duration = Duration::from_secs(120);

/// The figures.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// One new org of each region.
    pub provisioned: Vec<Provisioned>,
    /// The operator's requests for each org and minute while nothing happens.
    pub idle_requests_per_org_and_minute: f64,
    /// Resident memory of each of the operator's processes, MiB.
    pub operator_mebibytes: Vec<f64>,
    /// How many orgs there were for the two figures above.
    pub orgs: usize,
    /// The mover of a volume that holds one gibibyte: its first copy, and one of which nothing has changed.
    pub movers: Vec<Moved>,
}

/// What a volume's mover took.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// From the start of its process until its end.
    pub seconds: f64,
    /// The most memory that was resident at once, MiB.
    pub mebibytes: f64,
    /// Bytes that the run added to the bucket, of all parts.
    pub bytes_added: u64,
}

/// What it took to make one org.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provisioned {
    /// The org.
    pub org: String,
    /// From `kubectl apply` until it was Ready.
    pub seconds: f64,
    /// The operator's requests meanwhile.
    pub requests: u64,
}

/// Measures the operator that is installed. The orgs that this makes stay until the cluster ends.
pub fn run(cluster: &Cluster, progress: Progress) -> Result<Figures> {
    examples::apply_platform(cluster)?;
    progress.step("the Regions are Ready");
    let log = AuditLog::new(cluster.dir().audit_log());
    let mut provisioned = Vec::new();
    for file in examples::ORGS {
        let made = provision(cluster, &log, file)?;
        progress.step(format!("{} is Ready after {:.1} s", made.org, made.seconds));
        provisioned.push(made);
        await_rest(cluster)?;
    }
    let orgs = count(cluster, "trayorgs")?;
    progress.step(format!("counting requests for {} s", IDLE.as_secs()));
    let mark = log.mark()?;
    thread::sleep(IDLE);
    let idle = log.since(mark)?.total(OPERATOR);
    let operator_mebibytes = operator_memory()?;
    let first = provisioned.first().map(|made| made.org.clone());
    let movers = first.map_or(Ok(Vec::new()), |org| movers::measure(cluster, &org, &progress))?;
    let figures = Figures {
        movers,
        provisioned,
        idle_requests_per_org_and_minute: idle as f64 / orgs.max(1) as f64 / (IDLE.as_secs_f64() / 60.0),
        operator_mebibytes,
        orgs,
    };
    let path = workspace().join("target/bench/result.json");
    let text = serde_json::to_string_pretty(&figures).map_err(Error::unexpected("the figures"))?;
    files::write(&path, &text)?;
    progress.step(format!("written to {}", path.display()));
    Ok(figures)
}

/// A new org like the example's: another name, another id.
fn provision(cluster: &Cluster, log: &AuditLog, file: &str) -> Result<Provisioned> {
    let mut org = examples::org(cluster, file)?;
    let example = org["metadata"]["name"].as_str().unwrap_or(file).to_owned();
    let taken = cluster.kubectl(["get", "trayorgs", "--output=name"]).run()?;
    let free = (1..).map(|number| format!("{example}-{number}"));
    let name = free
        .into_iter()
        .find(|name| !taken.lines().any(|line| line.ends_with(&format!("/{name}"))))
        .unwrap_or(example);
    org["metadata"]["name"] = json!(name);
    if let Some(spec) = org["spec"].as_object_mut() {
        spec.remove("orgId");
    }
    let mark = log.mark()?;
    let started = Instant::now();
    examples::apply(cluster, &[org])?;
    examples::await_ready(
        &Kube::of(cluster)?,
        "trayorg",
        Some(&name),
        Duration::from_secs(120),
    )?;
    let seconds = started.elapsed().as_secs_f64();
    // Its first snapshot begins at once. The status is written when the org has settled, and not before.
    let requests: Requests = log.until_status(mark, OPERATOR, "trayorgs", &name)?;
    Ok(Provisioned {
        requests: requests.total(OPERATOR),
        org: name,
        seconds,
    })
}

/// Waits until no mover runs: a new org's first snapshot is part of neither figure.
fn await_rest(cluster: &Cluster) -> Result<()> {
    let movers = cluster.kubectl([
        "get",
        "jobs",
        "--all-namespaces",
        "--selector=platform.tray.ai/component=mover",
        "--output=jsonpath={range .items[*]}{.status.active}{\"\\n\"}{end}",
    ]);
    let mut quiet_since: Option<Instant> = None;
    wait::until(
        "the movers did not end",
        Duration::from_secs(600),
        &cluster.dir().logs(),
        || {
            let busy = movers.run()?.lines().any(|active| !active.trim().is_empty());
            quiet_since = (!busy).then(|| quiet_since.unwrap_or_else(Instant::now));
            Ok(quiet_since
                .is_some_and(|since| since.elapsed() > Duration::from_secs(15))
                .then_some(()))
        },
    )
}

fn count(cluster: &Cluster, kind: &str) -> Result<usize> {
    let names = cluster.kubectl(["get", kind, "--output=name"]).run()?;
    Ok(names.lines().count())
}

/// Resident memory of all processes `tray-operator run`, the largest first: the one that leads.
fn operator_memory() -> Result<Vec<f64>> {
    let proc = Path::new("/proc");
    let mut sizes: Vec<f64> = fs::read_dir(proc)
        .map_err(Error::file("list", proc))?
        .flatten()
        .filter(|entry| {
            // A process that has just ended has no files.
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            command.ends_with(b"tray-operator\0run\0")
        })
        .filter_map(|entry| memory(&fs::read_to_string(entry.path().join("status")).ok()?, "VmRSS:"))
        .collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    Ok(sizes)
}

/// A line of a process's status, in MiB: `VmRSS:` is what is resident, `VmHWM:` the most that was.
fn memory(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes / 1024.0)
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Provisioned {
            org,
            seconds,
            requests,
        } in &self.provisioned
        {
            writeln!(f, "{org:<24} apply to Ready: {seconds:.1} s, {requests} requests")?;
        }
        writeln!(
            f,
            "idle: {:.2} requests per org and minute ({} orgs)",
            self.idle_requests_per_org_and_minute, self.orgs
        )?;
        let sizes: Vec<String> = self
            .operator_mebibytes
            .iter()
            .map(|size| format!("{size:.1}"))
            .collect();
        writeln!(
            f,
            "operator: {} MiB resident, the leading process first",
            sizes.join(" and ")
        )?;
        for (what, moved) in ["on 1 GiB", "the same, nothing changed"].iter().zip(&self.movers) {
            let Moved {
                seconds,
                mebibytes,
                bytes_added,
            } = moved;
            writeln!(
                f,
                "mover {what}: {seconds:.1} s, {mebibytes:.0} MiB resident at most, {bytes_added} bytes added by the run"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_a_process_status() {
        assert_eq!(
            memory(
                "Name:\ttray-operator\nVmRSS:\t   20480 kB\nRssAnon: 1 kB\n",
                "VmRSS:"
            ),
            Some(20.0)
        );
        assert_eq!(memory("Name:\tkthreadd\n", "VmRSS:"), None);
    }
}
