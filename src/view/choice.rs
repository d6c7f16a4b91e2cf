//! What is chosen in the view, and what keys do to that.

use super::run::Run;
use crate::model::live::Sight;

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    BackTab,
    Enter,
    Escape,
    Char(char),
}

/// What a key asks of whoever shows the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Stay,
    /// The run goes on without the view.
    Leave,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    Machines,
    #[default]
    Workers,
    Failures,
}

impl Pane {
    pub const ALL: [Self; 3] = [Self::Machines, Self::Workers, Self::Failures];
}

/// A row of a list, and the first that is on the screen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen {
    pub row: usize,
    pub top: usize,
    /// Rows that were on the screen when it was last drawn.
    pub page: usize,
}

impl Chosen {
    /// Scrolls as little as it takes to see the row that is chosen.
    pub fn fit(&mut self, rows: usize, page: usize) {
        self.page = page;
        self.row = self.row.min(rows.saturating_sub(1));
        self.top = self.top.min(self.row).max((self.row + 1).saturating_sub(page)).min(rows.saturating_sub(page));
    }

    fn press(&mut self, key: Key, rows: usize) {
        let page = self.page.max(1);
        self.row = match key {
            Key::Up => self.row.saturating_sub(1),
            Key::Down => self.row + 1,
            Key::PageUp => self.row.saturating_sub(page),
            Key::PageDown => self.row + page,
            Key::Home => 0,
            Key::End => rows,
            _ => self.row,
        };
        self.row = self.row.min(rows.saturating_sub(1));
    }
}

/// How far down the text about what is chosen is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scroll {
    pub top: usize,
    /// The end is to be seen, also when more comes.
    pub follows: bool,
    pub page: usize,
    pub lines: usize,
}

impl Scroll {
    /// Answers the first line to show.
    pub fn fit(&mut self, lines: usize, page: usize) -> usize {
        (self.lines, self.page) = (lines, page);
        let last = lines.saturating_sub(page);
        if self.follows {
            self.top = last;
        }
        self.top = self.top.min(last);
        self.top
    }

    fn press(&mut self, key: Key) {
        let (page, last) = (self.page.max(2) - 1, self.lines.saturating_sub(self.page));
        self.top = match key {
            Key::Up => self.top.saturating_sub(1),
            Key::Down => self.top + 1,
            Key::PageUp => self.top.saturating_sub(page),
            Key::PageDown => self.top + page,
            Key::Home => 0,
            Key::End => last,
            _ => return,
        };
        self.follows = self.top >= last && key != Key::Home;
        self.top = self.top.min(last);
    }
}

/// The view of one run.
#[derive(Debug, Default)]
pub struct View {
    pub(super) run: Run,
    pub(super) focus: Pane,
    pub(super) machines: Chosen,
    pub(super) workers: Chosen,
    pub(super) failures: Chosen,
    pub(super) scroll: Scroll,
    /// The text about what is chosen has the screen for itself.
    pub(super) opened: bool,
    pub(super) help: bool,
}

impl View {
    /// Something has happened; `now` is the time of the run.
    pub fn take(&mut self, sight: Sight, now: f64) {
        self.run.take(sight, now);
    }

    pub fn press(&mut self, key: Key) -> Wish {
        if std::mem::take(&mut self.help) {
            // Any key but this one closes the help.
            return if key == Key::Char('q') { Wish::Leave } else { Wish::Stay };
        }
        match key {
            Key::Char('q') => return Wish::Leave,
            Key::Char('?' | 'h') => self.help = true,
            Key::Char('m') => self.turn_to(Pane::Machines),
            Key::Char('w') => self.turn_to(Pane::Workers),
            Key::Char('f') => self.turn_to(Pane::Failures),
            Key::Tab => self.turn_by(1),
            Key::BackTab => self.turn_by(Pane::ALL.len() - 1),
            Key::Enter if !self.opened => self.opened = self.rows(self.focus) > 0,
            Key::Enter | Key::Escape => self.opened = false,
            Key::Left | Key::Char('p') => self.choose(Key::Up),
            Key::Right | Key::Char('n') => self.choose(Key::Down),
            key => {
                let key = match key {
                    Key::Char('k') => Key::Up,
                    Key::Char('j') => Key::Down,
                    Key::Char('g') => Key::Home,
                    Key::Char('G') => Key::End,
                    Key::Char(' ') => Key::PageDown,
                    Key::Char('b') => Key::PageUp,
                    key => key,
                };
                if self.opened {
                    self.scroll.press(key);
                } else {
                    self.choose(key);
                }
            }
        }
        Wish::Stay
    }

    /// Rows that can be chosen.
    pub(super) fn rows(&self, pane: Pane) -> usize {
        match pane {
            Pane::Machines => self.run.machines.len(),
            Pane::Workers => self.run.workers.len(),
            Pane::Failures => self.run.failures.len(),
        }
    }

    pub(super) fn chosen(&mut self, pane: Pane) -> &mut Chosen {
        match pane {
            Pane::Machines => &mut self.machines,
            Pane::Workers => &mut self.workers,
            Pane::Failures => &mut self.failures,
        }
    }

    fn choose(&mut self, key: Key) {
        let (pane, rows) = (self.focus, self.rows(self.focus));
        let before = self.chosen(pane).row;
        self.chosen(pane).press(key, rows);
        if self.chosen(pane).row != before {
            self.begin_text();
        }
    }

    fn turn_to(&mut self, pane: Pane) {
        if self.focus != pane {
            self.focus = pane;
            self.opened = self.opened && self.rows(pane) > 0;
            self.begin_text();
        }
    }

    fn turn_by(&mut self, steps: usize) {
        let at = Pane::ALL.iter().position(|&pane| pane == self.focus).unwrap_or(0);
        self.turn_to(Pane::ALL[(at + steps) % Pane::ALL.len()]);
    }

    /// A traceback is read from its beginning, a log at its end.
    fn begin_text(&mut self) {
        self.scroll = Scroll { follows: self.focus != Pane::Failures, ..self.scroll };
        self.scroll.top = 0;
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
