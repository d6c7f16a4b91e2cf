//! `cloudist replay`: prints a past run once more, byte for byte, from what is kept of its events.
//!
//! What was drawn on a terminal is written to anything else as lines without colours.

use std::{
    env,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anstream::adapter::StripBytes;
use clap::Args;

use super::{
    failure::{Failure, exit_code},
    kept, report,
};
use crate::{
    model::event::{Event, Printed, What},
    run::recorder::is_being_written,
};

pub const EXAMPLES: &str = "\
Examples:
  cloudist replay                        the last run
  cloudist replay 41                     a run of this project by its number in `cloudist history`
  cloudist replay --speed 1              at the pace at which it went
  cloudist replay ci/events.jsonl | less a run from elsewhere

Exit status: 0; 90 if there is no such run, or nothing that it printed is kept; 97 if it can't be read;
141 if nobody reads on.";

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A run's name or its number in `cloudist history`, `latest`, a file of events, or a directory with one
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: PathBuf,
    /// Print it at the pace of the run, or so many times as fast [default: at once]
    #[arg(long, value_name = "TIMES", value_parser = speed)]
    pub speed: Option<f64>,
}

fn speed(text: &str) -> Result<f64, String> {
    let wanted = || "a number above 0 is wanted: 1 is the pace of the run, 2 twice that".to_owned();
    text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0).ok_or_else(wanted)
}

pub fn replay(args: &ReplayArgs) -> Result<u8, Failure> {
    let source = kept::find(&args.run)?;
    let events = kept::events(&source).map_err(|error| report::failure(&source, "read", &error))?;
    let mut screen = Screen::default();
    let began = Instant::now();
    for event in events {
        if let (Some(speed), true) = (args.speed, event.is_said()) {
            keep_pace(began, event.at / speed);
        }
        match screen.take(event) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(exit_code::BROKEN_PIPE),
            Err(error) => {
                return Err(Failure::new(exit_code::INTERNAL, format!("failed to write the output: {error}")));
            }
        }
    }
    screen.close(&source)
}

fn keep_pace(began: Instant, due: f64) {
    let due = Duration::try_from_secs_f64(due).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "nothing happens any more; the time itself is waited for")]
    thread::sleep(due.saturating_sub(began.elapsed()));
}

/// Where it is printed: each stream on its own.
#[derive(Default)]
struct Screen {
    out: Way,
    err: Way,
    printed: bool,
    is_a_run: bool,
    ended: bool,
}

impl Screen {
    fn take(&mut self, event: Event) -> io::Result<()> {
        match event.what {
            What::RunStarted(_) => self.is_a_run = true,
            What::PytestStarted { terminal: true, .. } => {
                self.out = Way::of_a_terminal(&io::stdout());
                self.err = Way::of_a_terminal(&io::stderr());
            }
            What::RunEnded(_) => self.ended = true,
            What::Printed(printed) => return self.print(printed),
            What::Unkept { bytes } => {
                self.flush()?;
                eprintln!("cloudist: here {bytes} bytes were printed that are not kept");
            }
            _ => {}
        }
        Ok(())
    }

    fn print(&mut self, Printed { stream, piece }: Printed) -> io::Result<()> {
        self.printed = true;
        let bytes = piece.into_bytes();
        if stream == 2 {
            self.out.finish(&mut io::stdout())?;
            self.err.write(&mut io::stderr(), &bytes)
        } else {
            self.out.write(&mut io::stdout(), &bytes)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.finish(&mut io::stdout())?;
        self.err.finish(&mut io::stderr())
    }

    fn close(mut self, source: &Path) -> Result<u8, Failure> {
        if let Err(error) = self.flush() {
            return match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(exit_code::BROKEN_PIPE),
                _ => Err(Failure::new(exit_code::INTERNAL, format!("failed to write the output: {error}"))),
            };
        }
        if !self.is_a_run {
            return Err(report::no_run(source));
        }
        if !self.printed {
            let message = format!("nothing is kept of what the run in {} printed", source.display());
            return Err(Failure::new(exit_code::SETTINGS, message)
                .with_help("`cloudist report` makes a page of what happened in it"));
        }
        if !self.ended {
            let how = if is_being_written(source) { "goes on" } else { "broke off here" };
            eprintln!("cloudist: the run {how}");
        }
        Ok(0)
    }
}

