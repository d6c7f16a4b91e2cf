//! The live view of a run: what is known of it by its events, what of that is chosen, and how it is drawn.
//!
//! Pure: news, keys, the time and the size of the screen come in; cells go out. Knows no terminal.

mod choice;
mod detail;
mod draw;
mod log;
mod panes;
mod run;
mod style;
mod text;

pub use choice::{Key, View, Wish};
pub use style::Palette;

/// A screen with less room than this shows nothing of use.
pub const LEAST: (u16, u16) = (30, 8);
