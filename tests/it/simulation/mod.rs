//! The scheduler in a world of virtual time: machines with latency, workers that import, run, crash and disappear.
//!
//! Everything follows from a seed; nothing here sleeps, forks, or opens a socket.

mod dice;
mod foresight;
mod makespan;
mod monotone;
mod plan;
mod random;
mod scale;
mod scenarios;
mod suite;
mod witness;
mod worker;
mod world;