/// How what was printed is printed again.
#[derive(Default)]
enum Way {
    /// As it was.
    #[default]
    Exactly,
    /// On a terminal on which nobody wants colours.
    Colourless(StripBytes),
    /// Where there is no terminal: lines as they looked in the end.
    Lines(StripBytes, Line),
}

impl Way {
    fn of_a_terminal(to: &impl IsTerminal) -> Self {
        match (to.is_terminal(), wants_colours(to.is_terminal())) {
            (_, true) => Self::Exactly,
            (true, false) => Self::Colourless(StripBytes::new()),
            (false, false) => Self::Lines(StripBytes::new(), Line::default()),
        }
    }

    fn write(&mut self, to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Exactly => to.write_all(bytes)?,
            Self::Colourless(strip) => {
                for part in strip.strip_next(bytes) {
                    to.write_all(part)?;
                }
            }
            Self::Lines(strip, line) => {
                for part in strip.strip_next(bytes) {
                    line.take(part, to)?;
                }
            }
        }
        to.flush()
    }

    /// A line that is not over yet is shown all the same.
    fn finish(&mut self, to: &mut impl Write) -> io::Result<()> {
        if let Self::Lines(_, line) = self {
            line.show(to)?;
        }
        to.flush()
    }
}

/// As pytest decides it for its own output.
fn wants_colours(terminal: bool) -> bool {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    match set("PY_COLORS") {
        Some(value) if value == "1" => return true,
        Some(value) if value == "0" => return false,
        _ => {}
    }
    if set("NO_COLOR").is_some() {
        return false;
    }
    set("FORCE_COLOR").is_some() || terminal && set("TERM").is_none_or(|term| term != "dumb")
}

/// A line that is written over after each return to its beginning.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    /// Where the line was begun anew.
    again: Option<Vec<u8>>,
}

impl Line {
    fn take(&mut self, bytes: &[u8], to: &mut impl Write) -> io::Result<()> {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    self.show(to)?;
                    to.write_all(b"\n")?;
                }
                b'\r' => {
                    self.cover();
                    self.again = Some(Vec::new());
                }
                byte => self.again.as_mut().unwrap_or(&mut self.bytes).push(byte),
            }
        }
        Ok(())
    }

    /// What was written last covers what was there, letter by letter, as far as it reaches.
    fn cover(&mut self) {
        let Some(over) = self.again.take() else { return };
        let (over, under) = (String::from_utf8_lossy(&over), String::from_utf8_lossy(&self.bytes));
        let seen: String = over.chars().chain(under.chars().skip(over.chars().count())).collect();
        self.bytes = seen.into_bytes();
    }

    fn show(&mut self, to: &mut impl Write) -> io::Result<()> {
        let rewritten = self.again.is_some();
        self.cover();
        // A line was made empty with spaces before it was written over.
        let end = if rewritten { self.bytes.trim_ascii_end().len() } else { self.bytes.len() };
        to.write_all(&self.bytes[..end])?;
        self.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str]) -> String {
        let mut way = Way::Lines(StripBytes::new(), Line::default());
        let mut out = Vec::new();
        for piece in pieces {
            way.write(&mut out, piece.as_bytes()).unwrap();
        }
        way.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_was_written_over_is_not_seen() {
        assert_eq!(shown(&["collecting ... \rcollected", " 3 items   \n", "..\n"]), "collected 3 items\n..\n");
        assert_eq!(shown(&["12 %\r1", "3\nend"]), "13 %\nend");
        assert_eq!(shown(&["\u{20ac}\u{20ac}\r\u{e4}\n"]), "\u{e4}\u{20ac}\n");
        assert_eq!(shown(&["a\r\nb\r\n"]), "a\nb\n");
    }

    #[test]
    fn colours_are_left_out_wherever_they_are_cut() {
        assert_eq!(shown(&["\x1b[3", "2m.\x1b[0m", "  \x1b[1mend\x1b[m\n"]), ".  end\n");
    }

    #[test]
    fn a_pace_is_a_number_above_nought() {
        assert_eq!(speed("2.5"), Ok(2.5));
        for wrong in ["0", "-1", "nan", "inf", "fast"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }
}
