//! The text about what is chosen: a failure's traceback, the log of a machine or of a worker.

use ratatui::text::{Line, Span};

use super::{
    Palette, View,
    choice::Pane,
    panes,
    run::{Failure, Machine, Stage, Worker},
    text::{self, plain, wrapped},
};
use crate::model::live::Work;

/// Its title and its lines, in so many columns.
pub fn about(view: &View, now: f64, columns: usize, palette: Palette) -> (String, Vec<Line<'static>>) {
    let run = &view.run;
    match view.focus {
        Pane::Machines => match run.machines.values().nth(view.machines.row) {
            Some(machine) => (format!("Log of {}", machine.name), of_machine(machine, now, columns, palette)),
            None => ("Log".into(), lines(&run.notes.lines().collect::<Vec<_>>(), columns, palette)),
        },
        Pane::Workers => match run.workers.iter().nth(view.workers.row) {
            Some((&number, worker)) => {
                let place = run.machines.get(&worker.machine).map_or("?", |machine| machine.name.as_str());
                (format!("Log of gw{number} on {place}"), of_worker(worker, now, columns, palette))
            }
            None => ("Log".into(), lines(&run.notes.lines().collect::<Vec<_>>(), columns, palette)),
        },
        Pane::Failures => match run.failures.get(view.failures.row) {
            Some(failure) => {
                let title = format!("Failure {} of {}", view.failures.row + 1, run.failures.len());
                (title, of_failure(failure, columns, palette))
            }
            None => ("Traceback".into(), Vec::new()),
        },
    }
}

fn of_failure(failure: &Failure, columns: usize, palette: Palette) -> Vec<Line<'static>> {
    let place = failure.worker.map_or(String::new(), |worker| format!(" on gw{worker}"));
    let took = if failure.seconds > 0.0 { format!(", {:.2} s", failure.seconds) } else { String::new() };
    let mut made = Vec::new();
    for line in wrapped(&plain(&failure.name), columns) {
        made.push(Line::styled(line, palette.strong()));
    }
    made.push(Line::styled(format!("{}{place}{took}", failure.word), palette.bad()));
    made.push(Line::default());
    let text = failure.text.lines().map(plain).collect::<Vec<_>>();
    made.extend(lines(&text, columns, palette));
    made
}

fn of_machine(machine: &Machine, now: f64, columns: usize, palette: Palette) -> Vec<Line<'static>> {
    let (word, style) = panes::stage(machine, now, palette);
    let mut facts = vec![crate::text::counted(machine.workers as usize, "worker")];
    if machine.cpus > 0 {
        facts.push(format!("{}, {}", machine.platform, crate::text::counted(machine.cpus as usize, "CPU")));
    }
    if let Some(rented) = &machine.rented {
        facts.push(format!("{} in {}", rented.instance_type, rented.zone));
        facts.push(format!("{} an hour", text::dollars(rented.per_hour)));
        facts.push(format!("lease {}", text::span(rented.lease as f64)));
    }
    if let Some(dollars) = machine.dollars {
        facts.push(format!("{} so far", text::dollars(dollars)));
    }
    let mut made = vec![Line::from(vec![Span::styled(word, style), Span::raw(format!(", {}", facts.join(", ")))])];
    if let Stage::Lost(reason) = &machine.stage {
        made.extend(wrapped(&plain(reason), columns).into_iter().map(|line| Line::styled(line, palette.bad())));
    }
    made.push(Line::default());
    made.extend(lines(&machine.log.lines().collect::<Vec<_>>(), columns, palette));
    made
}

fn of_worker(worker: &Worker, now: f64, columns: usize, palette: Palette) -> Vec<Line<'static>> {
    let mut made = Vec::new();
    if let Some((work, since)) = &worker.at {
        let what = match work {
            Work::Test(name) => format!("runs {name}"),
            Work::Collects(path) => format!("collects {path}"),
            Work::Command(line) => line.clone(),
        };
        for line in wrapped(&format!("{} for {}", plain(&what), text::clock(now - since)), columns) {
            made.push(Line::styled(line, palette.strong()));
        }
    }
    made.push(Line::raw(match worker.failed {
        0 => format!("{} done", worker.done),
        failed => format!("{} done, {failed} failed", worker.done),
    }));
    made.push(Line::default());
    if worker.log.is_empty() {
        made.push(Line::styled("nothing that it wrote has escaped pytest's capture", palette.faint()));
    }
    made.extend(lines(&worker.log.lines().collect::<Vec<_>>(), columns, palette));
    made
}

/// As pytest marks them: what went wrong stands out.
fn lines(text: &[String], columns: usize, palette: Palette) -> Vec<Line<'static>> {
    let mut made = Vec::new();
    for line in text {
        let style = if line.starts_with("E  ") {
            palette.bad()
        } else if line.starts_with('>') || line.starts_with("--- ") {
            palette.strong()
        } else {
            ratatui::style::Style::new()
        };
        made.extend(wrapped(line, columns).into_iter().map(|part| Line::styled(part, style)));
    }
    made
}
