//! What is to happen in a world, apart from what the scheduler decides.

use std::num::NonZeroU32;
use std::time::Duration;

use cloudist::model::{MachineId, WorkerId};
use cloudist::scheduler::{Collect, CollectionErrors, Config, Mode};

use super::dice::Dice;
use super::suite::{Suite, Trouble};
use super::worker::COALESCING_MICROS;

#[derive(Clone, Debug)]
pub struct Machine {
    pub joins: Duration,
    pub workers: u32,
    /// One way.
    pub latency: Duration,
    /// How many times as long everything takes there.
    pub slowness: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mishap {
    MachineLost(MachineId),
    /// It is announced that the machine goes in so long. Whether it does is another mishap.
    Notice(MachineId, Duration),
    ProcessKilled(WorkerId),
    WorkerRetires(WorkerId),
    UserStops,
}

/// What a worker tells about its tests when it has collected them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimates {
    None,
    Exact,
    /// As earlier runs measured them: wrong by up to a factor of two, or more, either way, and of some nothing is known.
    Rough,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub suite: Suite,
    pub config: Config,
    pub machines: Vec<Machine>,
    pub mishaps: Vec<(Duration, Mishap)>,
    /// How many files the local pytest finds at once, and how long it takes to.
    pub listing: (u32, Duration),
    pub respawn: Option<Duration>,
    /// How long it takes until a machine is known to be gone.
    pub detection: Duration,
    pub estimates: Estimates,
}

pub fn config(mode: Mode, collect: Collect, workers: u32) -> Config {
    Config {
        mode,
        collect,
        chunks_per_worker: None,
        max_attempts: NonZeroU32::new(3).unwrap(),
        maxfail: None,
        collection_errors: CollectionErrors::Stop,
        planned_workers: workers,
        speculate: false,
        expected: None,
    }
}

impl Plan {
    /// `workers` workers, one a machine, there from the start, 1 ms away; nothing goes wrong.
    pub fn calm(suite: Suite, mode: Mode, collect: Collect, workers: u32) -> Self {
        let machine = Machine { joins: Duration::ZERO, workers: 1, latency: Duration::from_millis(1), slowness: 1 };
        Plan {
            suite,
            config: config(mode, collect, workers),
            machines: vec![machine; workers as usize],
            mishaps: Vec::new(),
            listing: (100, Duration::from_millis(1)),
            respawn: Some(Duration::from_millis(50)),
            detection: Duration::from_millis(500),
            estimates: Estimates::None,
        }
    }

    pub fn random(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let trouble = match dice.count(0, 3) {
            0 => Trouble::default(),
            1 => Trouble { failures: 0.1, bad_imports: 0.02, ..Trouble::default() },
            2 => Trouble { failures: 0.02, crashes: 0.02, fickle: 0.05, ..Trouble::default() },
            _ => Trouble {
                failures: 0.05,
                crashes: 0.02,
                fells_machine: 0.01,
                bad_imports: 0.05,
                fickle: 0.02,
                stumbles: 0.0,
                marks: 0.0,
            },
        };
        let (stumbles, marks) = (*dice.pick(&[0.0, 0.0, 0.05]), *dice.pick(&[0.0, 0.0, 0.03, 0.3]));
        let trouble = Trouble { stumbles, marks, ..trouble };
        let mut suite = Suite::random(&mut dice, trouble);
        let mut machines: Vec<Machine> = (0..dice.count(1, 5))
            .map(|number| Machine {
                joins: dice.span(Duration::ZERO, Duration::from_secs(if number == 0 { 1 } else { 5 })),
                workers: dice.count(1, 4),
                latency: Duration::from_micros(*dice.pick(&[100, 2_000, 60_000])),
                slowness: *dice.pick(&[1, 1, 1, 4]),
            })
            .collect();
        let workers: u32 = machines.iter().map(|machine| machine.workers).sum();
        let mode = *dice.pick(&[Mode::Test, Mode::Test, Mode::File, Mode::Bundle, Mode::Each]);
        let planned =
            if mode == Mode::Each { dice.count(workers.saturating_sub(2).max(1), workers + 1) } else { workers };
        if mode == Mode::Each {
            suite.files.truncate(5);
            suite = suite.in_copies(planned);
        }
        let mut config = config(mode, *dice.pick(&[Collect::First, Collect::Stream]), planned);
        config.chunks_per_worker = NonZeroU32::new(*dice.pick(&[0, 0, 0, 1, 4]));
        config.maxfail = NonZeroU32::new(*dice.pick(&[0, 0, 0, 1, 5]));
        config.speculate = dice.chance(0.5);
        config.collection_errors = *dice.pick(&[CollectionErrors::Stop, CollectionErrors::Continue]);
        let mut mishaps = Self::mishaps(&mut dice, &machines, workers);
        mishaps.extend(Self::interruptions(&mut dice, &mut machines));
        Plan {
            suite,
            config,
            machines,
            mishaps,
            listing: (dice.count(1, 20), dice.span(Duration::ZERO, Duration::from_millis(30))),
            respawn: dice.chance(0.7).then(|| dice.span(Duration::ZERO, Duration::from_millis(300))),
            detection: dice.span(Duration::ZERO, Duration::from_secs(2)),
            estimates: *dice.pick(&[Estimates::None, Estimates::Rough, Estimates::Exact]),
        }
    }

