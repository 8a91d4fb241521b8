//! Breadth-first search over all that can happen, so that the first trace to a violation is a shortest one; and backward from
//! the goal, so that whatever has no way out is found.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    time::Instant,
};

use super::{
    actions::{Action, Actions, Next},
    bounds::{Bounds, Start},
    ledgers::{Answers, Ledgers, Outcome, Who},
    properties::{Violation, is_goal},
    world::{Entry, Fault, Pack, World},
};

/// A quick hash for keys that nobody chooses to collide: two lanes of 64 bits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Quick(u64, u64);

/// Its maker.
pub(crate) type Fast = BuildHasherDefault<Quick>;

impl Quick {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        self.1 = (self.1.rotate_left(23) ^ word.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// What tells worlds apart. That two of some millions share one is less likely than that the machine errs.
    fn fingerprint(world: &World) -> u128 {
        let mut hasher = Self::default();
        world.hash(&mut hasher);
        hasher.add(0);
        (u128::from(hasher.0) << 64) | u128::from(hasher.1)
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, word: u8) {
        self.add(u64::from(word));
    }
    fn write_u16(&mut self, word: u16) {
        self.add(u64::from(word));
    }
    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }
    fn write_u128(&mut self, word: u128) {
        self.add(word as u64);
        self.add((word >> 64) as u64);
    }
    fn write_isize(&mut self, word: isize) {
        self.add(word as u64);
    }
    fn finish(&self) -> u64 {
        self.0 ^ (self.1 >> 29)
    }
}

/// What a search has found.
pub(crate) struct Found {
    /// States that were met.
    pub(crate) states: usize,
    /// Transitions between them.
    pub(crate) transitions: usize,
    /// Length of the longest of the shortest ways to a state.
    pub(crate) depth: usize,
    /// Ledgers that were met.
    pub(crate) ledgers: usize,
    /// States in which something would have begun in a full ledger.
    pub(crate) cut: usize,
    /// States that only time leads out of.
    pub(crate) held: usize,
    /// How long it took.
    pub(crate) seconds: f64,
    /// What must never be, and the way to it, one step a line.
    pub(crate) violation: Option<(Violation, Vec<String>)>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states, {} transitions, depth {}, {} ledgers, {} cut, {} held, {:.1} s",
            self.states, self.transitions, self.depth, self.ledgers, self.cut, self.held, self.seconds
        )?;
        if let Some((violation, trace)) = &self.violation {
            write!(f, "\n{violation}, after {} steps:", trace.len())?;
            for (at, step) in trace.iter().enumerate() {
                write!(f, "\n{:3}. {step}", at + 1)?;
            }
        }
        Ok(())
    }
}

/// Searches everything within `bounds` for what must never be. What takes fewer faults comes first, then what takes fewer steps:
/// so a world is looked at once, with as many faults left as can be.
pub(crate) fn search(bounds: &Bounds, wanted: &[Violation]) -> Found {
    let started = Instant::now();
    let mut search = Search::new(bounds, wanted);
    let mut violation = search.forward();
    if violation.is_none() && wanted.contains(&Violation::NoWayOut) {
        let stuck = search.without_way_out();
        violation = stuck.map(|stuck| (Violation::NoWayOut, stuck));
    }
    let depths = search.ways.iter().map(|way| usize::from(way.depth));
    let depth = depths.max().unwrap_or_default();
    let trace = violation.map(|(violation, at)| (violation, search.way_to(at).1));
    Found {
        states: search.ways.len(),
        transitions: search.transitions,
        depth,
        ledgers: search.ledgers.count(),
        cut: search.cut,
        held: search.held,
        seconds: started.elapsed().as_secs_f64(),
        violation: trace,
    }
}

/// How a world was met first.
struct Way {
    from: u32,
    action: Action,
    depth: u16,
}

struct Search<'a> {
    bounds: &'a Bounds,
    wanted: &'a [Violation],
    ledgers: Ledgers,
    start: World,
    /// Worlds that were met, by their fingerprint.
    seen: HashMap<u128, u32, Fast>,
    ways: Vec<Way>,
    /// Transitions without a fault, backward.
    edges: Vec<(u32, u32)>,
    goals: Vec<u32>,
    transitions: usize,
    cut: usize,
    held: usize,
}

