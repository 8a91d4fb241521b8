//! `tray-e2e`: the local cluster from the command line.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;
use tray_e2e::audit::{AuditLog, Mark};
use tray_e2e::demo::Steps;
use tray_e2e::error::{Error, Result};
use tray_e2e::inside::{init, supervise};
use tray_e2e::tools::Toolbox;
use tray_e2e::{
    Cache, Cluster, ClusterDir, Lifetime, Program, Progress, bench, cluster, demo, files, image, install,
};

use crate::cli::{Cli, ClusterCommand, Command, InternalCommand, Place};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Cluster(command) => run_cluster(command),
        Command::Install(place) => place
            .open()
            .and_then(|cluster| install::install(&cluster, Progress::start())),
        Command::Image(place) => place
            .resolve()
            .and_then(|(_, cache)| install::image(&cache, Progress::start()))
            .map(|archive| println!("{}", archive.display())),
        Command::Demo { place, keep } => run_demo(&place, keep),
        Command::Bench(place) => place
            .open()
            .and_then(|cluster| bench::run(&cluster, Progress::start()))
            .map(|figures| print!("{figures}")),
        Command::Internal(command) => run_internal(command),
    };
    result.map_or_else(
        |error| {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run_cluster(command: ClusterCommand) -> Result<()> {
    match command {
        ClusterCommand::Up(place) => {
            let (dir, cache) = place.resolve()?;
            let progress = Progress::start();
            let cluster = Cluster::up(&dir, &cache, Lifetime::Detached, progress)?;
            progress.step("the cluster is up");
            println!("export KUBECONFIG={}", cluster.dir().kubeconfig().display());
            println!("export KUBECACHEDIR={}", cluster.dir().kubectl_cache().display());
            println!(
                "export PATH={}:$PATH",
                cluster.tools().folder_of("kubectl").display()
            );
            Ok(())
        }
        ClusterCommand::Down(place) => Cluster::down(&place.resolve()?.0),
        ClusterCommand::Status(place) => {
            let nodes = place
                .open()?
                .kubectl(["get", "nodes", "-L", "topology.kubernetes.io/region"])
                .run()?;
            print!("{nodes}");
            Ok(())
        }
        ClusterCommand::Prepare(place) => cluster::prepare_cache(&place.resolve()?.1, Progress::start()),
        ClusterCommand::Requests { place, user } => {
            let log = AuditLog::new(place.open()?.dir().audit_log());
            let requests = log.since(Mark::default())?;
            match user {
                Some(user) => print!("{}", requests.only(&user)),
                None => print!("{requests}"),
            }
            Ok(())
        }
        ClusterCommand::Run { place, command } => {
            let cluster = place.open()?;
            let (program, args) = command
                .split_first()
                .map_or(("true", &[][..]), |(first, rest)| (first, rest));
            let program = cluster.enter(Program::new(program).args(args));
            let status = program.interactive()?;
            if status.success() {
                return Ok(());
            }
            Err(Error::Program {
                command: program.to_string(),
                status,
                output: String::new(),
            })
        }
        ClusterCommand::Kubeconfig { place, user, group } => {
            print!("{}", place.open()?.kubeconfig_for(&user, group.as_deref())?);
            Ok(())
        }
        ClusterCommand::LoadImage { place, archive } => place.open()?.load_image(&archive),
    }
}

fn run_demo(place: &Place, keep: bool) -> Result<()> {
    let (dir, cache) = place.resolve()?;
    // A demo that fails leaves none of an earlier one behind.
    files::remove(&demo::result())?;
    let mut steps = Steps::start(Progress::start());
    let lifetime = if keep { Lifetime::Detached } else { Lifetime::Bound };
    Cluster::down(&dir)?;
    let cluster = Cluster::up(&dir, &cache, lifetime, steps.progress)?;
    steps.time("cluster");
    let outcome = demo::run(&cluster, steps);
    if outcome.is_err() {
        eprintln!(
            "the demo failed; what every component said is in {}",
            dir.logs().display()
        );
        if !keep {
            eprintln!(
                "`make demo KEEP=1` leaves the cluster running, to look at the orgs' conditions and events"
            );
        }
    }
    outcome?;
    if keep {
        println!("everything is left running; to look around:");
        println!("  export KUBECONFIG={}", cluster.dir().kubeconfig().display());
        println!(
            "  export PATH={}:$PATH",
            cluster.tools().folder_of("kubectl").display()
        );
        println!("  kubectl get tray --all-namespaces   # every kind of ours");
        println!("  make cluster-down   # when you are done");
    }
    Ok(())
}

fn run_internal(command: InternalCommand) -> Result<()> {
    match command {
        InternalCommand::Init(place) => place.resolve().and_then(|(dir, cache)| init(&dir, &cache)),
        InternalCommand::Supervise(place) => place.resolve().and_then(|(dir, cache)| supervise(&dir, &cache)),
        InternalCommand::Import {
            place,
            root,
            archives,
        } => {
            let tools = Toolbox::ensure(&place.resolve()?.1, Progress::start())?;
            image::import_all(&root, &tools, &archives)
        }
    }
}

impl Place {
    fn resolve(&self) -> Result<(ClusterDir, Cache)> {
        let absolute =
            |path: &std::path::PathBuf| std::path::absolute(path).map_err(Error::file("find", path));
        let dir = self.dir.as_ref().map(absolute).transpose()?;
        let cache = self.cache.as_ref().map(absolute).transpose()?;
        Ok((
            dir.map_or_else(ClusterDir::in_workspace, ClusterDir::new),
            cache.map_or_else(Cache::from_env, Cache::new),
        ))
    }

    fn open(&self) -> Result<Cluster> {
        let (dir, cache) = self.resolve()?;
        Cluster::attach(&dir, &cache)
    }
}
