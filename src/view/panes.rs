//! The rows of the three lists.

use std::ops::Range;

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::{
    Palette, View,
    choice::Pane,
    run::{Failure, Machine, Stage, Worker, WorkerStage},
    text::{self, head, tail, width},
};
use crate::model::live::Work;

/// Rows that it takes to show all of a list, with its title.
pub fn height(view: &View, pane: Pane) -> usize {
    1 + (view.rows(pane) + further(view, pane).len())
}

pub fn title(view: &View, pane: Pane) -> String {
    let run = &view.run;
    match pane {
        Pane::Machines => {
            let ready = run.machines.values().filter(|machine| machine.stage == Stage::Ready).count();
            let gone = run.machines.values().filter(|machine| machine.stage.is_gone()).count();
            match run.machines.len() - gone {
                0 => "Machines".into(),
                there if there == ready => format!("Machines: {there} ready"),
                there => format!("Machines: {ready} of {there} ready"),
            }
        }
        Pane::Workers => {
            let up = run.workers.values().filter(|worker| worker.stage == WorkerStage::Up).count();
            let busy = run.workers.values().filter(|worker| worker.at.is_some()).count();
            if up == 0 { "Workers".into() } else { format!("Workers: {busy} of {up} busy") }
        }
        Pane::Failures => match run.failures.len() + run.unkept {
            0 => "Failures: none".into(),
            count => format!("Failures: {count}"),
        },
    }
}

/// Rows that can't be chosen, after the others.
pub fn further(view: &View, pane: Pane) -> Vec<Line<'static>> {
    let run = &view.run;
    match pane {
        Pane::Machines => {
            let awaited = run.awaited();
            if awaited == 0 || run.ended || run.done > 0 {
                return Vec::new();
            }
            let mut said = format!("  launching, for {}", crate::text::counted(awaited as usize, "worker"));
            if !run.last_note.is_empty() {
                said += &format!(": {}", run.last_note);
            }
            vec![Line::raw(said)]
        }
        Pane::Failures if run.unkept > 0 => vec![Line::raw(format!("  and {} more", run.unkept))],
        Pane::Workers | Pane::Failures => Vec::new(),
    }
}

pub fn lines(
    view: &View,
    pane: Pane,
    rows: Range<usize>,
    now: f64,
    columns: u16,
    palette: Palette,
) -> Vec<Line<'static>> {
    let (run, columns) = (&view.run, columns as usize);
    let count = rows.len();
    match pane {
        Pane::Machines => {
            let machines = run.machines.values();
            let names = longest(run.machines.values().map(|machine| machine.name.as_str()), columns / 3);
            machines.skip(rows.start).take(count).map(|one| machine(one, names, now, columns, palette)).collect()
        }
        Pane::Workers => {
            let names = if columns >= 70 {
                longest(run.machines.values().map(|machine| machine.name.as_str()), columns / 5)
            } else {
                0
            };
            let shown = run.workers.iter().skip(rows.start).take(count);
            shown
                .map(|(&number, one)| {
                    let place = run.machines.get(&one.machine).map_or("", |machine| machine.name.as_str());
                    worker(number, one, (place, names), now, columns, palette)
                })
                .collect()
        }
        Pane::Failures => {
            run.failures.iter().skip(rows.start).take(count).map(|one| failure(one, columns, palette)).collect()
        }
    }
}

fn longest<'a>(names: impl Iterator<Item = &'a str>, most: usize) -> usize {
    names.map(width).max().unwrap_or(0).min(most)
}

fn machine(machine: &Machine, names: usize, now: f64, columns: usize, palette: Palette) -> Line<'static> {
    let (word, style) = stage(machine, now, palette);
    let mut facts = vec![crate::text::counted(machine.workers as usize, "worker")];
    if let Some(dollars) = machine.dollars {
        facts.push(text::dollars(dollars));
    }
    if let Some(rented) = &machine.rented {
        facts.push(format!("{} {}", rented.instance_type, rented.zone));
        facts.push(format!("lease {}", text::span(rented.lease as f64)));
    } else if machine.cpus > 0 {
        facts.push(crate::text::counted(machine.cpus as usize, "CPU"));
    }
    if let Stage::Lost(reason) = &machine.stage {
        facts = vec![text::plain(reason.lines().next().unwrap_or_default())];
    }
    let before = names + 20;
    Line::from(vec![
        Span::raw(format!("  {} ", padded(&tail(&machine.name, names), names))),
        Span::styled(padded(&word, 16), style),
        Span::styled(format!(" {}", head(&facts.join("  "), columns.saturating_sub(before))), Style::new()),
    ])
}

/// What a machine is at, in a word or two.
pub fn stage(machine: &Machine, now: f64, palette: Palette) -> (String, Style) {
    let since = |word: &str| format!("{word} {}", text::span(now - machine.since));
    match &machine.stage {
        Stage::Leased => (since("leased"), palette.busy()),
        Stage::On(stage) => {
            let word = match stage.as_str() {
                "connect" => "connecting",
                "boot" => "booting",
                "sync" => "syncing",
                "serve" => "ready",
                other => other,
            };
            (since(word), palette.busy())
        }
        Stage::Ready => ("ready".into(), palette.good()),
        Stage::Leaving(at) => (format!("leaves in {}", text::span(at - now)), palette.bad()),
        Stage::Ended => ("ended".into(), palette.faint()),
        Stage::Lost(_) => ("lost".into(), palette.bad()),
    }
}

fn worker(
    number: u32,
    worker: &Worker,
    (place, names): (&str, usize),
    now: f64,
    columns: usize,
    palette: Palette,
) -> Line<'static> {
    let mut spans = vec![Span::raw(format!("  {:6}", format!("gw{number}")))];
    if names > 0 {
        spans.push(Span::styled(format!("{} ", padded(&tail(place, names), names)), palette.faint()));
    }
    // How many it has done, and how many of them failed.
    spans.push(Span::raw(format!("{:>5}✓", worker.done)));
    spans.push(if worker.failed > 0 {
        Span::styled(format!("{:>4}✗", worker.failed), palette.bad())
    } else {
        Span::raw("     ")
    });
    let left = columns.saturating_sub(8 + if names > 0 { names + 1 } else { 0 } + 11 + 8);
    let (time, what, style) = match (&worker.at, worker.stage) {
        (Some((work, since)), _) => {
            let what = match work {
                Work::Test(name) => tail(&text::plain(name), left),
                Work::Collects(path) => format!("collects {}", tail(path, left.saturating_sub(9))),
                Work::Command(line) => head(&text::plain(line), left),
            };
            (text::clock(now - since), what, Style::new())
        }
        (None, WorkerStage::Starting) => (String::new(), "starting".into(), palette.faint()),
        (None, WorkerStage::Up) => (String::new(), "waiting".into(), palette.faint()),
        (None, WorkerStage::Down) => (String::new(), "over".into(), palette.faint()),
        (None, WorkerStage::Died) => (String::new(), "died".into(), palette.bad()),
    };
    spans.push(Span::styled(format!("{time:>7} "), palette.busy()));
    spans.push(Span::styled(what, style));
    Line::from(spans)
}

fn failure(failure: &Failure, columns: usize, palette: Palette) -> Line<'static> {
    let word = padded(failure.word, 7);
    let place = failure.worker.map_or(String::new(), |worker| format!("gw{worker}"));
    let left = columns.saturating_sub(width(&word) + 10);
    Line::from(vec![
        Span::styled(format!("  {word} "), palette.bad()),
        Span::styled(format!("{place:6} "), palette.faint()),
        Span::raw(tail(&text::plain(&failure.name), left)),
    ])
}

fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}
