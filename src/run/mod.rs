//! Runs: the coordinator loops that own all state.
//!
//! One loop each for a test run and for a command run. They await messages, never the network, and share no state.

pub mod command;
mod error;
mod fleet;
mod peers;
mod preparing;
pub mod recorder;
mod registration;
mod spread;
pub mod tests;
mod transcript;
mod watch;

pub use error::RunError;
pub use fleet::{Fleet, FleetEvent, FleetPlan};
pub use preparing::{Ground, SessionGround, Variables, prepare};
pub use recorder::{Listener, Recorder};
pub use registration::Registration;
pub use watch::{Watch, Watcher};
