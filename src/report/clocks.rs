//! What the clocks of machines say in the run's own time.
//!
//! A result arrives soon after its test ended. So how far a machine's clock is off shows in its quickest results; the odd one
//! that tests have falsified by freezing the time doesn't count.

use std::collections::BTreeMap;

use crate::model::event::{Event, What};

/// Of a machine's results, so many are as quick as this or quicker: below are those of a falsified clock.
const QUICK: f64 = 0.05;

/// By worker: what to add to its machine's clock.
#[derive(Debug, Default)]
pub struct Clocks {
    offsets: BTreeMap<u32, f64>,
}

impl Clocks {
    pub fn of(events: &[Event]) -> Self {
        let mut machine_of = BTreeMap::new();
        let mut delays: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for event in events {
            let (worker, stop) = match &event.what {
                What::WorkerUp { worker, machine } => {
                    machine_of.insert(*worker, *machine);
                    continue;
                }
                What::Test(test) => match test.phases.last() {
                    Some(phase) => (test.worker, phase.1 + phase.2),
                    None => continue,
                },
                What::Collected { worker, start, seconds, .. } => (*worker, start + seconds),
                _ => continue,
            };
            if let Some(&machine) = machine_of.get(&worker)
                && stop.is_finite()
                && stop > 0.0
            {
                delays.entry(machine).or_default().push(event.at - stop);
            }
        }
        let offset = |machine: &u32| {
            let mut delays = delays.get(machine)?.clone();
            delays.sort_by(f64::total_cmp);
            Some(delays[(delays.len() as f64 * QUICK) as usize])
        };
        let offsets = machine_of.iter().filter_map(|(worker, machine)| Some((*worker, offset(machine)?))).collect();
        Self { offsets }
    }

    /// When it was, in the run's time.
    pub fn at(&self, worker: u32, machine_time: f64) -> Option<f64> {
        let at = self.offsets.get(&worker)? + machine_time;
        at.is_finite().then_some(at)
    }
}
