//! Draws the view: where on the screen each part of it is.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    LEAST, Palette, View,
    choice::Pane,
    detail, panes,
    text::{self, head, width},
};

/// From this size on all panes and the text about what is chosen stand side by side.
const WIDE: (u16, u16) = (110, 20);
/// With fewer rows than this there is one pane at a time.
const STACKED: u16 = 16;

/// With fewer columns than this the keys aren't lined up.
const WIDE_HELP: usize = 60;

const HELP: [(&str, &str); 10] = [
    ("up down j k", "choose; in a text, scroll"),
    ("PgUp PgDn g G", "a page, the beginning, the end"),
    ("Tab  m w f", "the next list; machines, workers, failures"),
    ("Enter", "the traceback, or the log, of what is chosen"),
    ("left right p n", "the one before, the one after it"),
    ("Esc", "back to the lists"),
    ("q", "leave the view: the run goes on, with lines"),
    ("Ctrl-C", "interrupt the run, as without the view"),
    ("?", "this help; any key closes it"),
    ("", "What pytest writes is shown when the view is left, or the run over."),
];

impl View {
    /// The whole screen at a time of the run.
    pub fn draw(&mut self, now: f64, palette: Palette, buffer: &mut Buffer) {
        let area = buffer.area;
        if area.width < LEAST.0 || area.height < LEAST.1 {
            put(buffer, area, 0, Line::raw(format!("the view needs {}x{}", LEAST.0, LEAST.1)));
            return palette.settle(buffer);
        }
        put(buffer, area, 0, self.heading(now, area.width as usize, palette));
        put(buffer, area, 1, self.bar(area.width as usize, palette));
        let body = Rect { y: area.y + 2, height: area.height - 3, ..area };
        if self.help {
            draw_help(buffer, body, palette);
        } else if self.opened {
            self.draw_detail(now, palette, buffer, body);
        } else if area.width >= WIDE.0 && area.height >= WIDE.1 {
            self.draw_wide(now, palette, buffer, body);
        } else if area.height >= STACKED {
            self.draw_stacked(now, palette, buffer, body);
        } else {
            self.draw_pane(self.focus, now, palette, buffer, body);
        }
        put(buffer, area, area.height - 1, self.footer(area.width as usize, palette));
        palette.settle(buffer);
    }

