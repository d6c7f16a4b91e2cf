//! The last lines of what was said, however much that was.

use std::collections::VecDeque;

use super::text;

/// So many lines are kept of each.
const MOST: usize = 500;
/// A line that is longer than this is cut.
const LONGEST: usize = 2000;

#[derive(Debug, Default)]
pub struct Log {
    lines: VecDeque<String>,
    /// A line that has begun.
    begun: String,
    /// Lines that are no longer kept.
    gone: usize,
}

impl Log {
    /// Adds a piece of text, wherever it was cut.
    pub fn add(&mut self, piece: &str) {
        for part in piece.split_inclusive('\n') {
            if self.begun.len() < LONGEST {
                self.begun.push_str(text::head(part.trim_end_matches('\n'), LONGEST).as_str());
            }
            if part.ends_with('\n') {
                let line = text::plain(&std::mem::take(&mut self.begun));
                self.push(line);
            }
        }
    }

    fn push(&mut self, line: String) {
        self.lines.push_back(line);
        if self.lines.len() > MOST {
            self.lines.pop_front();
            self.gone += 1;
        }
    }

    /// The lines that are kept, with the one that has begun.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let begun = (!self.begun.is_empty()).then(|| text::plain(&self.begun));
        let gone = (self.gone > 0).then(|| format!("[… {} lines before …]", self.gone));
        gone.into_iter().chain(self.lines.iter().cloned()).chain(begun)
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.begun.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_wherever_they_are_cut() {
        let mut log = Log::default();
        assert!(log.is_empty());
        for piece in ["half ", "a line\nan\x1b[31", "mother\n", "\nlast"] {
            log.add(piece);
        }
        assert_eq!(log.lines().collect::<Vec<_>>(), ["half a line", "another", "", "last"]);
    }

    #[test]
    fn of_too_many_the_last_are_kept() {
        let mut log = Log::default();
        for number in 0..=MOST {
            log.add(&format!("{number}\n"));
        }
        let lines: Vec<String> = log.lines().collect();
        assert_eq!(lines[..2], ["[… 1 lines before …]".to_owned(), "1".to_owned()]);
        assert_eq!(lines.last(), Some(&MOST.to_string()));
        log.add(&"x".repeat(3 * LONGEST));
        assert!(log.lines().last().is_some_and(|line| line.len() <= LONGEST + 4));
    }
}
