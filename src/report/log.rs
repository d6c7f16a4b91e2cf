//! The lines of a run's events, read back.

use crate::model::event::{Event, RunEnded, RunStarted, What};

/// The events of one run, in order.
#[derive(Debug, Default)]
pub struct Log {
    pub events: Vec<Event>,
}

impl Log {
    /// Passes over lines of kinds it doesn't know, and over a last one that breaks off.
    pub fn parse(text: &str) -> Self {
        Self { events: text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect() }
    }

    pub fn start(&self) -> Option<&RunStarted> {
        self.events.iter().find_map(|event| match &event.what {
            What::RunStarted(start) => Some(&**start),
            _ => None,
        })
    }

    /// The project's root directory, if the local pytest has said it.
    pub fn rootdir(&self) -> &str {
        let said = self.events.iter().find_map(|event| match &event.what {
            What::PytestStarted { rootdir, .. } => Some(rootdir.as_str()),
            _ => None,
        });
        said.unwrap_or_default()
    }

    pub fn end(&self) -> Option<&RunEnded> {
        self.events.iter().rev().find_map(|event| match &event.what {
            What::RunEnded(end) => Some(&**end),
            _ => None,
        })
    }

    /// Seconds from the run's begin to the last thing that is known of it. What was said about it afterwards is no part of it.
    pub fn seconds(&self) -> f64 {
        let happened = self.events.iter().filter(|event| !event.is_said());
        happened.map(|event| event.at).fold(0.0, f64::max)
    }
}
