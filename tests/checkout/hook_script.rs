//! The script that hooks are begun by, run by the shell of this machine as a container's would.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

const SCRIPT: &str = include_str!("../../src/adapters/kube/hook.sh");

fn begin(command: &[&str]) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "tray-hook"]).args(command);
    shell
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs to its end: exit code, and what was printed.
fn run(command: &[&str]) -> (Option<i32>, String) {
    let ended = begin(command).wait_with_output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
}

/// Waits until the process has become a hook.
fn is_hook(child: &Child) {
    let mark = format!("TRAY_HOOK=<{}>", child.id());
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(30) {
        let environment = fs::read(format!("/proc/{}/environ", child.id())).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(&mark) {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("it has not begun")
}

/// One after the other: each ends what the one before left running, whoever began it.
#[test]
fn one_hook_runs_at_a_time_and_nothing_that_it_prints_is_heard() {
    const BOTH: &str = "tray-hook\ntray-hook-runs\n";
    assert_eq!(
        run(&["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"]),
        (Some(3), BOTH.to_owned())
    );
    assert_eq!(run(&["/no/such/program"]).0, Some(127));
    assert_eq!(run(&[]), (Some(0), BOTH.to_owned()), "nothing is there to end");

    // The connection to it broke; it runs on, with what it began.
    let folder = tempfile::tempdir().unwrap();
    let beat = folder.path().join("beat");
    let beats = format!("while :; do date +%s%N >{}; sleep 0.1; done", beat.display());
    let mut first = begin(&["sh", "-c", &format!("({beats}) & wait")]);
    is_hook(&first);
    let since = Instant::now();
    while !beat.exists() && since.elapsed() < Duration::from_secs(30) {
        sleep(Duration::from_millis(20));
    }
    assert_eq!(run(&["true"]), (Some(0), BOTH.to_owned()));
    assert!(!first.wait().unwrap().success(), "it was ended");
    let last = fs::read(&beat).unwrap();
    sleep(Duration::from_millis(500));
    assert_eq!(fs::read(&beat).unwrap(), last, "and with it what it began");

    // What a hook that has ended left on purpose is let be.
    let kept = folder.path().join("kept");
    let leaves = format!("(sleep 2; echo left >{}) & exit 0", kept.display());
    assert_eq!(run(&["sh", "-c", &leaves]).0, Some(0));
    assert_eq!(run(&[]).0, Some(0));
    sleep(Duration::from_secs(3));
    assert!(kept.exists(), "what a hook left running was ended");
}
