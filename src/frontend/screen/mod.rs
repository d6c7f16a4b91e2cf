//! The whole terminal, for a view of the run while it goes on.
//!
//! What this process and pytest write goes through a terminal of our own, so that it can be held back, byte for byte, while
//! the view is on the screen. Whoever writes sees a terminal of the same size, and has one when this is over.

mod keys;
mod relay;
mod takeover;
mod terminal;

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use relay::Relay;
use takeover::Before;
pub use takeover::Writers;

use crate::{
    plan::{Settings, View},
    protocol::bridge::ToPlugin,
    run::Watch,
};

/// The terminal, if it is wanted and could be had.
#[derive(Default)]
pub struct Screen {
    watch: Watch,
    held: Option<Held>,
    /// Why there is none.
    refusal: Option<String>,
}

struct Held {
    thread: JoinHandle<()>,
    closing: Arc<AtomicBool>,
    before: Before,
    /// A further way to the user's terminal, to ask it.
    tty: File,
    /// What others are to write to, and a file of what is held back, for the one above.
    names: Option<(PathBuf, tempfile::TempPath)>,
}

impl Screen {
    /// Takes the terminal, if a view of the run is wanted on it.
    pub fn take(&mut self, settings: &Settings, writers: Writers) {
        if settings.view != View::Tui || self.held.is_some() || self.refusal.is_some() {
            return;
        }
        if let Err(refusal) = takeover::take(writers).and_then(|taken| self.hold(taken, writers)) {
            self.refusal = Some(refusal);
        }
    }

    fn hold(&mut self, taken: takeover::Taken, writers: Writers) -> Result<(), String> {
        let takeover::Taken { tty, master, name, spool, before } = taken;
        let begun = || -> io::Result<_> {
            let (watch, watcher) = Watch::begin()?;
            let closing = Arc::new(AtomicBool::new(false));
            let (further, (spool, path)) = (tty.try_clone()?, spool.into_parts());
            let relay = Relay::new(tty, master, spool, watcher, closing.clone());
            let thread = thread::Builder::new().name("screen".into()).spawn(move || relay.run())?;
            Ok((watch, thread, closing, further, path))
        };
        match begun() {
            Ok((watch, thread, closing, tty, path)) => {
                self.watch = watch;
                // Without its name the file is gone with this process, whatever ends that.
                let names = (writers == Writers::Above).then_some((name, path));
                self.held = Some(Held { thread, closing, before, tty, names });
                Ok(())
            }
            Err(error) => {
                before.put_back();
                Err(format!("failed to set the terminal up: {error}"))
            }
        }
    }

    /// What a run is to tell of itself with.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Shows the view from now on, unless there is something against it. The answer to one that asked for it says why not.
    pub fn enter(&self, objection: Option<&str>) -> Result<(), String> {
        match self.permitted(objection) {
            Ok(()) => {
                self.watch.look();
                Ok(())
            }
            Err(reason) => {
                self.watch.end();
                Err(reason)
            }
        }
    }

    /// Whether it is the local pytest above that is still to write to our own terminal.
    pub fn awaits_writers(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.names.is_some())
    }

    /// Asks the local pytest, above this process, to write to our own terminal; when it does, the view can be shown.
    pub fn invite(&mut self, objection: Option<&str>) -> Result<ToPlugin, String> {
        if let Err(reason) = self.permitted(objection) {
            self.watch.end();
            return Err(reason);
        }
        match self.held.as_ref().and_then(|held| held.names.as_ref()) {
            Some((terminal, held)) => {
                self.watch.prepare_to_look();
                let (terminal, held) = (terminal.to_string_lossy().into(), held.to_string_lossy().into());
                Ok(ToPlugin::Screen { terminal, held })
            }
            None => Err("no live view: it has been shown".into()),
        }
    }

    fn permitted(&self, objection: Option<&str>) -> Result<(), String> {
        let reason = match (&self.held, &self.refusal) {
            (_, Some(refusal)) => Some(refusal.clone()),
            (Some(held), None) => objection.map(str::to_owned).or_else(|| takeover::refusal(&held.tty)),
            (None, None) => Some("it has to be asked for before pytest starts".into()),
        };
        reason.map_or(Ok(()), |reason| Err(format!("no live view: {reason}")))
    }

    /// The view is over; what was held back is shown.
    pub fn leave(&self) {
        self.watch.end();
    }

    /// The terminal is as it was before, and all that was written is on it.
    pub fn close(&mut self) {
        let Some(Held { thread, closing, before, .. }) = self.held.take() else { return };
        io::stdout().flush().ok();
        // After this nobody here writes to our own terminal any more.
        before.put_back();
        closing.store(true, Ordering::Relaxed);
        self.watch.end();
        thread.join().ok();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}
