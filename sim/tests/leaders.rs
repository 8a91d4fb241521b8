//! Two processes that take themselves for the leader: one stood still, and goes on for some seconds before it notices.

#![allow(clippy::unwrap_used, reason = "in a test this is an assertion")]

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::SignedDuration;
use tokio::time::sleep;
use tray_sim::{kubernetes::Kubernetes, manifests, process::Process, world::World};

/// The steps of a world, a line each.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Statuses that a process has written.
    fn statuses_by(&self, process: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let is_status =
            |line: &&str| line.contains(&format!("{process}: patch")) && line.contains("/status: 200");
        text.lines().filter(is_status).count()
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

fn lead(world: &Arc<World>, name: &str) -> Process {
    world.hold_lease(name);
    Process::start(world, name, SignedDuration::ZERO)
}

#[tokio::test(start_paused = true)]
async fn one_that_leads_no_more_writes_nothing_over_the_statuses_of_its_successor() {
    let (world, lines) = (World::new(1), Lines::default());
    world.log.write_to(lines.clone());
    tokio::spawn(Kubernetes::new(world.clone()).work());
    world.platform();
    let one = lead(&world, "operator-0");
    for number in 0..3 {
        world.put(manifests::org(number));
    }
    sleep(Duration::from_secs(2 * 3600)).await;
    assert!(lines.statuses_by("operator-0") > 3);

    one.gate.freeze();
    sleep(Duration::from_secs(20)).await;
    let other = lead(&world, "operator-1");
    world.put(manifests::restore("back", &manifests::org_name(0)));
    sleep(Duration::from_secs(120)).await;
    assert!(lines.statuses_by("operator-1") > 0);
    lines.clear();
    one.gate.thaw();
    sleep(Duration::from_secs(10)).await;
    let written = (lines.statuses_by("operator-0"), lines.statuses_by("operator-1"));
    assert!(written.0 <= 3 && written.1 <= 20, "{written:?}");
    one.kill();
    other.kill();
}