impl<'a> Search<'a> {
    fn new(bounds: &'a Bounds, wanted: &'a [Violation]) -> Self {
        let mut ledgers = Ledgers::new(bounds.mutation);
        let start = start(bounds, &mut ledgers);
        Self {
            bounds,
            wanted,
            ledgers,
            start,
            seen: HashMap::from_iter([(Quick::fingerprint(&start), 0)]),
            ways: vec![Way {
                from: 0,
                action: Action::Start,
                depth: 0,
            }],
            edges: Vec::new(),
            goals: Vec::new(),
            transitions: 0,
            cut: 0,
            held: 0,
        }
    }

    /// Meets all worlds, up to the first violation.
    fn forward(&mut self) -> Option<(Violation, u32)> {
        let mut queue = VecDeque::from([(self.start, 0)]);
        // Behind one fault more: such a world is met here unless it was met without that fault.
        let mut later: Vec<(World, u32, Action)> = Vec::new();
        let mut found = Vec::new();
        for faults in 0.. {
            let wrong = self.bounds.faults_behind(faults);
            while let Some((world, from)) = queue.pop_front() {
                self.look(&world, from, wrong, &mut found);
                for next in &found {
                    if next.fault.is_some() {
                        if !self.seen.contains_key(&Quick::fingerprint(&next.world)) {
                            later.push((next.world, from, next.action));
                        }
                        continue;
                    }
                    let to = self.meet(&next.world, from, next.action);
                    self.edges.push((to.at(), from));
                    if let Met::First(to) = to {
                        if let Some(broken) = self.broken(&next.world) {
                            return Some((broken, to));
                        }
                        queue.push_back((next.world, to));
                    }
                }
            }
            for (world, from, action) in std::mem::take(&mut later) {
                if let Met::First(to) = self.meet(&world, from, action) {
                    if let Some(broken) = self.broken(&world) {
                        return Some((broken, to));
                    }
                    queue.push_back((world, to));
                }
            }
            if queue.is_empty() {
                break;
            }
        }
        None
    }

    /// What can happen in a world, and whether it is a goal.
    fn look(&mut self, world: &World, at: u32, wrong: &[Fault], found: &mut Vec<Next>) {
        self.actions(wrong).of(world, found);
        let is_cut = found.iter().any(|next| next.cut);
        self.cut += usize::from(is_cut);
        // What would follow may lead to the goal.
        if is_cut || is_goal(world, &self.ledgers) {
            self.goals.push(at);
        }
    }

    fn actions<'b>(&'b mut self, faults: &'b [Fault]) -> Actions<'b> {
        Actions {
            ledgers: &mut self.ledgers,
            bounds: self.bounds,
            faults,
        }
    }

    fn meet(&mut self, world: &World, from: u32, action: Action) -> Met {
        self.transitions += 1;
        let next = self.ways.len() as u32;
        let to = *self.seen.entry(Quick::fingerprint(world)).or_insert(next);
        if to < next {
            return Met::Again(to);
        }
        let depth = self.ways[from as usize].depth + 1;
        self.ways.push(Way { from, action, depth });
        Met::First(to)
    }

    fn broken(&self, world: &World) -> Option<Violation> {
        let mut wanted = self.wanted.iter().copied();
        wanted.find(|violation| violation.is_in(world, &self.ledgers))
    }

    /// A world from which no way without faults leads to a goal, not even where passes are late: that is no fault, it comes with
    /// time.
    fn without_way_out(&mut self) -> Option<u32> {
        self.edges.sort_unstable();
        let mut leads = vec![false; self.ways.len()];
        self.lead(self.goals.clone(), &mut leads);
        self.held = leads.iter().filter(|leads| !**leads).count();
        let mut never = None;
        // From the last one: it leads on for all that comes before it.
        for at in (0..leads.len() as u32).rev() {
            if leads[at as usize] {
                continue;
            }
            let (world, _) = self.way_to(at);
            if self.ends_with_time(world, &leads) {
                self.lead(vec![at], &mut leads);
            } else {
                never = Some(at);
            }
        }
        never
    }

