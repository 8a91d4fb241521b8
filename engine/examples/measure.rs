//! Measures the engine on one gibibyte: seconds and peak memory of each step, beside plain tools as a yardstick.
//!
//! `make bench` runs it; `measure FOLDER` makes the data in FOLDER and prints one line of JSON a step.
//! Every step runs in a process of its own, so that its peak memory is its own. Figures hold for the machine they
//! were taken on; the ratios to `sha256` (reading and hashing the same data on one core) travel better.

use std::{
    error::Error,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use sha2::{Digest, Sha256};
use tray_engine::{BackupRequest, DirStore, Engine, NoProgress, Repository, RepositoryKey, RusticEngine};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const STEPS: [&str; 8] = [
    "sha256",
    "copy",
    "first-snapshot",
    "unchanged",
    "one-percent-changed",
    "verify",
    "restore",
    "prune",
];
const MIB: usize = 1 << 20;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1..) {
        Some([folder]) => {
            make_data(&Path::new(folder).join("data"))?;
            let mut yardstick = 0.0;
            for step in STEPS {
                let output = Command::new(std::env::current_exe()?)
                    .args([folder, step])
                    .output()?;
                let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                if !output.status.success() {
                    return Err(format!("{step} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
                }
                let cpu = serde_json::from_str::<serde_json::Value>(&line)?["cpuSeconds"]
                    .as_f64()
                    .unwrap_or(0.0);
                if step == "sha256" {
                    yardstick = cpu;
                }
                println!(
                    "{}",
                    line.replacen('}', &format!(r#","cpuToSha256":{:.2}}}"#, cpu / yardstick), 1)
                );
            }
            Ok(())
        }
        Some([folder, step]) => {
            if step == "one-percent-changed" {
                change_data(&Path::new(folder).join("data"))?;
            }
            let started = Instant::now();
            let said = run(Path::new(folder), step)?;
            let seconds = started.elapsed().as_secs_f64();
            println!(
                r#"{{"step":"{step}","seconds":{seconds:.2},"cpuSeconds":{:.2},"peakMiB":{},"said":{}}}"#,
                cpu_seconds()?,
                peak_mib()?,
                serde_json::Value::from(said.replace(['{', '}'], "")),
            );
            Ok(())
        }
        _ => Err("usage: measure FOLDER".into()),
    }
}

fn run(folder: &Path, step: &str) -> Outcome<String> {
    let data = folder.join("data");
    let open = || -> Outcome<Box<dyn Repository>> {
        let store = Arc::new(DirStore::new(folder.join("repo")));
        Ok(RusticEngine.open_or_init(store, &RepositoryKey::from_bytes([3; 64]), &folder.join("work"))?)
    };
    let newest = |repository: &mut Box<dyn Repository>| -> Outcome<_> {
        Ok(repository.snapshots()?.pop().ok_or("no snapshot")?.id)
    };
    Ok(match step {
        "sha256" => {
            let mut sum = Sha256::new();
            for file in files(&data)? {
                let mut file = fs::File::open(file)?;
                let mut buffer = vec![0; MIB];
                while let length @ 1.. = file.read(&mut buffer)? {
                    sum.update(buffer.get(..length).unwrap_or_default());
                }
            }
            hex::encode(sum.finalize())
        }
        "copy" => {
            let status = Command::new("cp")
                .arg("-a")
                .args([&data, &folder.join("copy")])
                .status()?;
            format!("{status}")
        }
        "first-snapshot" | "unchanged" | "one-percent-changed" => {
            let report = open()?.backup(&request(&data, step)?, &NoProgress)?;
            format!(
                "{} files, {} read, {} added",
                report.files, report.bytes_read, report.bytes_added
            )
        }
        "verify" => {
            let mut repository = open()?;
            let id = newest(&mut repository)?;
            format!("{:?}", repository.verify(&id, &NoProgress)?)
        }
        "restore" => {
            let target = folder.join("restored");
            fs::create_dir(&target)?;
            let mut repository = open()?;
            let id = newest(&mut repository)?;
            format!("{} bytes", repository.restore(&id, &target, &NoProgress)?.bytes)
        }
        "prune" => {
            let mut repository = open()?;
            let oldest = repository.snapshots()?.remove(0).id;
            repository.forget(&[oldest])?;
            let request = tray_engine::PruneRequest {
                now: "2100-01-01T00:00:00Z".parse()?,
                keep_pack: jiff::SignedDuration::from_hours(72),
                keep_delete: jiff::SignedDuration::from_hours(23),
            };
            format!("{:?}", repository.prune(&request)?)
        }
        other => return Err(format!("{other}: no such step").into()),
    })
}

fn request(data: &Path, step: &str) -> Outcome<BackupRequest> {
    let number = STEPS.iter().position(|known| *known == step).unwrap_or_default();
    Ok(BackupRequest {
        root: data.to_owned(),
        paths: Vec::new(),
        time: format!("2026-01-{:02}T00:00:00Z", number + 1).parse()?,
        run_id: step.to_owned(),
        host: "data".to_owned(),
        parent: None,
    })
}

/// 20,000 small files, 1,000 of middle size and two large ones of database-like pages: one gibibyte.
fn make_data(data: &Path) -> Outcome {
    if data.exists() {
        return Ok(());
    }
    let mut noise = Noise(42);
    for number in 0..20_000 {
        write(
            data,
            &format!("small/{:03}/{number}", number % 200),
            &noise.text((1 + number % 16) << 10),
        )?;
    }
    for number in 0..1_000 {
        write(
            data,
            &format!("middle/{:02}/{number}", number % 50),
            &noise.bytes((64 + number % 320) << 10),
        )?;
    }
    for number in 0..2 {
        let mut file = fs::File::create(data.join(format!("large-{number}")))?;
        for _ in 0..320 {
            file.write_all(&noise.text(MIB / 2))?;
            file.write_all(&noise.bytes(MIB / 2))?;
        }
    }
    Ok(())
}

/// Touches one page of 8 KiB in a hundred of a large file.
fn change_data(data: &Path) -> Outcome {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(data.join("large-0"))?;
    let mut noise = Noise(43);
    let pages = file.metadata()?.len() >> 13;
    for _ in 0..pages / 100 {
        let page = noise.next() % pages;
        file.write_all_at(&noise.bytes(8 << 10), page << 13)?;
    }
    Ok(())
}

fn write(data: &Path, name: &str, content: &[u8]) -> Outcome {
    let path = data.join(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(path, content)?)
}

fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.extend(files(&entry.path())?);
        } else {
            all.push(entry.path());
        }
    }
    all.sort();
    Ok(all)
}

/// The same bytes for the same seed, everywhere.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(length)
            .collect()
    }

    /// Compresses to about a third, as rows of a table do.
    fn text(&mut self, length: usize) -> Vec<u8> {
        let row = |number: u64| {
            format!(
                "{:08},workflow-{},finished,{}\n",
                number % 1_000_000,
                number % 97,
                number % 7
            )
        };
        let mut text = Vec::with_capacity(length + 64);
        while text.len() < length {
            text.extend_from_slice(row(self.next()).as_bytes());
        }
        text.truncate(length);
        text
    }
}

/// Peak resident memory of this process.
fn peak_mib() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .ok_or("no VmHWM")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .ok_or("no number")?
        .parse::<u64>()?
        >> 10)
}

/// User and system time of this process and of what it ran, in the kernel's hundredths.
fn cpu_seconds() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<u64> = fields
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<u64>() as f64 / 100.0)
}