    fn heading(&self, now: f64, columns: usize, palette: Palette) -> Line<'static> {
        let run = &self.run;
        let workers = crate::text::counted(run.wanted as usize, "worker");
        let what = if run.is_of_tests() {
            format!("{workers} on {}, mode {}", run.provider, run.mode)
        } else {
            let command = run.command.iter().map(|word| crate::text::quoted(word)).collect::<Vec<_>>().join(" ");
            format!("{workers} on {}: {}", run.provider, text::plain(&command))
        };
        let clock = text::clock(now);
        let what = head(&what, columns.saturating_sub("cloudist  ".len() + clock.len() + 2));
        let gap = columns.saturating_sub("cloudist  ".len() + width(&what) + clock.len());
        Line::from(vec![
            Span::styled("cloudist  ", palette.title()),
            Span::raw(what),
            Span::raw(" ".repeat(gap)),
            Span::styled(clock, palette.strong()),
        ])
    }

    /// How far the run is. What matters least comes last, and is left out first.
    fn bar(&self, columns: usize, palette: Palette) -> Line<'static> {
        let run = &self.run;
        let figures = &run.figures;
        let (done, failed) = if run.is_of_tests() { (run.done, run.failed) } else { (figures.done, figures.failed) };
        let total = figures.total.max(done);
        let share = if total > 0 && figures.complete { f64::from(done) / f64::from(total) } else { 0.0 };
        let cells = (columns / 4).clamp(8, 40);
        let filled = ((share * cells as f64) as usize).min(cells);
        // A single failure is to be seen as well.
        let wrong = (f64::from(failed) / f64::from(total.max(1)) * cells as f64).ceil().min(filled as f64) as usize;
        let mut spans = vec![
            Span::styled("█".repeat(filled - wrong), palette.good()),
            Span::styled("█".repeat(wrong), palette.bad()),
            Span::styled("░".repeat(cells - filled), palette.faint()),
            Span::styled(format!(" {:3.0}%", (share * 100.0).floor()), palette.strong()),
        ];
        let noun = if run.is_of_tests() { "tests" } else { "commands" };
        let more = if figures.complete { "" } else { "+" };
        let so_far = match total {
            0 => format!("  no {noun} known yet"),
            _ => format!("  {done} of {total}{more} {noun}"),
        };
        let mut pieces = vec![(so_far, palette.strong())];
        if failed > 0 {
            pieces.push((format!("  {failed} failed"), palette.bad()));
        }
        if let Some(left) = figures.left {
            pieces.push((format!("  {} left", text::span(left)), palette.strong()));
        }
        if let Some(spent) = figures.dollars {
            pieces.push((format!("  {}", text::dollars(spent)), palette.strong()));
        }
        let mut taken = cells + 5;
        for (piece, style) in pieces {
            taken += width(&piece);
            if taken > columns {
                break;
            }
            spans.push(Span::styled(piece, style));
        }
        Line::from(spans)
    }

    fn draw_wide(&mut self, now: f64, palette: Palette, buffer: &mut Buffer, body: Rect) {
        let left = Rect { width: (body.width * 9 / 20).max(56), ..body };
        let right = Rect { x: left.x + left.width + 1, width: body.width - left.width - 1, ..body };
        for y in body.y..body.y + body.height {
            buffer.set_string(right.x - 1, y, "│", palette.faint());
        }
        let machines = (panes::height(self, Pane::Machines) as u16).clamp(2, body.height / 3);
        self.draw_pane(Pane::Machines, now, palette, buffer, Rect { height: machines, ..left });
        let rest = Rect { y: left.y + machines, height: left.height - machines, ..left };
        self.draw_pane(Pane::Workers, now, palette, buffer, rest);
        let failures = (panes::height(self, Pane::Failures) as u16).clamp(2, body.height / 3);
        self.draw_pane(Pane::Failures, now, palette, buffer, Rect { height: failures, ..right });
        let rest = Rect { y: right.y + failures, height: right.height - failures, ..right };
        self.draw_detail(now, palette, buffer, rest);
    }

    /// Each list gets what it needs, if it can; the one that is looked at first.
    fn draw_stacked(&mut self, now: f64, palette: Palette, buffer: &mut Buffer, body: Rect) {
        let needed = Pane::ALL.map(|pane| panes::height(self, pane) as u16);
        let mut given = needed.map(|rows| rows.min(3));
        let mut left = body.height.saturating_sub(given.iter().sum());
        let mut order = vec![self.focus];
        order.extend([Pane::Workers, Pane::Failures, Pane::Machines].into_iter().filter(|pane| *pane != self.focus));
        for pane in order {
            let more = (needed[pane as usize] - given[pane as usize]).min(left);
            given[pane as usize] += more;
            left -= more;
        }
        let mut y = body.y;
        for pane in Pane::ALL {
            let height = given[pane as usize];
            self.draw_pane(pane, now, palette, buffer, Rect { y, height, ..body });
            y += height;
        }
    }

    fn draw_pane(&mut self, pane: Pane, now: f64, palette: Palette, buffer: &mut Buffer, area: Rect) {
        if area.height == 0 {
            return;
        }
        let (focused, rows, page) = (self.focus == pane, self.rows(pane), area.height as usize - 1);
        let further = panes::further(self, pane);
        self.chosen(pane).fit(rows, page.saturating_sub(further.len()).max(1));
        let chosen = *self.chosen(pane);
        let above_below = rows > chosen.page && page > 0;
        let place = if above_below { format!("{} of {rows}", chosen.row + 1) } else { String::new() };
        put(buffer, area, 0, rule(&panes::title(self, pane), &place, area.width as usize, focused, palette));
        let shown = panes::lines(self, pane, chosen.top..rows.min(chosen.top + chosen.page), now, area.width, palette);
        for (at, line) in shown.into_iter().chain(further).take(page).enumerate() {
            let y = at as u16 + 1;
            put(buffer, area, y, line);
            if focused && rows > 0 && chosen.top + at == chosen.row {
                buffer.set_style(Rect { y: area.y + y, height: 1, ..area }, palette.chosen());
            }
        }
    }

    fn draw_detail(&mut self, now: f64, palette: Palette, buffer: &mut Buffer, area: Rect) {
        let (title, lines) = detail::about(self, now, area.width as usize, palette);
        let page = area.height.saturating_sub(1) as usize;
        let top = self.scroll.fit(lines.len(), page);
        let last = (top + page).min(lines.len());
        let place = if lines.len() > page { format!("{last} of {}", lines.len()) } else { String::new() };
        put(buffer, area, 0, rule(&title, &place, area.width as usize, self.opened, palette));
        for (at, line) in lines.into_iter().skip(top).take(page).enumerate() {
            put(buffer, area, at as u16 + 1, line);
        }
    }

    fn footer(&self, columns: usize, palette: Palette) -> Line<'static> {
        let keys: &[(&str, &str)] = match (self.help, self.opened) {
            (true, _) => &[("any key", "back"), ("q", "leave")],
            (_, true) => &[("↑↓", "scroll"), ("p n", "before, after"), ("Esc", "back"), ("q", "leave"), ("?", "help")],
            _ => &[("↑↓", "choose"), ("Tab", "list"), ("Enter", "open"), ("q", "leave"), ("?", "help")],
        };
        let mut spans = Vec::new();
        let mut taken = 0;
        for (key, meaning) in keys {
            taken += width(key) + width(meaning) + 3;
            if taken > columns + 2 {
                break;
            }
            spans.push(Span::styled((*key).to_owned(), palette.strong()));
            spans.push(Span::styled(format!(" {meaning}  "), palette.faint()));
        }
        Line::from(spans)
    }
}

