//! How many workers a suite is worth, from what it took in earlier runs and when it is to be over.
//!
//! Sums alone: knows no history and no prices. The times are those of a schedule that shares the work evenly.

use std::time::Duration;

/// When a run is to be over if nobody says.
pub const TARGET: Duration = Duration::from_secs(300);
/// No more workers are chosen than this; who wants more names a number.
pub const MOST_CHOSEN: u32 = 1000;

/// What earlier runs know of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// All tests and imports, one after the other.
    pub total: Duration,
    /// What can't be shared: the longest test with the import of its file, or the longest file.
    pub longest: Duration,
    /// Before the first test begins.
    pub start: Duration,
}

/// Workers, and how long a run takes with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Team {
    pub workers: u32,
    pub takes: Duration,
}

impl Work {
    /// How long a run takes. Never more with more workers.
    pub fn with(&self, workers: u32) -> Team {
        let workers = workers.max(1);
        Team { workers, takes: self.start + self.longest.max(self.total / workers) }
    }

    /// From here on more workers save nothing.
    pub fn most_useful(&self) -> u32 {
        quotient(self.total, self.longest)
    }

    /// The fewest workers, up to `most`, with which a run is over by `target`; if none are enough, the fewest that are as fast as any.
    pub fn team(&self, target: Duration, most: u32) -> Team {
        let share = target.saturating_sub(self.start).max(self.longest);
        self.with(quotient(self.total, share).min(most.max(1)))
    }

    /// Doubling numbers up to the one from which on more save nothing, and the chosen one among them.
    pub fn teams(&self, chosen: u32, most: u32) -> Vec<Team> {
        let last = self.most_useful().min(most.max(1));
        let mut workers: Vec<u32> = (0..u32::BITS).map(|power| 1 << power).take_while(|&count| count < last).collect();
        workers.extend([last, chosen]);
        workers.sort_unstable();
        workers.dedup();
        workers.into_iter().map(|count| self.with(count)).collect()
    }
}

/// Rounded up, and at least one.
fn quotient(total: Duration, part: Duration) -> u32 {
    let workers = total.as_nanos().div_ceil(part.as_nanos().max(1)).max(1);
    u32::try_from(workers).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    const WORK: Work = Work { total: seconds(3600), longest: seconds(120), start: seconds(60) };

    #[test]
    fn the_fewest_that_meet_the_target_are_chosen() {
        let team = WORK.team(TARGET, MOST_CHOSEN);
        assert_eq!(team, Team { workers: 15, takes: TARGET });
        assert!(WORK.with(team.workers - 1).takes > TARGET);
        assert_eq!(WORK.team(seconds(7200), MOST_CHOSEN).workers, 1);
    }

    #[test]
    fn no_more_are_chosen_than_help_or_are_allowed() {
        for target in [Duration::ZERO, seconds(60), seconds(179)] {
            assert_eq!(WORK.team(target, MOST_CHOSEN), Team { workers: 30, takes: seconds(180) });
        }
        assert_eq!(WORK.team(seconds(60), 4).workers, 4);
        assert_eq!(WORK.most_useful(), 30);
    }

    #[test]
    fn nothing_known_or_nothing_to_do_is_one_worker() {
        let nothing = Work { total: Duration::ZERO, longest: Duration::ZERO, start: Duration::ZERO };
        assert_eq!(nothing.team(TARGET, MOST_CHOSEN).workers, 1);
        assert_eq!(nothing.team(Duration::ZERO, 0).workers, 1);
    }

    #[test]
    fn more_workers_never_take_longer_and_the_chosen_one_is_shown() {
        let teams = WORK.teams(15, MOST_CHOSEN);
        assert_eq!(teams.iter().map(|team| team.workers).collect::<Vec<_>>(), [1, 2, 4, 8, 15, 16, 30]);
        assert!(teams.windows(2).all(|pair| pair[1].takes <= pair[0].takes));
    }
}
