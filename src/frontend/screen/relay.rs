//! Passes on what is written, and in the meantime shows the view: one thread that waits for both, for keys and for news.
//!
//! It draws at most ten times a second, and only if something has changed.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{self, Winsize},
};

use super::{
    keys::{Press, presses},
    terminal::Terminal,
};
use crate::{
    run::Watcher,
    view::{View, Wish},
};

/// Time between two drawings, at least.
const BETWEEN: Duration = Duration::from_millis(100);
/// How soon a new size of the terminal is noticed.
const GLANCE: Duration = Duration::from_millis(250);
/// When this process is done writing, and others still could.
const SILENCE: Duration = Duration::from_millis(200);

pub struct Relay {
    tty: File,
    master: File,
    spool: File,
    watcher: Watcher,
    closing: Arc<AtomicBool>,
    view: View,
    terminal: Option<Terminal>,
    size: Option<(u16, u16)>,
    /// Something has changed since the last drawing.
    changed: bool,
    drawn: Instant,
    second: u64,
    /// The user's terminal is gone: keys don't come, and nothing can be shown.
    gone: bool,
}

/// What woke it.
#[derive(Default)]
struct Woken {
    written: bool,
    pressed: bool,
}

impl Relay {
    pub fn new(tty: File, master: File, spool: File, watcher: Watcher, closing: Arc<AtomicBool>) -> Self {
        Self {
            tty,
            master,
            spool,
            watcher,
            closing,
            view: View::default(),
            terminal: None,
            size: None,
            changed: false,
            drawn: Instant::now(),
            second: 0,
            gone: false,
        }
    }

    /// Until nobody can write any more.
    pub fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.turn())).is_err() {
            // A view that is broken is no reason to lose what is written.
            self.watcher.end();
        }
        self.show_what_was_held();
    }

    fn turn(&mut self) {
        loop {
            match (self.watcher.is_to_look() && !self.gone, self.terminal.is_some()) {
                (true, false) => self.enter(),
                (false, true) => self.show_what_was_held(),
                _ => {}
            }
            self.follow_size();
            self.draw_if_due();
            let closing = self.closing.load(Ordering::Relaxed);
            let woken = self.wait(closing);
            for sight in self.watcher.hear() {
                let now = self.watcher.now();
                self.view.take(sight, now);
                self.changed = true;
            }
            if woken.pressed {
                self.heed_keys();
            }
            if woken.written && !self.pass_on() || !woken.written && closing {
                return;
            }
        }
    }

    fn wait(&self, closing: bool) -> Woken {
        let due = self.drawn + BETWEEN;
        let waits = self.terminal.is_some() && self.changed;
        let time = match (closing, waits) {
            (true, _) => SILENCE,
            (false, true) => due.saturating_duration_since(Instant::now()).min(GLANCE),
            (false, false) => GLANCE,
        };
        let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        let bell = self.watcher.bell();
        let mut fds = vec![PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
        let keys = (self.terminal.is_some()).then(|| {
            fds.push(PollFd::from_borrowed_fd(self.tty.as_fd(), PollFlags::IN));
            fds.len() - 1
        });
        // News that can't be drawn yet needn't wake anybody, and at the end there are none.
        if !waits && !closing {
            fds.push(PollFd::from_borrowed_fd(bell, PollFlags::IN));
        }
        if poll(&mut fds, Some(&timeout)).is_err() {
            return Woken::default();
        }
        let ready = |at: usize| !fds[at].revents().is_empty();
        Woken { written: ready(0), pressed: keys.is_some_and(ready) }
    }

    fn enter(&mut self) {
        match Terminal::enter(&self.tty) {
            Ok(terminal) => {
                self.terminal = Some(terminal);
                (self.changed, self.size) = (true, None);
                self.drawn -= BETWEEN;
            }
            Err(_) => self.watcher.end(),
        }
    }

    /// Whoever writes is told of a new size by the same means as on the user's terminal.
    fn follow_size(&mut self) {
        let Ok(size) = termios::tcgetwinsize(&self.tty) else { return };
        let now = Some((size.ws_col, size.ws_row));
        if self.size != now {
            (self.size, self.changed) = (now, true);
            termios::tcsetwinsize(&self.master, size).ok();
        }
    }

    fn draw_if_due(&mut self) {
        let Some(terminal) = &mut self.terminal else { return };
        let now = self.watcher.now();
        if !(self.changed || now as u64 != self.second) || self.drawn.elapsed() < BETWEEN {
            return;
        }
        let (ws_col, ws_row) = self.size.unwrap_or((80, 24));
        let size = Winsize { ws_col, ws_row, ws_xpixel: 0, ws_ypixel: 0 };
        self.gone = terminal.draw(&mut self.view, now, size).is_err();
        (self.changed, self.drawn, self.second) = (false, Instant::now(), now as u64);
    }

    fn heed_keys(&mut self) {
        let mut bytes = [0; 1024];
        let count = match (&self.tty).read(&mut bytes) {
            Ok(count) if count > 0 => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            _ => {
                self.gone = true;
                return;
            }
        };
        for press in presses(&bytes[..count]) {
            self.changed = true;
            let wish = match press {
                Press::Key(key) => self.view.press(key),
                Press::Away => Wish::Leave,
            };
            if wish == Wish::Leave {
                self.watcher.end();
                return;
            }
        }
    }

    /// Passes on what is there, or keeps it. Answers whether more may come.
    fn pass_on(&mut self) -> bool {
        let mut bytes = [0; 64 << 10];
        let count = match (&self.master).read(&mut bytes) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            // Nobody has it open any more.
            Err(_) => return false,
        };
        let written = &bytes[..count];
        if self.terminal.is_some() {
            if self.spool.write_all(written).is_ok() {
                return true;
            }
            // There is no room to keep it in; then the view has to go.
            self.watcher.end();
            self.show_what_was_held();
        }
        if !self.gone {
            self.gone = (&self.tty).write_all(written).is_err();
        }
        true
    }

    fn show_what_was_held(&mut self) {
        let Some(terminal) = self.terminal.take() else { return };
        terminal.leave();
        if self.spool.seek(SeekFrom::Start(0)).is_ok() {
            io::copy(&mut self.spool, &mut &self.tty).ok();
        }
        self.spool.set_len(0).ok();
        self.spool.seek(SeekFrom::Start(0)).ok();
    }
}
