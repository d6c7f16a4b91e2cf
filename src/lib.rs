//! cloudist runs a pytest suite, or any command, on many machines over SSH.
//!
//! The house, floor by floor. A module may name those on its own floor's list and below, never above; a test holds this.
//!
//! * floor 0: [`model`] — plain values
//! * floor 1, pure: [`plan`], [`scheduler`], [`protocol`], [`templates`], [`text`]
//! * floor 2: [`cache`], [`ssh`], [`registry`], [`snapshot`], [`provider`]
//! * floor 3: [`machine`] — one task per machine; [`history`] — what earlier runs measured; [`report`] — what is made of a run's events; [`view`] — a run as it goes
//! * floor 4: [`run`] — the coordinators
//! * floor 5: [`frontend`] — the commands

pub mod model;

pub mod plan;
pub mod protocol;
pub mod scheduler;
pub mod templates;
pub mod text;

pub mod cache;
pub mod provider;
pub mod registry;
pub mod snapshot;
pub mod ssh;

pub mod history;
pub mod machine;
pub mod report;
pub mod view;

pub mod run;

pub mod environment;
pub mod frontend;
