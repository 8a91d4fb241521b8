//! Processes: started, watched from outside, and ended with this one.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

/// Runs a program until standard input ends, which it does with the process that holds the other end.
const KEEPER: &str = r#""$@" < /dev/null & program=$!
echo $program > "$0"
cat > /dev/null
kill -9 $program; wait $program"#;
/// How often a second the system counts a process's time.
const TICKS: f64 = 100.0;

/// A running program. Ends when it is dropped.
pub(crate) struct Process {
    pid: u32,
    keeper: Child,
    stdin: Option<ChildStdin>,
    lines: Option<BufReader<ChildStdout>>,
}

/// What a process used so far.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    /// Seconds of CPU, of it and the system for it.
    pub cpu_seconds: f64,
    /// Resident memory, KiB.
    pub resident_kib: u64,
    /// The most there was, KiB.
    pub peak_kib: u64,
}

impl Process {
    /// Starts `program` in `folder`, which is made. What it prints goes to `log` there, but for standard output where
    /// `talks`: that is read by [`Self::hears`].
    pub(crate) fn start(program: &Path, arguments: &[String], folder: &Path, talks: bool) -> Self {
        fs::create_dir_all(folder).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let pid_file = folder.join("pid");
        // One of that name may have run before.
        let _ = fs::remove_file(&pid_file);
        let mut keeper = Command::new("sh")
            .arg("-c")
            .arg(KEEPER)
            .arg(&pid_file)
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(if talks {
                Stdio::piped()
            } else {
                log.try_clone().unwrap().into()
            })
            .stderr(log)
            .spawn()
            .unwrap();
        let began = Instant::now();
        let pid = loop {
            let written = fs::read_to_string(&pid_file).unwrap_or_default();
            if let (true, Ok(pid)) = (written.ends_with('\n'), written.trim().parse()) {
                break pid;
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{} does not start",
                program.display()
            );
            thread::sleep(Duration::from_millis(2));
        };
        Self {
            pid,
            stdin: keeper.stdin.take(),
            lines: keeper.stdout.take().map(BufReader::new),
            keeper,
        }
    }

    /// Waits until it prints a line that begins so; what else stands in it.
    pub(crate) fn hears(&mut self, begins: &str) -> String {
        let lines = self.lines.as_mut().unwrap();
        let mut heard = String::new();
        loop {
            heard.clear();
            let read = lines.read_line(&mut heard).unwrap();
            assert!(read > 0, "it ended before it said {begins:?}");
            if let Some(rest) = heard.trim().strip_prefix(begins) {
                return rest.to_owned();
            }
        }
    }

    /// What it used so far.
    pub(crate) fn usage(&self) -> Usage {
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.pid)).unwrap_or_default();
        let (stat, status) = (read("stat"), read("status"));
        // After the name, which may hold blanks: utime and stime are fields 14 and 15.
        let fields: Vec<f64> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or_default()
        };
        Usage {
            cpu_seconds: fields
                .get(11..13)
                .map_or(0.0, |times| times.iter().sum::<f64>() / TICKS),
            resident_kib: kib("VmRSS:"),
            peak_kib: kib("VmHWM:"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.keeper.wait();
    }
}
