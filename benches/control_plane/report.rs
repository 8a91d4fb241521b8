//! Runs everything in turn, and tells it: a table, and `target/bench/control-plane.json`.

use std::{fs, path::PathBuf, time::Duration};

use serde::Serialize;

use super::scenario::{self, OfGhost, OfOperator};

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
pub async fn run(orgs: &[usize], pairs: usize, idle: u64) {
    let mut populations = Vec::new();
    for &orgs in orgs {
        let mut measured = Vec::new();
        for number in 0..pairs {
            // All that comes after the orgs are there is measured once.
            let whole = number == 0;
            eprintln!("{orgs} orgs, pair {}: ghost", number + 1);
            let ghost = scenario::ghost(orgs, whole).await;
            eprintln!("{orgs} orgs, pair {}: operator", number + 1);
            let operator = scenario::operator(orgs, whole, Duration::from_secs(idle)).await;
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
    let mut text = format!(
        "\n{orgs} orgs, {} pairs (ghost | operator | ratio within a pair: median, least to most)\n",
        pairs.len()
    );
    let mut row = |name: &str, ghost: &dyn Fn(&OfGhost) -> f64, operator: &dyn Fn(&OfOperator) -> f64| {
        let of = |pair: &Pair| (ghost(&pair.ghost), operator(&pair.operator));
        let measured: Vec<(f64, f64)> = pairs
            .iter()
            .map(of)
            .filter(|(ghost, _)| ghost.is_finite())
            .collect();
        let ratios = sorted(measured.iter().map(|(ghost, operator)| operator / ghost));
        let (ghosts, operators) = (
            sorted(measured.iter().map(|m| m.0)),
            sorted(measured.iter().map(|m| m.1)),
        );
        text += &format!(
            "{name:<46}{:>10.2}{:>10.2}{:>8.2} ({:.2} to {:.2})\n",
            middle(&ghosts),
            middle(&operators),
            middle(&ratios),
            ratios.first().unwrap_or(&f64::NAN),
            ratios.last().unwrap_or(&f64::NAN),
        );
    };
    row(
        "seconds until every child exists",
        &|g| g.provisioned.children_seconds,
        &|o| o.provisioned.children_seconds,
    );
    row(
        "seconds until settled",
        &|g| g.provisioned.settled_seconds,
        &|o| o.provisioned.settled_seconds,
    );
    row("writes an org", &|g| g.provisioned.writes_per_org, &|o| {
        o.provisioned.writes_per_org
    });
    row(
        "CPU of kube-apiserver, ms an org",
        &|g| g.provisioned.cpu_of_server,
        &|o| o.provisioned.cpu_of_server,
    );
    row("CPU of etcd, ms an org", &|g| g.provisioned.cpu_of_etcd, &|o| {
        o.provisioned.cpu_of_etcd
    });
    row(
        "its own CPU, ms an org",
        &|g| g.provisioned.cpu_of_contestant,
        &|o| o.provisioned.cpu_of_contestant,
    );
    let changed = |a: &Option<scenario::Answers>| {
        a.as_ref()
            .map_or((f64::NAN, f64::NAN), |a| (a.p50_milliseconds, a.p99_milliseconds))
    };
    row("one field changed: p50 ms", &|g| changed(&g.changed).0, &|o| {
        changed(&o.changed).0
    });
    row("one field changed: p99 ms", &|g| changed(&g.changed).1, &|o| {
        changed(&o.changed).1
    });
    row("child deleted: p50 ms", &|g| changed(&g.deleted).0, &|o| {
        changed(&o.deleted).0
    });
    row("child deleted: p99 ms", &|g| changed(&g.deleted).1, &|o| {
        changed(&o.deleted).1
    });
    let Some(OfOperator {
        provisioned,
        idle,
        changed,
        deleted,
        edited,
        restarted,
    }) = pairs.first().map(|pair| &pair.operator)
    else {
        return text;
    };
    text += &format!("reads while orgs are made: {}\n", provisioned.reads);
    for (what, answers) in [
        ("one field changed", changed),
        ("a child deleted", deleted),
        ("a child edited", edited),
    ] {
        if let Some(answers) = answers {
            text += &format!(
                "{what}: {:.2} writes, {} reads, p50 {:.1} ms\n",
                answers.writes, answers.reads, answers.p50_milliseconds
            );
        }
    }
    if let Some(idle) = idle {
        text += &format!(
            "idle: {:.1} requests a minute, {:.2} % of a core, {:.1} MiB resident\n",
            idle.requests_per_minute,
            idle.cpu_percent,
            mib(idle.usage.resident_kib)
        );
    }
    if let Some(restarted) = restarted {
        text += &format!(
            "restart: {:.2} s, {:.2} s of CPU, {} writes, {:?}; peak {:.1} MiB, then {:.1} MiB\n",
            restarted.seconds,
            restarted.cpu_seconds,
            restarted.writes,
            restarted.requests,
            mib(restarted.later.peak_kib),
            mib(restarted.later.resident_kib)
        );
    }
    text
}

/// What an org costs in memory, between two populations.
fn slope(first: &Population, last: &Population) -> String {
    let resident = |population: &Population, of: fn(&OfOperator) -> Option<u64>| {
        let operator = &population.pairs.first()?.operator;
        Some((population.orgs as f64, of(operator)? as f64))
    };
    let mut text = String::new();
    for (when, of) in [
        (
            "after making them",
            (|o| o.idle.as_ref().map(|idle| idle.usage.resident_kib)) as fn(&OfOperator) -> Option<u64>,
        ),
        ("after a restart", |o| {
            o.restarted.as_ref().map(|restarted| restarted.later.resident_kib)
        }),
    ] {
        if let (Some((few, small)), Some((many, large))) = (resident(first, of), resident(last, of)) {
            let slope = (large - small) / (many - few);
            text += &format!(
                "memory {when}: {slope:.1} KiB an org, {:.1} MiB without any\n",
                (small - slope * few) / 1024.0
            );
        }
    }
    text
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
