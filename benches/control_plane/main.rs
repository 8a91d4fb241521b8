//! What the control plane costs, beside a bare loop ("ghost") that writes the same objects with the same client.
//!
//! `make bench-control-plane` runs it. Each run has a cluster of its own: etcd and kube-apiserver, nothing else. The same
//! number of TrayOrgs is there before either begins; ghost and operator run in turn, in processes of their own, under
//! the same account. Requests, their order and their times are read off the API server's audit log. Orgs are suspended:
//! nothing here makes pods, so what is rendered is all there is to do.
//!
//! Times hold for the machine they were taken on; ratios within a pair and counts travel.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench ends by panicking"
)]

mod aged;
mod audit;
#[allow(dead_code, reason = "tests read more of it")]
#[path = "../../tests/support/chart.rs"]
mod chart;
mod cluster;
mod contestant;
mod counted;
mod ghost;
#[path = "../../tests/support/objects.rs"]
mod objects;
mod population;
mod process;
mod report;
mod scenario;
#[path = "../../tests/support/tools.rs"]
mod tools;

use std::sync::Arc;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use tray_operator::{adapters::clock::SystemClock, controllers::Driver, operator::drivers};
use tray_ports::{Clock, RegionBucket};
use tray_testkit::memory::MemoryStore;

/// Measures the control plane.
#[derive(Parser)]
struct Arguments {
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// Numbers of orgs to measure with.
    #[arg(long, value_delimiter = ',', default_value = "300,1000")]
    orgs: Vec<usize>,
    /// Runs of ghost and operator, in turn, for each number.
    #[arg(long, default_value_t = 3)]
    pairs: usize,
    /// Seconds for which nothing happens while idle requests are counted.
    #[arg(long, default_value_t = 120)]
    idle: u64,
    /// Leave the controller of backups out: what it costs is the difference.
    #[arg(long)]
    without_backups: bool,
    /// Every org has a ledger of a year: what its memory costs is the difference.
    #[arg(long, conflicts_with = "without_backups")]
    aged: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a process of its own does.
#[derive(Clone, Copy, Subcommand)]
pub enum Role {
    /// Writes every child of every org, once.
    Ghost { orgs: usize },
    /// Writes the child that a change asks for, as soon as it hears of it.
    Follower { orgs: usize },
    /// Runs the operator's controllers.
    Operator { orgs: usize },
    /// Runs them over ledgers that are a year old.
    Aged { orgs: usize },
    /// Runs all of them but that of backups.
    WithoutBackups { orgs: usize },
}

impl Arguments {
    /// The role of what is measured beside the ghost.
    fn operator(&self) -> &'static str {
        if self.aged {
            "aged"
        } else if self.without_backups {
            "without-backups"
        } else {
            "operator"
        }
    }
}

fn without_backups() -> Vec<Arc<dyn Driver>> {
    let mut drivers = drivers();
    drivers.retain(|driver| driver.name() != "backup");
    drivers
}

/// A bucket with nothing in it.
fn young() -> Arc<dyn RegionBucket> {
    Arc::new(MemoryStore::default())
}

/// A bucket with old ledgers in it. Each process has its own: they are the same within an hour.
fn aged() -> Arc<dyn RegionBucket> {
    let now = SystemClock.now().as_second();
    let hour = Timestamp::from_second(now - now % 3_600).unwrap();
    Arc::new(aged::AgedStore::new(hour))
}

fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match arguments.role {
            Some(Role::Ghost { orgs }) => ghost::write(orgs).await,
            Some(Role::Follower { orgs }) => ghost::follow(orgs).await,
            Some(Role::Operator { orgs }) => contestant::run(orgs, drivers(), young()).await,
            Some(Role::Aged { orgs }) => contestant::run(orgs, drivers(), aged()).await,
            Some(Role::WithoutBackups { orgs }) => contestant::run(orgs, without_backups(), young()).await,
            None => report::run(&arguments).await,
        }
    });
}