    fn mishaps(dice: &mut Dice, machines: &[Machine], workers: u32) -> Vec<(Duration, Mishap)> {
        let count = *dice.pick(&[0, 0, 1, 3, 8]);
        (0..count)
            .map(|_| {
                let when = dice.span(Duration::ZERO, Duration::from_secs(8));
                let mishap = match dice.count(0, 9) {
                    0..3 => Mishap::MachineLost(MachineId(dice.count(0, machines.len() as u32 - 1))),
                    3..8 => Mishap::ProcessKilled(WorkerId(dice.count(0, workers - 1))),
                    8 => Mishap::WorkerRetires(WorkerId(dice.count(0, workers - 1))),
                    _ if dice.chance(0.3) => Mishap::UserStops,
                    _ => Mishap::MachineLost(MachineId(0)),
                };
                (when, mishap)
            })
            .collect()
    }

    /// Machines are announced to go, and do at that time, or sooner, or never. Some are replaced.
    fn interruptions(dice: &mut Dice, machines: &mut Vec<Machine>) -> Vec<(Duration, Mishap)> {
        let ms = Duration::from_millis;
        let mut mishaps = Vec::new();
        for _ in 0..*dice.pick(&[0, 0, 1, 2, 5]) {
            let number = dice.count(0, machines.len() as u32 - 1);
            let (when, within) =
                (dice.span(Duration::ZERO, ms(5_000)), *dice.pick(&[ms(0), ms(50), ms(500), ms(3_000)]));
            let notice = Mishap::Notice(MachineId(number), within);
            if dice.chance(0.3) {
                mishaps.push((when + dice.span(Duration::ZERO, within * 2), notice.clone()));
            }
            mishaps.push((when, notice));
            let goes = match dice.count(0, 3) {
                0 => None,
                1 => Some(when + dice.span(Duration::ZERO, within)),
                _ => Some(when + within),
            };
            mishaps.extend(goes.map(|goes| (goes, Mishap::MachineLost(MachineId(number)))));
            if dice.chance(0.5) {
                let joins = when + dice.span(Duration::ZERO, ms(3_000));
                machines.push(Machine { joins, ..machines[number as usize].clone() });
            }
        }
        mishaps
    }

    pub fn longest_latency(&self) -> Duration {
        self.machines.iter().map(|machine| machine.latency).max().unwrap_or_default()
    }

    /// Whether the result of a test arrives before its machine is known to be lost, if the test after it fells that machine
    /// and takes so long. If not, the blame falls on the wrong one.
    pub fn results_outrun(&self, duration: Duration) -> bool {
        duration > Duration::from_micros(COALESCING_MICROS) && self.detection > self.longest_latency()
    }

    pub fn is_calm(&self) -> bool {
        self.mishaps.is_empty()
    }
}
