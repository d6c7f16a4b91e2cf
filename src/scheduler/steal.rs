//! Taking work back from one worker for the sake of idle ones.
//!
//! It pays as soon as the idle worker, after importing the file, would be done before the busy one gets there. The moment
//! at which that becomes true is known in advance for each worker; nothing is scanned, and nothing is given out here
//! but what the pool keeps for a busy worker.

use std::time::Duration;

use crate::model::{TestId, WorkerId};

use super::fleet::{Due, PendingRecall, Worker};
use super::grouping::Parting;
use super::pace::Load;
use super::pool::End;
use super::queue::{Entry, Step, Tie, Unit};
use super::time::{Time, micros};
use super::{Action, GRACE, PATIENCE, PRESUMED, Phase, Scheduler};

/// What could be taken from a worker.
#[derive(Clone, Copy, Debug)]
struct Loot {
    kind: Kind,
    /// Tests, or files, or units, according to the kind.
    count: u32,
    /// What all of it takes to run, if that can be told.
    cost: Option<Duration>,
    /// What the worker does before it gets to any of it, apart from what it is at.
    before: Duration,
    /// What it costs another to import the file.
    import: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Tests that the pool keeps for the worker, and those that wait in its queue.
    Pooled,
    /// Files that wait for their first collection.
    Files,
    Tests,
    /// Whole units.
    Units,
}

impl Loot {
    fn each(&self) -> Option<Duration> {
        self.cost?.checked_div(self.count)
    }

    /// How many to give to each of `thieves`, so that all finish at the same time.
    fn share(&self, thieves: u32, head_runs_for: Duration) -> u32 {
        let signed = |span: Duration| i64::try_from(micros(span)).unwrap_or(i64::MAX);
        let head_start = self.each().map_or(0, |each| {
            // Whatever has run for long is likely to run on for as long again.
            let rest_of_head = each.saturating_sub(head_runs_for).max(head_runs_for);
            let lead = signed(rest_of_head + self.before).saturating_sub(signed(self.import));
            lead.checked_div(signed(each)).unwrap_or(0)
        });
        let worth = i64::from(self.count).saturating_add(head_start).max(0) / (i64::from(thieves) + 1);
        u32::try_from(worth).unwrap_or(u32::MAX).clamp(1, self.count)
    }
}

