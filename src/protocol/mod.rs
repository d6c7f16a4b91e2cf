//! The messages of the two byte streams of a run, as `docs/protocol.md` tells them.
//!
//! Pure: bytes to values and back. Who sends what when is decided above.

pub mod bridge;
pub mod frame;
pub mod results;
pub mod runner;

pub use frame::{Frame, FrameCodec, FrameError};

/// The version both streams announce in their `hello`.
pub const PROTOCOL: u32 = 1;

/// A test as the wire names it: `[file, index]`.
pub type WireTest = (u32, u32);

/// How a test is found again on another worker: `[node id, k]`, where `k` counts earlier items of the same file with the same node id.
pub type TestName = (String, u32);
