//! `tray-bucket`: looks into an org's part of the backup bucket, and writes what a test needs to find there.
//!
//! Test only. It works by the operator's own library (ledger, movers, session policies) and with the operator's own
//! rights, so that what it writes and reads has the product's formats and nothing else. While it writes, no operator runs.

mod aged;
mod damage;
mod foreign;
mod org;
mod runs;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use serde::Serialize;
use tray_domain::ids::PartId;

use crate::{
    damage::{Admin, Deleted},
    org::{Access, Org},
};

/// Why something failed; every text names the object.
type Failed = Box<dyn Error + Send + Sync>;

/// Acts on one org's part of its backup bucket, as the operator would. KUBECONFIG says which cluster; credentials come from
/// AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE.
#[derive(Parser)]
#[command(name = "tray-bucket", arg_required_else_help = true)]
struct Cli {
    /// PEM certificates to trust besides the system's.
    #[arg(long)]
    ca_bundle: PathBuf,
    /// Token of the operator's service account.
    #[arg(long, env = "AWS_WEB_IDENTITY_TOKEN_FILE")]
    web_identity_token: PathBuf,
    /// The TrayOrg.
    #[arg(long)]
    org: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a good run of some days ago: the newest good one's data and a file of its own.
    AgeRun {
        /// How many days ago everything about it happened.
        #[arg(long)]
        days: u32,
    },
    /// Show all committed runs of the ledger, and what of each lies in the bucket.
    Runs,
    /// Fill empty folders from every run that is not pruned, and compare them with its manifest.
    RestoreAll,
    /// Show whose key everything in the org's repositories lies under, and try another org's keys on it.
    TryForeignKey {
        /// The other TrayOrg.
        #[arg(long)]
        other: String,
    },
    /// Disable the org's key.
    DisableKey {
        #[command(flatten)]
        admin: Admin,
    },
    /// Enable the org's key again.
    EnableKey {
        #[command(flatten)]
        admin: Admin,
    },
    /// Delete the largest pack of a volume's repository, and show what brings it back.
    DeletePack {
        #[command(flatten)]
        admin: Admin,
        /// The volume's claim.
        #[arg(long)]
        volume: PartId,
    },
    /// Bring an object back from under its delete marker.
    Undelete {
        #[command(flatten)]
        admin: Admin,
        #[command(flatten)]
        deleted: Deleted,
    },
}

fn main() -> ExitCode {
    let provided = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match provided {
        Ok(()) => run(Cli::parse()),
        Err(_) => Err("another TLS provider is installed already".into()),
    };
    match done {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tray-bucket: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the command line says; the answer is JSON.
fn run(cli: Cli) -> Result<String, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let access = Access::connect(&cli.ca_bundle, cli.web_identity_token).await?;
        let org = Org::find(&access, &cli.org).await?;
        match cli.command {
            Command::AgeRun { days } => json(&aged::write(&org, days).await?),
            Command::Runs => json(&runs::show(&org).await?),
            Command::RestoreAll => json(&runs::restore_all(&org).await?),
            Command::TryForeignKey { other } => {
                let other = Org::find(&access, &other).await?;
                json(&foreign::attempt(&org, &other).await?)
            }
            Command::DisableKey { admin } => json(&damage::disable_key(&org, &admin).await?),
            Command::EnableKey { admin } => json(&damage::enable_key(&org, &admin).await?),
            Command::DeletePack { admin, volume } => json(&damage::delete_pack(&org, &admin, &volume).await?),
            Command::Undelete { admin, deleted } => json(&damage::undelete(&org, &admin, &deleted).await?),
        }
    })
}

fn json(answer: &impl Serialize) -> Result<String, Failed> {
    Ok(serde_json::to_string(answer)?)
}
