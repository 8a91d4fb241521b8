//! What makes a copy of a database good, and that the check can tell: a live data directory that is copied file by file with
//! a CHECKPOINT inside the copy comes out red, a base backup that is copied in the same way comes out green.
//!
//! The copy is the movers' engine's, in two halves, so that the CHECKPOINT falls between them each time.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they call"
)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Child,
    sync::Arc,
    time::Duration,
};

use tray_e2e::{
    Cache, Program, Progress, image,
    verdict::{Restored, Rows, Wrong, judge},
    wait,
};
use tray_engine::{BackupRequest, DirStore, Engine, NoProgress, RepositoryKey, RusticEngine};

/// Rows on disk before the copy begins.
const CHECKPOINTED: u64 = 100_000;
/// All rows that are committed before the copy begins: the rest is in the log and in memory only.
const COMMITTED: u64 = 120_000;

/// The file system of the PostgreSQL image, and servers in it.
struct Postgres {
    root: tempfile::TempDir,
}

/// A running server; it ends with this value, or with this process.
struct Server<'a> {
    postgres: &'a Postgres,
    data: &'static str,
    process: Child,
}

impl Postgres {
    fn new() -> Self {
        let archive = image::postgres_root(&Cache::from_env(), Progress::start()).unwrap();
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let postgres = Self { root };
        Program::new("tar")
            .args(["--extract", "--numeric-owner", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(postgres.root.path())
            .run()
            .unwrap();
        let data = postgres.path("/data");
        fs::create_dir(&data).unwrap();
        own(&data);
        fs::set_permissions(postgres.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        postgres
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside.trim_start_matches('/'))
    }

    /// A program of PostgreSQL as its user. It ends with this process.
    fn program(&self, name: &str) -> Program {
        Program::new("chroot")
            .arg(self.root.path())
            .args([
                "setpriv",
                "--reuid=999",
                "--regid=999",
                "--clear-groups",
                "--pdeathsig=KILL",
            ])
            .arg(format!("/usr/lib/postgresql/15/bin/{name}"))
            .env("LANG", "C.UTF-8")
    }

    fn start(&self, data: &'static str) -> Server<'_> {
        let log = self.path("/log");
        let process = self
            .program("postgres")
            .args([
                "-D",
                data,
                "-c",
                "listen_addresses=",
                "-c",
                "unix_socket_directories=/tmp",
            ])
            // Nothing but the test's own CHECKPOINT writes pages to the data files.
            .args([
                "-c",
                "checkpoint_timeout=1d",
                "-c",
                "max_wal_size=8GB",
                "-c",
                "bgwriter_lru_maxpages=0",
            ])
            .args([
                "-c",
                "shared_buffers=256MB",
                "-c",
                "autovacuum=off",
                "-c",
                "dynamic_shared_memory_type=mmap",
            ])
            .spawn_logged(&log)
            .unwrap();
        let server = Server {
            postgres: self,
            data,
            process,
        };
        let ready = wait::until("PostgreSQL did not start", Duration::from_secs(60), &log, || {
            Ok(server.psql("select 1").is_ok().then_some(()))
        });
        assert!(ready.is_ok(), "{}", fs::read_to_string(&log).unwrap());
        server
    }
}

impl Server<'_> {
    fn psql(&self, sql: &str) -> tray_e2e::Result<String> {
        let bare = [
            "-h",
            "/tmp",
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
        Ok(self.postgres.program("psql").args(bare).run()?.trim().to_owned())
    }

    fn query(&self, sql: &str) -> String {
        self.psql(sql).unwrap()
    }

    /// Rows 1 to [`COMMITTED`].
    fn rows(&self) -> Rows {
        Rows::read(|sql| self.psql(sql), COMMITTED).unwrap()
    }

    fn restored(&self) -> Restored {
        Restored::read(|sql| self.psql(sql), COMMITTED).unwrap()
    }

    fn insert(&self, from: u64, upto: u64) {
        self.query(&format!(
            "insert into heartbeat select n, md5(n::text) from generate_series({from}, {upto}) n"
        ));
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let stop = self
            .postgres
            .program("pg_ctl")
            .args(["stop", "-D", self.data, "-m", "immediate"])
            .run();
        if stop.is_err() {
            self.process.kill().ok();
        }
        self.process.wait().ok();
    }
}

/// Makes a folder one of the server's user alone.
fn own(folder: &Path) {
    chown(folder, Some(999), Some(999)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
}

/// A server with rows of which a part is only in the log.
fn written(postgres: &Postgres) -> Server<'_> {
    postgres
        .program("initdb")
        .args(["-D", "/data/live", "-U", "postgres", "--auth=trust", "--no-sync"])
        .run()
        .unwrap();
    let server = postgres.start("/data/live");
    server.query("create table heartbeat (n bigint, payload text)");
    server.insert(1, CHECKPOINTED);
    server.query("checkpoint");
    server.insert(CHECKPOINTED + 1, COMMITTED);
    server
}

/// Copies `folder` by the movers' engine, runs `between` when one half is copied, and restores both into `target`.
fn copy(folder: &Path, target: &Path, between: impl FnOnce()) {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = || Arc::new(DirStore::new(scratch.path().join("store")));
    let mut repository = RusticEngine
        .open_or_init(
            store(),
            &RepositoryKey::from_bytes([7; 64]),
            &scratch.path().join("cache"),
        )
        .unwrap();
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| PathBuf::from(entry.unwrap().file_name()))
        .collect();
    names.sort();
    // Of the server that runs, not of the data.
    names.retain(|name| !name.starts_with("postmaster.pid") && !name.starts_with("postmaster.opts"));
    let rest = names.split_off(names.iter().position(|name| name.starts_with("base")).unwrap() + 1);
    let mut half = |paths: Vec<PathBuf>| {
        let request = BackupRequest {
            root: folder.to_owned(),
            paths,
            time: "2026-01-01T00:00:00Z".parse().unwrap(),
            run_id: "run".into(),
            host: "data-db-0".into(),
            parent: None,
        };
        repository.backup(&request, &NoProgress).unwrap().snapshot
    };
    let first = half(names);
    between();
    let second = half(rest);
    let beside = target.with_extension("rest");
    for (snapshot, into) in [(first, target), (second, &beside)] {
        fs::create_dir(into).unwrap();
        repository.restore(&snapshot, into, &NoProgress).unwrap();
    }
    // The root of a volume is made by who provisions it; a database wants its own for itself.
    own(target);
    for entry in fs::read_dir(&beside).unwrap().map(Result::unwrap) {
        fs::rename(entry.path(), target.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_live_directory_copied_across_a_checkpoint_is_red_and_a_base_backup_green() {
    let postgres = Postgres::new();
    let (before, torn, whole);
    {
        let server = written(&postgres);
        before = server.rows();
        assert_eq!(before.count, COMMITTED);
        copy(&postgres.path("/data/live"), &postgres.path("/data/torn"), || {
            server.query("checkpoint");
        });
        // As the hook of the examples does it, and with the same CHECKPOINT in the middle of the copy.
        let backup = [
            "-h",
            "/tmp",
            "-U",
            "postgres",
            "-D",
            "/data/backup",
            "-X",
            "stream",
            "--checkpoint=fast",
        ];
        postgres.program("pg_basebackup").args(backup).run().unwrap();
        postgres
            .program("pg_verifybackup")
            .arg("/data/backup")
            .run()
            .unwrap();
        server.insert(COMMITTED + 1, COMMITTED + 500);
        copy(
            &postgres.path("/data/backup"),
            &postgres.path("/data/whole"),
            || {
                server.query("checkpoint");
            },
        );
    }
    {
        // It starts without complaint: nothing but the comparison tells.
        let server = postgres.start("/data/torn");
        torn = judge(&before, &server.restored());
    }
    {
        let server = postgres.start("/data/whole");
        whole = judge(&before, &server.restored());
    }
    assert!(
        matches!(torn, Err(Wrong::Lost { missing, .. }) if missing > 0),
        "{torn:?}"
    );
    assert_eq!(whole, Ok(()));
}