    /// These worlds lead to a goal, and all that leads to them.
    fn lead(&self, mut left: Vec<u32>, leads: &mut [bool]) {
        while let Some(state) = left.pop() {
            if std::mem::replace(&mut leads[state as usize], true) {
                continue;
            }
            let first = self.edges.partition_point(|(to, _)| *to < state);
            let into = self.edges[first..].iter().take_while(|(to, _)| *to == state);
            left.extend(into.map(|(_, from)| *from));
        }
    }

    /// Whether a fair course without faults leads from that world to one that leads to a goal, where every pass is late.
    fn ends_with_time(&mut self, mut world: World, leads: &[bool]) -> bool {
        for _ in 0..LONGEST_COURSE {
            let known = self.seen.get(&Quick::fingerprint(&world));
            if is_goal(&world, &self.ledgers) || known.is_some_and(|at| leads[*at as usize]) {
                return true;
            }
            match self.actions(&[]).fair(&world) {
                Some(next) if next.cut => return true,
                Some(next) => world = next.world,
                None => return false,
            }
        }
        false
    }

    /// A world, and the way to it in words, found again by doing it.
    fn way_to(&mut self, at: u32) -> (World, Vec<String>) {
        let mut steps = Vec::new();
        let mut state = at;
        while state != 0 {
            steps.push(self.ways[state as usize].action);
            state = self.ways[state as usize].from;
        }
        let (mut world, mut words, mut found) = (self.start, Vec::new(), Vec::new());
        for action in steps.into_iter().rev() {
            words.push(action.words(&world));
            self.actions(Fault::ALL).of(&world, &mut found);
            let done = found.iter().find(|next| next.action == action);
            world = done.unwrap().world;
        }
        (world, words)
    }
}

/// Steps of a fair course, at most: those of everything that can be asked for.
const LONGEST_COURSE: usize = 400;

/// A world that was met.
#[derive(Clone, Copy)]
enum Met {
    First(u32),
    Again(u32),
}

impl Met {
    fn at(self) -> u32 {
        match self {
            Self::First(at) | Self::Again(at) => at,
        }
    }
}

/// The world at the start: one process leads, nothing is asked for.
fn start(bounds: &Bounds, ledgers: &mut Ledgers) -> World {
    let mut world = World::default();
    world.processes[0].runs = true;
    let (good, aborted) = ((0, Pack::X), (1, Pack::Y));
    if bounds.start == Start::Empty {
        return world;
    }
    // The one before it is called otherwise.
    let who = Who::Ours(world.processes[0].name + u8::from(!bounds.claimed));
    write(&mut world, ledgers, who, Entry::Claim);
    copy(&mut world, ledgers, who, good);
    let (run, pack) = good;
    write(&mut world, ledgers, who, Entry::RunCommitted { run, pack });
    if matches!(bounds.start, Start::Garbage | Start::OpenSweep) {
        copy(&mut world, ledgers, who, aborted);
        write(&mut world, ledgers, who, Entry::RunAborted { run: aborted.0 });
    }
    if bounds.start == Start::OpenSweep {
        let next_seq = ledgers.of(world.ledger).len();
        write(&mut world, ledgers, who, Entry::SweepPlanned { next_seq });
    }
    let known = ledgers.of(world.ledger);
    ledgers.at_start = (known.len() - known.claims, known.claims);
    world
}

/// A run that is planned and copied.
fn copy(world: &mut World, ledgers: &mut Ledgers, who: Who, (run, pack): (u8, Pack)) {
    let next_seq = ledgers.of(world.ledger).len();
    write(world, ledgers, who, Entry::RunPlanned { run, next_seq });
    world.bucket.packs |= pack.bit();
    world.bucket.snapshots[usize::from(run)] = pack.bit();
}

fn write(world: &mut World, ledgers: &mut Ledgers, who: Who, entry: Entry) {
    let known = ledgers.of(world.ledger).len();
    let appended = ledgers.append((world.ledger, known), who, entry, Answers::All);
    assert_eq!(appended.outcome, Outcome::Written);
    world.ledger = appended.ledger;
}
