//! Plain values that every floor may name: ids, modes, outcomes of a run.
//!
//! Nothing here does I/O, reads a clock, or knows a protocol.

mod ids;

pub use ids::{FileId, MachineId, TestId, WorkerId};
