//! Bytes of a keyboard as keys of the view.

use std::io;

use termion::event::{Event, Key as Pressed, parse_event};

use crate::view::Key;

/// What was pressed, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    Key(Key),
    /// What would stop or end a program elsewhere; the terminal is given back first.
    Away,
}

/// Keys that have arrived together. What means nothing here is passed over.
pub fn presses(bytes: &[u8]) -> Vec<Press> {
    let mut rest = bytes.iter().copied().map(Ok::<u8, io::Error>).peekable();
    let mut made = Vec::new();
    while let Some(Ok(first)) = rest.next() {
        let lone_escape = first == 0x1b && rest.peek().is_none_or(|next| matches!(next, Ok(0x1b)));
        let event = if lone_escape { Some(Event::Key(Pressed::Esc)) } else { parse_event(first, &mut rest).ok() };
        let Some(Event::Key(pressed)) = event else { continue };
        let key = match pressed {
            Pressed::Up => Key::Up,
            Pressed::Down => Key::Down,
            Pressed::Left => Key::Left,
            Pressed::Right => Key::Right,
            Pressed::PageUp => Key::PageUp,
            Pressed::PageDown => Key::PageDown,
            Pressed::Home => Key::Home,
            Pressed::End => Key::End,
            Pressed::BackTab => Key::BackTab,
            Pressed::Esc | Pressed::Backspace => Key::Escape,
            Pressed::Char('\n') => Key::Enter,
            Pressed::Char('\t') => Key::Tab,
            Pressed::Char(character) => Key::Char(character),
            // Ctrl-Z and Ctrl-\.
            Pressed::Ctrl('z' | '4') => {
                made.push(Press::Away);
                continue;
            }
            _ => continue,
        };
        made.push(Press::Key(key));
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_terminals_send_them() {
        let keys = |bytes: &[u8]| {
            presses(bytes)
                .into_iter()
                .filter_map(|press| match press {
                    Press::Key(key) => Some(key),
                    Press::Away => None,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(b"\x1b[A\x1b[Bj\x1b[5~"), [Key::Up, Key::Down, Key::Char('j'), Key::PageUp]);
        assert_eq!(keys(b"\t\x1b[Z\r\x7f"), [Key::Tab, Key::BackTab, Key::Enter, Key::Escape]);
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys(b"\x1b[H\x1b[F\x1b[1~"), [Key::Home, Key::End, Key::Home]);
        // Ctrl-D and half a letter mean nothing.
        assert_eq!(keys(b"\x04\xc3"), []);
    }

    #[test]
    fn whoever_stops_or_quits_wants_the_terminal_back() {
        assert_eq!(presses(b"\x1a\x1c"), [Press::Away, Press::Away]);
    }
}
