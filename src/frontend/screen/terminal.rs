//! The view on the user's terminal: the alternate screen, keys without echo, and cells where they have changed.

use std::{
    env,
    fs::File,
    io::{self, BufWriter, Write},
};

use ratatui::{
    backend::{Backend, TermionBackend},
    buffer::Buffer,
    layout::Rect,
};
use rustix::termios::{self, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, Winsize};
use termion::{
    clear, cursor,
    screen::{ToAlternateScreen, ToMainScreen},
};

use crate::view::{Palette, View};

/// A character that no key sends.
const NONE: u8 = 0;

pub struct Terminal {
    tty: File,
    before: Termios,
    backend: TermionBackend<BufWriter<File>>,
    /// What is on the screen.
    shown: Buffer,
    palette: Palette,
}

impl Terminal {
    /// Ctrl-C stays what it is: it reaches pytest as it does without a view.
    pub fn enter(tty: &File) -> io::Result<Self> {
        let before = termios::tcgetattr(tty)?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ECHONL | LocalModes::IEXTEN);
        modes.input_modes.remove(InputModes::IXON);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        modes.special_codes[SpecialCodeIndex::VQUIT] = NONE;
        modes.special_codes[SpecialCodeIndex::VSUSP] = NONE;
        termios::tcsetattr(tty, OptionalActions::Drain, &modes)?;
        let palette = Palette { colours: wants_colours(), unicode: is_unicode() };
        let backend = TermionBackend::new(BufWriter::with_capacity(64 << 10, tty.try_clone()?));
        let mut terminal = Self { tty: tty.try_clone()?, before, backend, shown: Buffer::default(), palette };
        write!(terminal.backend, "{ToAlternateScreen}{}{}", cursor::Hide, clear::All)?;
        Ok(terminal)
    }

    /// Draws what has changed since the last time.
    pub fn draw(&mut self, view: &mut View, now: f64, size: Winsize) -> io::Result<()> {
        let area = Rect::new(0, 0, size.ws_col, size.ws_row);
        if self.shown.area != area {
            write!(self.backend, "{}", clear::All)?;
            self.shown = Buffer::empty(area);
        }
        let mut next = Buffer::empty(area);
        view.draw(now, self.palette, &mut next);
        let changed = self.shown.diff(&next);
        if !changed.is_empty() {
            self.backend.draw(changed.into_iter())?;
        }
        self.shown = next;
        Write::flush(&mut self.backend)
    }

    /// The screen that was there before, and keys as they were.
    pub fn leave(mut self) {
        write!(self.backend, "{}{ToMainScreen}", cursor::Show).ok();
        Write::flush(&mut self.backend).ok();
        termios::tcsetattr(&self.tty, OptionalActions::Drain, &self.before).ok();
    }
}

fn wants_colours() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// As the C library has it: the first of these that is set holds.
fn is_unicode() -> bool {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}
