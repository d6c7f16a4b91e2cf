//! Plain values that every floor may name: ids, modes, outcomes and events of a run.
//!
//! Nothing here does I/O, reads a clock, or knows a protocol.

pub mod event;
mod ids;
pub mod live;

pub use ids::{FileId, MachineId, TestId, WorkerId};

/// Where machines of a run listen for each other, as long as one of these ports is free. They have to be let in there.
pub const SEED_PORTS: std::ops::Range<u16> = 28_100..28_164;