impl Scheduler {
    /// When it begins to pay to take something from this worker.
    pub(super) fn due(&self, now: Time, worker: WorkerId, state: &Worker) -> Option<Due> {
        if (state.recall.is_some() || state.barren) && self.ready(Some(worker)) == 0 {
            return None;
        }
        let loot = self.loot(worker, state)?;
        let signed = |span: Duration| i64::try_from(micros(span)).unwrap_or(i64::MAX);
        let since = i64::try_from(state.head_since.as_micros()).unwrap_or(i64::MAX);
        if loot.kind == Kind::Files || (loot.kind == Kind::Pooled && state.offered) {
            return Some(Due(i64::MIN + since));
        }
        let (cost, each) = loot.cost.zip(loot.each()).unwrap_or((PRESUMED * loot.count, PRESUMED));
        let price = signed(loot.import + self.round_trip.value());
        let gain = signed(loot.before + cost.saturating_sub(each));
        let Some(head) = self.head_estimate(state).map(signed) else {
            return Some(Due(since.saturating_add(price).saturating_sub(gain)));
        };
        // It pays as long as the worker would get to it later than another, and again once what it is at takes longer than expected.
        let (over, loss) = (since.saturating_add(head), price.saturating_sub(gain));
        let pays_now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX) <= over.saturating_sub(loss);
        let grace = signed(GRACE + self.round_trip.value() * 2);
        Some(Due(if pays_now { since.saturating_sub(head).saturating_add(loss) } else { over + loss.min(grace) }))
    }

    /// How long the worker is expected to take for the test that it is at.
    pub(super) fn head_estimate(&self, state: &Worker) -> Option<Duration> {
        let head = state.queue.head()?;
        let Step::Test(index) = head.step else { return None };
        let imported = state.imported.contains(&head.file);
        let import = if imported { Duration::ZERO } else { self.import_cost(head) };
        Some(import + self.catalog.estimate(TestId { file: head.file, index })?)
    }

    fn loot(&self, worker: WorkerId, state: &Worker) -> Option<Loot> {
        let pooled = self.pooled_loot(worker, state);
        pooled.or_else(|| match self.parting() {
            Parting::Divisible => self.files_loot(state).or_else(|| self.tests_loot(state)),
            Parting::Whole => self.units_loot(state),
        })
    }

    fn pooled_loot(&self, worker: WorkerId, state: &Worker) -> Option<Loot> {
        let pooled = Some(self.ready(Some(worker))).filter(|&pooled| pooled > 0)?;
        let last = self.pool.last_test(self.pool.last_of(Some(worker))?)?;
        let waiting = self.tests_loot(state);
        let pooled_cost = self.cost(self.pool.load_of(Some(worker)), last.file);
        let cost = match waiting {
            Some(waiting) => waiting.cost.zip(pooled_cost).map(|(waiting, pooled)| waiting + pooled),
            None => pooled_cost,
        };
        Some(Loot {
            kind: Kind::Pooled,
            count: pooled + waiting.map_or(0, |waiting| waiting.count),
            cost,
            before: Duration::ZERO,
            import: self.import_cost(Entry::test(last)),
        })
    }

    /// Files at the end of the queue, except one that the worker is at.
    fn files_loot(&self, state: &Worker) -> Option<Loot> {
        let head = state.queue.head()?;
        let mut waiting = Load::default();
        let units = state.queue.units().rev();
        for (_, unit) in units.take_while(|(_, unit)| unit.is_uncollected() && unit.first() != Some(head)) {
            waiting += unit.load;
        }
        let count = waiting.files;
        let cost = self.cost(waiting, head.file).unwrap_or_default();
        (count > 0).then_some(Loot {
            kind: Kind::Files,
            count,
            cost: Some(cost),
            before: Duration::ZERO,
            import: Duration::ZERO,
        })
    }

    fn tests_loot(&self, state: &Worker) -> Option<Loot> {
        if self.phase != Phase::Running {
            return None;
        }
        let (mut count, mut cost, mut last) = (0, Some(Duration::ZERO), None);
        for (position, (_, unit)) in state.queue.units().enumerate() {
            if unit.tie != Tie::Free {
                continue;
            }
            let (length, price) = match position {
                0 => (unit.len() - 1, self.rest_of_unit(unit)),
                _ => (unit.len(), self.unit_cost(unit)),
            };
            count += length;
            cost = cost.zip(price).map(|(sum, price)| sum + price);
            last = unit.last().filter(|_| length > 0).or(last);
        }
        let import = self.import_cost(last?);
        Some(Loot { kind: Kind::Tests, count, cost, before: Duration::ZERO, import })
    }

    fn units_loot(&self, state: &Worker) -> Option<Loot> {
        let head = state.queue.units().next()?.1;
        let (mut count, mut cost) = (0, Some(Duration::ZERO));
        for unit in self.loose_units(state) {
            count += 1;
            cost = cost.zip(self.unit_cost(unit)).map(|(sum, price)| sum + price);
        }
        let last = self.loose_units(state).last()?.last()?;
        let kind = if last.step == Step::Collect { Kind::Files } else { Kind::Units };
        let before = self.rest_of_unit(head).unwrap_or_default();
        Some(Loot { kind, count, cost, before, import: self.import_cost(last) })
    }

    /// Units that may be taken back as a whole: the one that the worker is at is not among them.
    fn loose_units<'a>(&'a self, state: &'a Worker) -> impl Iterator<Item = &'a Unit> {
        let collected_only = self.phase != Phase::Running;
        state
            .queue
            .units()
            .skip(1)
            .map(|(_, unit)| unit)
            .filter(move |unit| unit.tie == Tie::Free && (!collected_only || unit.is_uncollected()))
    }

    /// Finds out when it begins to pay to take something from those whose queue has changed since it was last asked.
    fn weigh(&mut self, now: Time) {
        while let Some(worker) = self.fleet.unweighed.pop_first() {
            let due = self.fleet.serving(worker).filter(|_| !self.runs_copies());
            let due = due.and_then(|state| self.due(now, worker, state));
            self.fleet.set_due(worker, due);
        }
    }

    /// Serves idle workers from those for whom it is due.
    pub(super) fn steal(&mut self, now: Time) {
        self.fleet.expire_promises(now);
        let at = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        while self.fleet.unserved() > 0 {
            self.weigh(now);
            let Some((due, victim)) = self.fleet.first_victim() else { return };
            if due.0 > at {
                return;
            }
            let Some(state) = self.fleet.live(victim) else { return };
            let still = self.due(now, victim, state);
            if still != Some(due) {
                // It paid when that was last looked at.
                self.fleet.set_due(victim, still);
                continue;
            }
            let Some(loot) = self.loot(victim, state) else { return };
            let runs_for = now.since(state.head_since);
            let kept = self.pool.last_of(Some(victim)).filter(|_| loot.kind == Kind::Pooled);
            let file = kept.and_then(|parcel| self.pool.last_test(parcel)).map(|test| test.file);
            match kept.zip(file.and_then(|file| self.fleet.idle_for(file))) {
                Some((parcel, thief)) => {
                    let share = self.portion(loot.share(self.fleet.unserved(), runs_for));
                    let tests: Vec<TestId> = self.pool.take(parcel, share, End::Back);
                    self.give_tests(now, thief, &tests, Tie::Free);
                    self.refile(victim);
                }
                None => self.recall(now, victim, loot, runs_for),
            }
        }
    }

    fn recall(&mut self, now: Time, victim: WorkerId, loot: Loot, head_runs_for: Duration) {
        let Some(state) = self.fleet.live(victim) else { return };
        let thieves = self.fleet.unserved().min(loot.count);
        let entries = match self.parting() {
            Parting::Whole => {
                let units = fair_part(loot.count, thieves);
                let kept = (loot.count - units) as usize;
                let first = self.loose_units(state).nth(kept).and_then(Unit::first);
                let from_first = state.queue.units().map(|(_, unit)| unit).skip_while(|unit| unit.first() != first);
                from_first.map(Unit::len).sum()
            }
            Parting::Divisible => {
                let tied: u32 =
                    state.queue.units().filter(|(_, unit)| unit.tie != Tie::Free).map(|(_, u)| u.len()).sum();
                let loose = match loot.kind {
                    Kind::Files => fair_part(loot.count, thieves),
                    _ => loot.share(thieves, head_runs_for).saturating_mul(thieves).min(loot.count),
                };
                loose + tied
            }
        };
        self.send_recall(now, victim, entries, thieves);
    }

    pub(super) fn send_recall(&mut self, now: Time, worker: WorkerId, count: u32, thieves: u32) {
        let given = self.fleet.live(worker).map_or(0, |state| state.queue.opened());
        let patience_ends = now + PATIENCE.max(self.round_trip.value() * 4);
        self.fleet.set_recall(worker, Some(PendingRecall { asked: now, given, thieves, patience_ends }));
        self.actions.push_back(Action::Recall { worker, count });
        self.refile(worker);
    }

    /// Recalls all that a worker could still execute, once nothing more is to be executed.
    pub(super) fn sweep(&mut self, now: Time, worker: WorkerId) {
        if self.phase != Phase::Draining {
            return;
        }
        let Some(state) = self.fleet.serving(worker) else { return };
        if state.swept || state.recall.is_some() {
            return;
        }
        let head = state.queue.head();
        let mut entries = state.queue.units().flat_map(|(_, unit)| unit.entries());
        let executes = |entry: Entry| match entry.step {
            Step::Test(_) => true,
            Step::Collect => Some(entry) != head && self.catalog.executes(entry.file),
        };
        if !entries.any(executes) {
            return;
        }
        drop(entries);
        let count = state.queue.len();
        self.send_recall(now, worker, count, 0);
        self.fleet.mark_swept(worker);
    }
}

/// How many of `count` things `takers` take, if the owner is to keep as many as each of them.
fn fair_part(count: u32, takers: u32) -> u32 {
    if takers >= count {
        return count;
    }
    let part = (u64::from(count) * u64::from(takers)).div_ceil(u64::from(takers) + 1);
    u32::try_from(part).unwrap_or(count)
}