fn draw_help(buffer: &mut Buffer, area: Rect, palette: Palette) {
    put(buffer, area, 0, rule("Help", "", area.width as usize, true, palette));
    let columns = area.width as usize;
    let keys = if columns < WIDE_HELP { 0 } else { 16 };
    let mut lines = Vec::new();
    for (key, meaning) in HELP {
        let key = format!("{key:keys$}");
        let parts = text::wrapped(meaning, columns.saturating_sub(width(&key) + 1));
        for (at, part) in parts.into_iter().enumerate() {
            let before = if at == 0 { key.clone() } else { " ".repeat(width(&key)) };
            lines.push(Line::from(vec![Span::styled(before, palette.strong()), Span::raw(format!(" {part}"))]));
        }
    }
    for (at, line) in lines.into_iter().enumerate() {
        put(buffer, area, at as u16 + 1, line);
    }
}

/// A title in a rule over the whole width.
fn rule(title: &str, place: &str, columns: usize, focused: bool, palette: Palette) -> Line<'static> {
    let style = if focused { palette.title() } else { palette.strong() };
    let title = head(title, columns.saturating_sub(width(place) + 6));
    let place = if place.is_empty() { String::new() } else { format!(" {place} ") };
    let gap = columns.saturating_sub(width(&title) + width(&place) + 4);
    let mark = if focused { "▸ " } else { "─ " };
    Line::from(vec![
        Span::styled(mark, if focused { palette.title() } else { palette.faint() }),
        Span::styled(title, style),
        Span::styled(format!(" {}", "─".repeat(gap)), palette.faint()),
        Span::styled(place, palette.faint()),
        Span::styled("─", palette.faint()),
    ])
}

fn put(buffer: &mut Buffer, area: Rect, row: u16, line: Line<'_>) {
    if row < area.height {
        buffer.set_line(area.x, area.y + row, &line, area.width);
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
