//! Texts that fit: cut by the columns that they take, and free of whatever a terminal would act on.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What stands for the part that was cut off.
const CUT: char = '…';

/// The columns that it takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Its beginning, if it doesn't fit.
pub fn head(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut taken = 1;
    for character in text.chars() {
        taken += character.width().unwrap_or(0);
        if taken > columns {
            break;
        }
        kept.push(character);
    }
    if columns > 0 {
        kept.push(CUT);
    }
    kept
}

/// Its end, if it doesn't fit: of a node id that is what tells it from the others.
pub fn tail(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let mut taken = 1;
    let mut from = text.len();
    for (at, character) in text.char_indices().rev() {
        taken += character.width().unwrap_or(0);
        if taken > columns {
            break;
        }
        from = at;
    }
    format!("{CUT}{}", &text[from..])
}

/// Without sequences that a terminal would act on; tabs become spaces, and of what was written over only the last is left.
pub fn plain(line: &str) -> String {
    let stripped = anstream::adapter::strip_str(line).to_string();
    let shown = stripped.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let mut made = String::with_capacity(shown.len());
    for character in shown.chars() {
        match character {
            '\t' => made.extend(std::iter::repeat_n(' ', 4 - width(&made) % 4)),
            character if character.is_control() => {}
            character => made.push(character),
        }
    }
    made
}

/// The lines of a text as they are shown in so many columns.
pub fn wrapped(line: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    let mut taken = 0;
    for character in line.chars() {
        let columns_of = character.width().unwrap_or(0);
        if taken + columns_of > columns && !current.is_empty() {
            lines.push(std::mem::take(&mut current));
            taken = 0;
        }
        taken += columns_of;
        current.push(character);
    }
    lines.push(current);
    lines
}

/// `0:07`, `12:05`, `1:02:03`.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{rest:02}") } else { format!("{minutes}:{rest:02}") }
}

/// `7s`, `12m 05s`, `1h 02m`.
pub fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h {minutes:02}m"),
    }
}

pub fn dollars(amount: f64) -> String {
    if amount >= 0.1 { format!("${amount:.2}") } else { format!("${amount:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut_by_its_columns() {
        assert_eq!((head("abcdef", 6), head("abcdef", 4)), ("abcdef".into(), "abc…".into()));
        assert_eq!((tail("abcdef", 4), tail("abcdef", 0)), ("…def".into(), String::new()));
        // Each of these takes two columns.
        assert_eq!((head("測試測試", 5), tail("測試測試", 4)), ("測試…".into(), "…試".into()));
        assert_eq!((head("x", 0), head("測", 1)), (String::new(), "…".into()));
    }

    #[test]
    fn nothing_is_left_that_a_terminal_would_act_on() {
        assert_eq!(plain("\x1b[31mred\x1b[0m \x1b]0;title\x07x\x08"), "red x");
        assert_eq!(plain("10 %\r20 %\r"), "20 %");
        assert_eq!(plain("a\tb"), "a   b");
    }

    #[test]
    fn long_lines_go_on_below() {
        assert_eq!(wrapped("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(wrapped("測試測", 5), ["測試", "測"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("測", 1), ["測"]);
    }

    #[test]
    fn times_and_amounts() {
        assert_eq!((clock(7.9), clock(725.0), clock(3723.0)), ("0:07".into(), "12:05".into(), "1:02:03".into()));
        assert_eq!((span(7.4), span(725.0), span(3723.0)), ("7s".into(), "12m 05s".into(), "1h 02m".into()));
        assert_eq!((dollars(0.0414), dollars(1.5)), ("$0.041".into(), "$1.50".into()));
    }
}
