//! Runs everything in turn, and tells it: a table, and `target/bench/control-plane.json`.

use std::{fs, path::PathBuf, time::Duration};

use serde::Serialize;

use super::{
    Arguments,
    scenario::{self, Answers, OfGhost, OfOperator},
};

/// Everything measured with one number of orgs.
#[derive(Debug, Serialize)]
struct Population {
    orgs: usize,
    pairs: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct Pair {
    ghost: OfGhost,
    operator: OfOperator,
}

/// Measures with each number of orgs.
pub(crate) async fn run(arguments: &Arguments) {
    let (role, idle) = (arguments.operator(), Duration::from_secs(arguments.idle));
    let mut populations = Vec::new();
    for &orgs in &arguments.orgs {
        let mut measured = Vec::new();
        for number in 0..arguments.pairs {
            // All that comes after the orgs are there is measured once.
            let whole = number == 0;
            eprintln!("{orgs} orgs, pair {}: ghost", number + 1);
            let ghost = scenario::ghost(orgs, whole).await;
            eprintln!("{orgs} orgs, pair {}: {role}", number + 1);
            let operator = scenario::operator(role, orgs, whole, idle).await;
            measured.push(Pair { ghost, operator });
        }
        let population = Population {
            orgs,
            pairs: measured,
        };
        print!("{}", table(&population));
        populations.push(population);
    }
    if let [first, .., last] = &populations[..] {
        print!("{}", slope(first, last));
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("control-plane.json");
    fs::write(&path, serde_json::to_string_pretty(&populations).unwrap()).unwrap();
    println!("written to {}", path.display());
}

fn table(population: &Population) -> String {
    let Population { orgs, pairs } = population;
    let mut lines = vec![format!(
        "\n{orgs} orgs, {} pairs: ghost, operator, ratio within a pair (median, least to most)",
        pairs.len()
    )];
    lines.extend(comparisons().iter().map(|comparison| comparison.row(pairs)));
    if let Some(pair) = pairs.first() {
        lines.extend(counts(&pair.operator));
    }
    lines.join("\n") + "\n"
}

/// A figure that both have.
struct Comparison {
    name: &'static str,
    ghost: fn(&OfGhost) -> f64,
    operator: fn(&OfOperator) -> f64,
}

fn comparisons() -> [Comparison; 10] {
    let of = |name, ghost, operator| Comparison {
        name,
        ghost,
        operator,
    };
    [
        of(
            "seconds until every child exists",
            |g| g.provisioned.children_seconds,
            |o| o.provisioned.children_seconds,
        ),
        of(
            "seconds until settled",
            |g| g.provisioned.settled_seconds,
            |o| o.provisioned.settled_seconds,
        ),
        of(
            "writes an org",
            |g| g.provisioned.writes_per_org,
            |o| o.provisioned.writes_per_org,
        ),
        of(
            "CPU of kube-apiserver, ms an org",
            |g| g.provisioned.cpu_of_server,
            |o| o.provisioned.cpu_of_server,
        ),
        of(
            "CPU of etcd, ms an org",
            |g| g.provisioned.cpu_of_etcd,
            |o| o.provisioned.cpu_of_etcd,
        ),
        of(
            "its own CPU, ms an org",
            |g| g.provisioned.cpu_of_contestant,
            |o| o.provisioned.cpu_of_contestant,
        ),
        of(
            "one field changed, p50 ms",
            |g| p50(g.changed.as_ref()),
            |o| p50(o.changed.as_ref()),
        ),
        of(
            "one field changed, p99 ms",
            |g| p99(g.changed.as_ref()),
            |o| p99(o.changed.as_ref()),
        ),
        of(
            "a child deleted, p50 ms",
            |g| p50(g.deleted.as_ref()),
            |o| p50(o.deleted.as_ref()),
        ),
        of(
            "a child deleted, p99 ms",
            |g| p99(g.deleted.as_ref()),
            |o| p99(o.deleted.as_ref()),
        ),
    ]
}

fn p50(answers: Option<&Answers>) -> f64 {
    answers.map_or(f64::NAN, |answers| answers.p50_milliseconds)
}

fn p99(answers: Option<&Answers>) -> f64 {
    answers.map_or(f64::NAN, |answers| answers.p99_milliseconds)
}

impl Comparison {
    fn row(&self, pairs: &[Pair]) -> String {
        let both = pairs
            .iter()
            .map(|pair| ((self.ghost)(&pair.ghost), (self.operator)(&pair.operator)));
        let measured: Vec<(f64, f64)> = both.filter(|(ghost, _)| ghost.is_finite()).collect();
        let ratios = sorted(measured.iter().map(|(ghost, operator)| operator / ghost));
        format!(
            "{:<36}{:>10.2}{:>10.2}{:>8.2} ({:.2} to {:.2})",
            self.name,
            middle(&sorted(measured.iter().map(|both| both.0))),
            middle(&sorted(measured.iter().map(|both| both.1))),
            middle(&ratios),
            ratios.first().unwrap_or(&f64::NAN),
            ratios.last().unwrap_or(&f64::NAN),
        )
    }
}

/// What only the operator has.
fn counts(operator: &OfOperator) -> Vec<String> {
    let provisioned = &operator.provisioned;
    let mut lines = vec![
        format!("reads while orgs are made: {}", provisioned.reads),
        format!("S3 requests until all are Ready: {}", provisioned.s3_requests),
    ];
    for (what, answers) in [
        ("one field changed", &operator.changed),
        ("a child deleted", &operator.deleted),
        ("a child edited", &operator.edited),
        ("one field changed, one org failing", &operator.beside_failing),
    ] {
        lines.extend(answers.iter().map(|answers| {
            let Answers {
                writes,
                reads,
                p50_milliseconds,
                p99_milliseconds,
            } = answers;
            format!(
                "{what}: {writes:.2} writes, {reads} reads, p50 {p50_milliseconds:.1} ms, p99 {p99_milliseconds:.1} ms"
            )
        }));
    }
    lines.extend(operator.idle.iter().map(|idle| {
        format!(
            "idle: {:.1} requests a minute, {:.2} % of a core, {:.1} MiB resident",
            idle.requests_per_minute,
            idle.cpu_percent,
            mib(idle.usage.resident_kib)
        )
    }));
    lines.extend(operator.restarted.iter().map(|restarted| {
        format!(
            "restart: {:.2} s, {:.2} s of CPU, {} writes, {:?}, {} S3 requests; peak {:.1} MiB, then {:.1} MiB",
            restarted.seconds,
            restarted.cpu_seconds,
            restarted.writes,
            restarted.requests,
            restarted.s3_requests,
            mib(restarted.later.peak_kib),
            mib(restarted.later.resident_kib)
        )
    }));
    lines
}

/// What an org costs in memory, between two populations.
fn slope(first: &Population, last: &Population) -> String {
    let line = |when: &str, resident: fn(&OfOperator) -> Option<u64>| {
        let of =
            |population: &Population| resident(&population.pairs.first()?.operator).map(|kib| kib as f64);
        let (small, large) = (of(first)?, of(last)?);
        let slope = (large - small) / (last.orgs - first.orgs) as f64;
        let base = (small - slope * first.orgs as f64) / 1024.0;
        Some(format!(
            "memory {when}: {slope:.1} KiB an org, {base:.1} MiB without any\n"
        ))
    };
    let made = line("after making them", |o| {
        o.idle.as_ref().map(|idle| idle.usage.resident_kib)
    });
    let again = line("after a restart", |o| {
        o.restarted.as_ref().map(|r| r.later.resident_kib)
    });
    [made, again].into_iter().flatten().collect()
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
