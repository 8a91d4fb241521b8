//! The binary `tray-operator`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before anything else: two TLS providers in one process could not agree who is the default.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("tray-operator: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    tray_operator::cli::Cli::parse().execute()
}
