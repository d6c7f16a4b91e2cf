//! Colours, for those who want them, and marks, for terminals that have them.

use ratatui::{
    buffer::Buffer,
    style::{Color, Modifier, Style},
};

/// What the terminal may be asked to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    pub colours: bool,
    /// Whether letters other than those of ASCII come out right.
    pub unicode: bool,
}

impl Palette {
    fn coloured(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    pub fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub fn busy(self) -> Style {
        self.coloured(Color::Yellow)
    }

    pub fn title(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What matters less.
    pub fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub fn chosen(self) -> Style {
        Style::new().fg(Color::Reset).add_modifier(Modifier::REVERSED)
    }

    /// Takes the place of what the terminal can't show.
    pub(super) fn settle(self, buffer: &mut Buffer) {
        if self.unicode {
            return;
        }
        for cell in &mut buffer.content {
            if !cell.symbol().is_ascii() {
                let stand_in = match cell.symbol() {
                    "█" => "#",
                    "░" | "─" => "-",
                    "…" => "~",
                    "▸" => ">",
                    "✓" => "+",
                    "✗" => "!",
                    "│" => "|",
                    "↑" => "^",
                    "↓" => "v",
                    _ => "?",
                };
                cell.set_symbol(stand_in);
            }
        }
    }
}
