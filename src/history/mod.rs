//! What earlier runs measured: how long tests and imports took, how tests ended, what runs cost.
//!
//! One SQLite file of this user for all projects: `docs/design/history.md`. It decides nothing, and a fault in it never stops a
//! run: whoever asks is told, and goes on without.

mod durations;
mod error;
mod exchange;
mod migration;
mod queries;
mod record;
mod store;
#[cfg(test)]
mod store_tests;

pub use durations::{Durations, FileDurations};
pub use error::HistoryError;
pub use exchange::{parse_test_durations, print_test_durations};
pub use queries::{FlakyTest, PastOutcome, PastRun, SlowTest};
pub use record::{Outcome, OutcomeRecord, RunRecord};
pub use store::{History, Opened, default_path};
