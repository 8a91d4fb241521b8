//! The database of an org: filled, written to while it is copied, and compared after a restore.

use std::{
    io::{BufRead, BufReader, Write},
    process::Child,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use super::kube::Kube;
use crate::{
    error::{Error, Result},
    verdict::{Restored, Rows},
};

/// Rows of a filled database: a small customer's month of workflow runs.
pub const WORKFLOW_RUNS: u32 = 200_000;

/// PostgreSQL in a pod, as its own superuser over the pod's socket.
#[derive(Debug, Clone)]
pub struct Database {
    kube: Kube,
    namespace: String,
    pod: String,
}

impl Database {
    /// In that pod.
    pub fn new(kube: &Kube, namespace: &str, pod: &str) -> Self {
        Self {
            kube: kube.clone(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
        }
    }

    /// Runs SQL and returns bare values.
    pub fn query(&self, sql: &str) -> Result<String> {
        let command = [
            "psql",
            "-U",
            "postgres",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ];
        Ok(self
            .kube
            .exec(&self.namespace, &self.pod, &command)?
            .trim()
            .to_owned())
    }

    /// Makes the tables and [`WORKFLOW_RUNS`] rows that look like real ones.
    pub fn fill(&self) -> Result<()> {
        self.query(&format!(
            "create extension if not exists amcheck;
             create table workflow_run (id bigint primary key, workflow text not null, status text not null,
               started_at timestamptz not null, output text not null);
             create index on workflow_run (workflow, started_at);
             create table heartbeat (n bigint primary key, at timestamptz not null default clock_timestamp());
             insert into workflow_run
               select n, 'workflow-' || n % 250, (array['succeeded', 'failed', 'cancelled'])[1 + n % 3],
                 timestamptz '2026-01-01 00:00Z' + n * interval '13 seconds', md5(n::text) || md5((n * 7)::text)
               from generate_series(1, {WORKFLOW_RUNS}) n;"
        ))?;
        Ok(())
    }

    /// Changes one row in a hundred, scattered, and adds one in a hundred.
    pub fn change(&self) -> Result<()> {
        let added = WORKFLOW_RUNS / 100;
        self.query(&format!(
            "update workflow_run set status = 'retried', output = md5(output) where id % 100 = 7;
             insert into workflow_run select m + n, 'workflow-new', 'succeeded', now(), md5(n::text)
               from generate_series(1, {added}) n, (select max(id) m from workflow_run) last;"
        ))?;
        Ok(())
    }

    /// Rows 1 to `upto` of the writer.
    pub fn rows(&self, upto: u64) -> Result<Rows> {
        Rows::read(|sql| self.query(sql), upto)
    }

    /// The same after a restore, and what else came back.
    pub fn restored(&self, upto: u64) -> Result<Restored> {
        Restored::read(|sql| self.query(sql), upto)
    }

    /// Checksum over all workflow runs.
    pub fn workflow_runs(&self) -> Result<(u64, String)> {
        let answer = self.query(
            "select count(*) || ' ' || md5(string_agg(id || workflow || status || output, ',' order by id))
             from workflow_run",
        )?;
        let (count, checksum) = answer.split_once(' ').unwrap_or_default();
        Ok((number(count)?, checksum.to_owned()))
    }

    /// Checks every table and index; an error carries what is broken.
    pub fn amcheck(&self) -> Result<()> {
        let command = ["pg_amcheck", "-U", "postgres", "--all", "--heapallindexed"];
        self.kube.exec(&self.namespace, &self.pod, &command).map(|_| ())
    }

    /// Starts to commit numbered rows, one transaction each, until it is stopped.
    pub fn start_writer(&self, log: &std::path::Path) -> Result<Writer> {
        let first = self.restored(0)?.highest + 1;
        let program = self.kube.support(&[
            "exec",
            "-i",
            "-n",
            &self.namespace,
            &self.pod,
            "--",
            "psql",
            "-U",
            "postgres",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        Writer::start(program.spawn_piped(log)?, first)
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse()
        .map_err(Error::unexpected(format!("the number {text:?}")))
}

/// A row whose commit was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    n: u64,
    at: SystemTime,
}

/// Commits numbered rows and remembers when each was acknowledged.
pub struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Writer {
    fn start(mut psql: Child, first: u64) -> Result<Self> {
        let (Some(mut input), Some(output)) = (psql.stdin.take(), psql.stdout.take()) else {
            return Err(Error::Unexpected {
                what: "psql".to_owned(),
                detail: "it has no pipes".to_owned(),
            });
        };
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let (stopped, committed) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let thread = std::thread::spawn(move || {
            let failed = |detail: std::io::Error| Error::unexpected("the writer's psql")(detail);
            let mut lines = BufReader::new(output).lines();
            for n in first.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                // Without a transaction block a statement's answer comes after its commit.
                writeln!(input, "insert into heartbeat (n) values ({n}) returning n;").map_err(failed)?;
                match lines.next() {
                    Some(Ok(answer)) if answer.trim() == n.to_string() => {
                        #[expect(
                            clippy::disallowed_methods,
                            reason = "the moment of an acknowledgement is the fact itself"
                        )]
                        let at = SystemTime::now();
                        if let Ok(mut rows) = committed.lock() {
                            rows.push(Acknowledged { n, at });
                        }
                    }
                    // The database went away, as it does when its volume is destroyed.
                    _ => break,
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(input);
            psql.wait().map_err(failed)?;
            Ok(())
        });
        Ok(Self {
            stop,
            acknowledged,
            thread: Some(thread),
        })
    }

    /// Ends it and returns the record of its commits.
    pub fn stop(mut self) -> Result<Commits> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| Error::Unexpected {
                what: "the writer".to_owned(),
                detail: "its thread ended badly".to_owned(),
            })??;
        }
        let rows = self
            .acknowledged
            .lock()
            .map(|rows| rows.clone())
            .unwrap_or_default();
        Ok(Commits(rows))
    }
}

/// Which row was committed when, as the writer saw it.
#[derive(Debug, Default)]
pub struct Commits(Vec<Acknowledged>);

impl Commits {
    /// Adds a later writer's record.
    pub fn append(&mut self, mut later: Self) {
        self.0.append(&mut later.0);
    }

    /// The highest row that was acknowledged before `at`; 0 for none.
    pub fn before(&self, at: SystemTime) -> u64 {
        self.0
            .iter()
            .filter(|row| row.at < at)
            .map(|row| row.n)
            .max()
            .unwrap_or_default()
    }

    /// The highest row that was acknowledged; 0 for none.
    pub fn highest(&self) -> u64 {
        self.0.iter().map(|row| row.n).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_acknowledged_before_counts() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let commits = Commits(vec![
            Acknowledged { n: 1, at: at(10) },
            Acknowledged { n: 2, at: at(20) },
            Acknowledged { n: 3, at: at(30) },
        ]);
        assert_eq!(commits.before(at(10)), 0);
        assert_eq!(commits.before(at(25)), 2);
        assert_eq!(commits.highest(), 3);
    }
}
