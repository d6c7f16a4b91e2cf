//! When a worker had work in hand, by what was given to it, taken back, and finished.

use std::collections::BTreeMap;

use crate::model::event::{Event, What};

/// The times in which a worker had nothing to do, in order.
#[derive(Debug, Default)]
pub struct Leisure {
    by_worker: BTreeMap<u32, Hand>,
}

#[derive(Debug, Default)]
struct Hand {
    tests: i64,
    files: i64,
    /// Files whose tests are run as soon as they are known.
    eager: BTreeMap<u32, bool>,
    empty_since: Option<f64>,
    empty: Vec<(f64, f64)>,
}

impl Leisure {
    pub fn of(events: &[Event]) -> Self {
        let mut made = Self::default();
        for event in events {
            made.hear(event);
        }
        for hand in made.by_worker.values_mut() {
            hand.empty.extend(hand.empty_since.map(|since| (since, f64::INFINITY)));
        }
        made
    }

    /// Whether there was a moment in between at which it had nothing to do.
    pub fn any(&self, worker: u32, from: f64, to: f64) -> bool {
        self.by_worker
            .get(&worker)
            .is_none_or(|hand| hand.empty.iter().any(|&(since, until)| since < to && until > from))
    }

    fn hear(&mut self, event: &Event) {
        let worker = match &event.what {
            What::WorkerStarted { worker, .. }
            | What::WorkerUp { worker, .. }
            | What::WorkerDown { worker }
            | What::WorkerDied { worker, .. }
            | What::Given { worker, .. }
            | What::Recalled { worker, .. }
            | What::Collected { worker, .. } => *worker,
            What::Test(test) => test.worker,
            _ => return,
        };
        let hand = self.by_worker.entry(worker).or_default();
        match &event.what {
            What::WorkerUp { .. } if hand.tests + hand.files == 0 => hand.empty_since = Some(event.at),
            What::WorkerDied { .. } => (hand.tests, hand.files) = (0, 0),
            What::Given { tests: Some(tests), .. } => hand.tests += i64::from(*tests),
            What::Given { tests: None, file, execute, .. } => {
                hand.files += 1;
                hand.eager.insert(*file, *execute);
            }
            What::Recalled { tests, files, .. } => {
                hand.tests -= i64::from(*tests);
                hand.files -= i64::from(*files);
            }
            What::Collected { file, tests, first: true, .. } => {
                hand.files -= 1;
                if hand.eager.remove(file) == Some(true) {
                    hand.tests += i64::from(*tests);
                }
            }
            What::Test(_) => hand.tests -= 1,
            _ => {}
        }
        let busy = hand.tests > 0 || hand.files > 0;
        match (busy, hand.empty_since) {
            (true, Some(since)) => {
                hand.empty.push((since, event.at));
                hand.empty_since = None;
            }
            (false, None) => hand.empty_since = Some(event.at),
            _ => {}
        }
    }
}
