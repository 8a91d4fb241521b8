//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tray_api::crds;

use crate::{
    config::{MoverArgs, RespondArgs, RunArgs},
    mover_process, operator, responder,
};

/// Kubernetes operator for orgs of an integration platform in segregated regions.
#[derive(Debug, Parser)]
#[command(name = "tray-operator", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controllers.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Answer calls of webhook hosts that do not reach an org.
    Respond(RespondArgs),
    /// The data plane: run as Jobs by the operator.
    #[command(subcommand)]
    Mover(MoverCommand),
}

#[derive(Debug, Subcommand)]
enum MoverCommand {
    /// Do what the mounted task says.
    Run(MoverArgs),
}

impl Cli {
    /// Does what the command line says. What went wrong is on standard error.
    pub fn execute(self) -> ExitCode {
        let result = match self.command {
            Command::Run(args) => operator::run(*args),
            Command::Crds => print_crds(),
            Command::Respond(args) => responder::run(args),
            Command::Mover(MoverCommand::Run(args)) => return mover_process::run(args),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("tray-operator: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn print_crds() -> Outcome {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    for (_, yaml) in crds::render()? {
        writeln!(out, "---\n{}", yaml.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
