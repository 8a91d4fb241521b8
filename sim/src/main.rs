//! `tray-sim`: simulates seeds, and says what must not have been.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    process::ExitCode,
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;
use tray_sim::{
    log,
    simulation::{self, Plan, Report},
};

/// Simulates the real controllers in a world that is made up, with every fault that the real one has.
#[derive(Parser)]
struct Args {
    /// The seed, or seeds as `1..100`, with both ends.
    seeds: Seeds,
    /// How many orgs there are.
    #[arg(long, default_value_t = 3)]
    orgs: usize,
    /// How many days pass.
    #[arg(long, default_value_t = 2)]
    days: u64,
    /// Nothing goes wrong.
    #[arg(long)]
    calm: bool,
    /// Begin no further seed after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many seeds at once.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// The commit that this was built of, to be said of a seed that broke something.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Print every step of a single seed.
    #[arg(long)]
    steps: bool,
    /// Print what the controllers log: directives such as `tray_operator=debug`.
    #[arg(long)]
    log: Option<String>,
}

/// Seeds, the first and the last.
#[derive(Clone, Debug)]
struct Seeds(RangeInclusive<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let wrong = |error| format!("{text:?} is no seed: {error}");
            text.parse::<u64>().map_err(wrong)
        };
        Ok(Self(match text.split_once("..") {
            Some((first, last)) => number(first)?..=number(last)?,
            None => number(text)?..=number(text)?,
        }))
    }
}

/// What all seeds together came to.
#[derive(Default)]
struct Sum {
    worlds: u64,
    steps: u64,
    broken: u64,
    counted: BTreeMap<&'static str, u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(directives) = &args.log {
        tracing_subscriber::fmt()
            .with_env_filter(directives)
            .without_time()
            .init();
    }
    let began = Instant::now();
    let (sum, next) = (Mutex::new(Sum::default()), AtomicU64::new(*args.seeds.0.start()));
    thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| search(&args, began, &next, &sum));
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (what, count) in &sum.counted {
        println!("sometimes: {what}: {count}");
    }
    let seconds = began.elapsed().as_secs_f64();
    let org_days = sum.worlds as f64 * args.orgs as f64 * args.days as f64;
    println!(
        "{} worlds, {} steps, {} of them broke something; {org_days} org-days in {seconds:.1} s: {:.0} a second",
        sum.worlds,
        sum.steps,
        sum.broken,
        org_days / seconds
    );
    if sum.broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn search(args: &Args, began: Instant, next: &AtomicU64, sum: &Mutex<Sum>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        let is_late = args
            .minutes
            .is_some_and(|minutes| began.elapsed().as_secs() >= minutes * 60);
        if is_late || !args.seeds.0.contains(&seed) {
            return;
        }
        let plan = Plan {
            seed,
            orgs: args.orgs,
            days: args.days,
            faults: !args.calm,
            fenced: None,
        };
        let sink = args.steps.then(std::io::stdout);
        let report = match simulation::run_into(&plan, sink) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("tray-sim: {error}");
                return;
            }
        };
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.worlds += 1;
        sum.steps += report.trace.1;
        sum.broken += u64::from(!report.broken.is_empty());
        for (what, count) in &report.counted {
            *sum.counted.entry(what).or_default() += count;
        }
        // Under the lock, so that what is said of one seed stays together.
        tell(args, &report);
    }
}

fn tell(args: &Args, report: &Report) {
    let (plan, (hash, count)) = (&report.plan, report.trace);
    if args.seeds.0.start() == args.seeds.0.end() || !report.broken.is_empty() {
        println!(
            "seed {} ({} orgs, {} days): {count} steps, trace {hash:016x}",
            plan.seed, plan.orgs, plan.days
        );
    }
    if report.broken.is_empty() {
        return;
    }
    for broken in &report.broken {
        println!(
            "BROKEN: seed {} at commit {}: invariant {}: {} ({})",
            plan.seed, args.commit, broken.invariant, broken.what, broken.at
        );
    }
    println!(
        "the last steps before the first of them:\n{}",
        log::in_words(&report.last)
    );
}
