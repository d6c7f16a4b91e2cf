//! What is made of a run's events: a page to look at and a trace, from a timeline of who did what when.
//!
//! Pure: events in, texts out. Knows nothing of how a run goes but what its events tell.

mod bounds;
mod clocks;
mod commands;
mod data;
mod figures;
mod log;
mod page;
mod sections;
mod timeline;
mod trace;
mod work;

pub use log::Log;

use self::timeline::Timeline;

/// All that is known of a run once it is over.
pub struct Report<'a> {
    log: &'a Log,
    timeline: Timeline<'a>,
}

impl<'a> Report<'a> {
    /// Nothing, if these are not the events of a run.
    pub fn of(log: &'a Log) -> Option<Self> {
        Some(Self { timeline: Timeline::of(log)?, log })
    }

    /// The page, which needs nothing besides itself.
    pub fn page(&self) -> String {
        page::render(self.log, &self.timeline)
    }

    /// The timeline in the form of Chrome's traces.
    pub fn trace(&self) -> String {
        trace::render(&self.timeline)
    }
}
