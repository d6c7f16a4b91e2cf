//! Tables as people read them: columns as wide as what is in them, and a last one that takes what the terminal has left.
//!
//! Columns in which nothing stands are left out, but for the first and the last.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: u16 = 2;
/// The last column is not made narrower than this; lines are rather longer than the terminal.
const NARROWEST: u16 = 16;
const CUT: &str = "…";

/// Stands in a cell in which nothing else does.
pub const NONE: &str = "-";

/// What becomes of a text in the last column for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// It goes on in the next line.
    GoesOn,
    /// Its beginning is left out.
    IsCut,
}

/// Lines, each with its end. Without a width nothing is broken or cut.
pub fn render(head: &[&str], rows: &[Vec<String>], width: Option<u16>, too_long: TooLong) -> String {
    let last = head.len() - 1;
    let is_shown = |&column: &usize| [0, last].contains(&column) || rows.iter().any(|row| says_something(&row[column]));
    let shown: Vec<usize> = (0..=last).filter(is_shown).collect();
    let taken: u16 =
        shown.iter().filter(|&&column| column != last).map(|&column| widest(head, rows, column) + GAP).sum();
    let room = width.map(|width| width.saturating_sub(taken).max(NARROWEST));
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(shown.iter().map(|&column| head[column]));
    for row in rows {
        table.add_row(shown.iter().map(|&column| match room {
            Some(room) if column == last && too_long == TooLong::IsCut => cut(&row[column], room.into()),
            _ => row[column].clone(),
        }));
    }
    if let Some(room) = room {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(taken + room);
    }
    for (column, &number) in table.column_iter_mut().zip(&shown) {
        if number == last {
            column.set_padding((0, 0));
            continue;
        }
        column.set_padding((0, GAP)).set_constraint(ColumnConstraint::ContentWidth);
        if rows.iter().all(|row| !says_something(&row[number]) || is_a_number(&row[number])) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn says_something(cell: &str) -> bool {
    !cell.is_empty() && cell != NONE
}

fn is_a_number(cell: &str) -> bool {
    let number = cell.trim_start_matches('$').trim_end_matches(" s");
    number.parse::<f64>().is_ok()
}

fn widest(head: &[&str], rows: &[Vec<String>], column: usize) -> u16 {
    let lines = rows.iter().flat_map(|row| row[column].lines()).chain([head[column]]);
    u16::try_from(lines.map(UnicodeWidthStr::width).max().unwrap_or(0)).unwrap_or(u16::MAX - GAP)
}

/// Each of its lines, without the beginning where there is no room for it.
fn cut(text: &str, room: usize) -> String {
    let lines = text.lines().map(|line| {
        if line.width() <= room {
            return line.to_owned();
        }
        let mut left = room.saturating_sub(CUT.width());
        let mut from = line.len();
        for (at, letter) in line.char_indices().rev() {
            let Some(rest) = left.checked_sub(letter.width().unwrap_or(0)) else { break };
            (left, from) = (rest, at);
        }
        format!("{CUT}{}", &line[from..])
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cells: &[&[&str]]) -> Vec<Vec<String>> {
        cells.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn columns_without_anything_are_left_out() {
        let rows = rows(&[&["a", "-", "7", ""], &["long", "", "10", "x"]]);
        assert_eq!(
            render(&["name", "zone", "n", "now"], &rows, None, TooLong::GoesOn),
            "name   n  now\na      7\nlong  10  x\n"
        );
    }

    #[test]
    fn the_last_column_takes_what_is_left() {
        let rows = rows(&[&["local-0", "gw0: tests/test_some.py::test_one\ngw1: short"]]);
        assert_eq!(
            render(&["machine", "now"], &rows, Some(30), TooLong::IsCut),
            "machine  now\nlocal-0  …st_some.py::test_one\n         gw1: short\n"
        );
        let broken = render(&["machine", "now"], &rows, Some(30), TooLong::GoesOn);
        assert!(broken.lines().all(|line| line.width() <= 30), "{broken}");
        assert!(broken.replace(['\n', ' '], "").contains("tests/test_some.py::test_one"), "{broken}");
        // What can't be narrower isn't.
        let narrow = render(&["machine", "now"], &rows, Some(5), TooLong::IsCut);
        assert_eq!(narrow.lines().nth(1), Some("local-0  …me.py::test_one"));
    }

    #[test]
    fn letters_take_the_columns_that_they_take() {
        assert_eq!(cut("テスト::test", 8), "…::test");
        assert_eq!(cut("テスト::test", 9), "…ト::test");
        assert_eq!(cut("テスト::test", 12), "テスト::test");
    }
}
