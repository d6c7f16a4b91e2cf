//! The way from a run to whoever watches it: what happens is told as it happens, and nobody waits for anybody.
//!
//! A watcher that has had enough costs a run nothing more.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
        mpsc,
    },
    time::Instant,
};

use crate::model::live::Sight;

/// What a run tells a watcher with; without one, it forgets all.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    line: Option<Arc<Line>>,
}

#[derive(Debug)]
struct Line {
    /// What times of events count from.
    began: Instant,
    sender: mpsc::Sender<Sight>,
    bell: (PipeReader, PipeWriter),
    /// The bell has been rung and not been heard yet.
    rung: AtomicBool,
    state: AtomicU8,
}

/// Is told of the run; nothing is shown of it yet.
const LISTENS: u8 = 0;
const LOOKS: u8 = 1;
const IS_OVER: u8 = 2;
/// It is about to be shown.
const WILL_LOOK: u8 = 3;

/// The watcher's end.
pub struct Watcher {
    line: Arc<Line>,
    news: mpsc::Receiver<Sight>,
}

impl Watch {
    pub fn begin() -> io::Result<(Self, Watcher)> {
        let bell = io::pipe()?;
        let (sender, news) = mpsc::channel();
        let (rung, state) = (AtomicBool::new(false), AtomicU8::new(LISTENS));
        let line = Arc::new(Line { began: Instant::now(), sender, bell, rung, state });
        Ok((Self { line: Some(line.clone()) }, Watcher { line, news }))
    }

    pub fn tell(&self, sight: impl FnOnce() -> Sight) {
        if let Some(line) = &self.line
            && line.state.load(Ordering::Relaxed) != IS_OVER
        {
            line.sender.send(sight()).ok();
            line.ring();
        }
    }

    /// Whether the run is being looked at right now.
    pub fn looks(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.state.load(Ordering::Relaxed) == LOOKS)
    }

    /// The same, or about to.
    pub fn looks_or_will(&self) -> bool {
        self.line.as_ref().is_some_and(|line| matches!(line.state.load(Ordering::Relaxed), LOOKS | WILL_LOOK))
    }

    /// Whether anybody wants to hear anything.
    pub fn listens(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.state.load(Ordering::Relaxed) != IS_OVER)
    }

    /// It is to be looked at soon.
    pub fn prepare_to_look(&self) {
        self.go_on_to(WILL_LOOK);
    }

    /// From now on it is to be looked at, unless that is over.
    pub fn look(&self) {
        self.go_on_to(LOOKS);
    }

    fn go_on_to(&self, state: u8) {
        if let Some(line) = &self.line {
            let unless_over = |before| (before != IS_OVER).then_some(state);
            line.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, unless_over).ok();
            line.ring();
        }
    }

    /// Nobody is to look at it any more.
    pub fn end(&self) {
        if let Some(line) = &self.line {
            line.state.store(IS_OVER, Ordering::Relaxed);
            line.ring();
        }
    }

    pub(super) fn began(&self) -> Option<Instant> {
        self.line.as_ref().map(|line| line.began)
    }
}

impl Line {
    /// One ring is enough for all that is told until it is heard.
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            (&self.bell.1).write_all(b"!").ok();
        }
    }
}

impl Watcher {
    /// Can be read when there is something to hear.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.line.bell.0.as_fd()
    }

    /// What has been told since the last time. The bell rings again for what comes later.
    pub fn hear(&self) -> impl Iterator<Item = Sight> {
        if self.line.rung.swap(false, Ordering::AcqRel) {
            (&self.line.bell.0).read_exact(&mut [0]).ok();
        }
        self.news.try_iter()
    }

    /// Seconds since the run began.
    pub fn now(&self) -> f64 {
        self.line.began.elapsed().as_secs_f64()
    }

    pub fn is_to_look(&self) -> bool {
        self.line.state.load(Ordering::Relaxed) == LOOKS
    }

    pub fn end(&self) {
        self.line.state.store(IS_OVER, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(watcher: &Watcher) -> Vec<Sight> {
        watcher.hear().collect()
    }

    #[test]
    fn all_is_heard_until_nobody_listens() {
        let (watch, watcher) = Watch::begin().unwrap();
        let note = |text: &str| Sight::Note(text.into());
        watch.tell(|| note("before"));
        watch.prepare_to_look();
        assert!(watch.looks_or_will() && !watch.looks() && !watcher.is_to_look());
        watch.look();
        assert!(watch.looks() && watcher.is_to_look());
        watch.clone().tell(|| note("while"));
        assert_eq!(told(&watcher), [note("before"), note("while")]);
        watcher.end();
        watch.tell(|| panic!("nobody wants to know"));
        watch.look();
        assert!(!watch.looks() && !watch.listens() && told(&watcher).is_empty());
    }

    #[test]
    fn the_bell_rings_once_for_many_and_again_for_more() {
        let (watch, watcher) = Watch::begin().unwrap();
        let rings = |watcher: &Watcher| {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let bell = watcher.bell();
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::new(&bell, PollFlags::IN)], Some(&now)).unwrap() == 1
        };
        assert!(!rings(&watcher));
        for _ in 0..3 {
            watch.tell(|| Sight::Note(String::new()));
        }
        assert!(rings(&watcher));
        assert_eq!(told(&watcher).len(), 3);
        assert!(!rings(&watcher));
        watch.tell(|| Sight::Note(String::new()));
        assert!(rings(&watcher));
    }
}
