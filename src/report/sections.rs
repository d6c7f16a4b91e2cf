//! The parts of the page that are text: tables and lists, as HTML.

use std::{
    fmt::Write,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    Log, bounds, commands,
    figures::is_busy,
    timeline::{Kind, Ran, Timeline},
};
use crate::model::event::{Outcome, What};

/// Tracebacks beyond so many are left to events.jsonl: the page has to stay small.
const MOST_TRACEBACKS: usize = 100;
const MOST_TRACEBACK_BYTES: usize = 600 << 10;
const ROWS: usize = 15;

/// For text and for attributes in double quotes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // Control characters, those that colour a terminal for one, are no text.
            letter if letter.is_control() && !matches!(letter, '\n' | '\t') => safe.push('\u{b7}'),
            letter => safe.push(letter),
        }
    }
    safe
}

/// As people read times.
pub fn seconds(seconds: f64) -> String {
    match seconds.max(0.0) {
        s if s < 0.00995 => format!("{:.1} ms", s * 1000.0),
        s if s < 0.0995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.95 => format!("{s:.2} s"),
        s if s < 99.5 => format!("{s:.1} s"),
        s => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
    }
}

pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

pub fn head(log: &Log, timeline: &Timeline) -> String {
    let start = timeline.start;
    let of_a_command = !start.command.is_empty();
    let (class, word) = if of_a_command { commands::verdict(log) } else { verdict(log, timeline) };
    let mut text =
        format!("<p class=\"verdict {class}\"><span aria-hidden=\"true\"></span>{word}</p>\n<dl class=\"facts\">");
    let _ = write!(
        text,
        "<div><dt>Begun</dt><dd><time data-epoch=\"{:.0}\">{}</time></dd></div>",
        start.began,
        date(start.began)
    );
    let mut fact = |name: &str, value: &str| {
        let _ = write!(text, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(value));
    };
    if of_a_command {
        fact("Where", &start.provider);
        fact("Command", &start.command.join(" "));
    } else {
        fact("Where", &format!("{}, mode {}", start.provider, start.mode));
    }
    let pytest = log.events.iter().find_map(|event| match &event.what {
        What::PytestStarted { pytest, args, .. } => Some((pytest, args)),
        _ => None,
    });
    if let Some((pytest, args)) = pytest {
        fact("pytest", pytest);
        fact("Command", &command(args));
    }
    fact("cloudist", &start.cloudist);
    text.push_str("</dl>");
    if let Some(end) = log.end().filter(|end| !end.message.is_empty()) {
        let _ = write!(text, "<pre class=\"message\" tabindex=\"0\">{}</pre>", escaped(&end.message));
    }
    text
}

/// As it was typed, or nearly so: what `cloudist pytest` adds is left out.
fn command(args: &[String]) -> String {
    let mut words = vec!["pytest"];
    let mut args = args.iter().skip(1).map(String::as_str).peekable();
    while let Some(word) = args.next() {
        match word {
            "-p" if args.peek() == Some(&"pytest_cloudist") => drop(args.next()),
            word => words.push(word),
        }
    }
    words.join(" ")
}

fn verdict(log: &Log, timeline: &Timeline) -> (&'static str, String) {
    let failed = timeline.failures().count();
    match log.end().map(|end| end.status.as_str()) {
        None => ("stopped", "The run broke off: its events end here".into()),
        Some("failed") => ("failed", "The run failed".into()),
        Some(status) if failed > 0 => {
            let stopped = if status == "stopped" { ", and the run was stopped" } else { "" };
            ("failed", format!("{} failed{stopped}", counted(failed, "test")))
        }
        Some("stopped") => ("stopped", "The run was stopped".into()),
        Some(_) => ("passed", "No test failed".into()),
    }
}

pub fn tile(name: &str, value: &str, detail: &str) -> String {
    format!("<li><span class=\"name\">{name}</span> <b>{value}</b> <span>{}</span></li>", escaped(detail))
}

pub fn tiles(log: &Log, timeline: &Timeline) -> String {
    let mut text = String::new();
    let mut tile = |name: &str, value: String, detail: String| text.push_str(&tile(name, &value, &detail));
    let (first, last) = timeline.window();
    tile("Wall time", seconds(timeline.wall), format!("{} start-up, {} tests", seconds(first), seconds(last - first)));
    let outcomes = timeline.outcomes();
    let words: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {}", outcome.word())).collect();
    tile("Tests", timeline.tests.len().to_string(), words.join(", "));
    let workers = timeline.workers.len();
    let machines = counted(timeline.machines.len(), "machine");
    tile("Workers", workers.to_string(), format!("on {machines}"));
    let busy = timeline.seconds(is_busy);
    let used = busy / (workers.max(1) as f64 * (last - first)).max(f64::EPSILON);
    tile("Busy", format!("{:.0} %", used.min(1.0) * 100.0), format!("{} of work, while tests ran", seconds(busy)));
    text + &cost(log)
}

pub fn cost(log: &Log) -> String {
    let end = log.end().and_then(|end| Some((end.dollars?, end.bill.clone().unwrap_or_default())));
    end.map(|(dollars, bill)| tile("Cost", &format!("${dollars:.4}"), &bill)).unwrap_or_default()
}

pub fn bounds(timeline: &Timeline) -> String {
    let found = if timeline.start.command.is_empty() { bounds::bounds(timeline) } else { commands::bounds(timeline) };
    if found.is_empty() {
        return "<p>Nothing stands out.</p>".into();
    }
    let mut text = String::from("<ol class=\"bounds\">");
    for bound in found {
        let _ = write!(
            text,
            "<li><h3>{} <span class=\"saves\">about {} to gain</span></h3><p>{}</p><p class=\"advice\">{}</p></li>",
            bound.title,
            seconds(bound.saves),
            escaped(&bound.finding),
            escaped(&bound.advice)
        );
    }
    text + "</ol>"
}

pub fn kinds(timeline: &Timeline) -> String {
    let kinds = timeline.kinds();
    let all: f64 = kinds.iter().map(|(_, took)| took).sum::<f64>().max(f64::EPSILON);
    let mut text = String::from("<div class=\"stack\" aria-hidden=\"true\">");
    for (kind, took) in &kinds {
        let _ = write!(text, "<i class=\"{}\" style=\"flex-grow:{:.5}\"></i>", class(*kind), took / all);
    }
    text.push_str("</div><div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Where the time went\"><table><thead><tr><th scope=\"col\">Kind</th><th scope=\"col\">Worker time</th><th scope=\"col\">Share</th></tr></thead><tbody>");
    for (kind, took) in &kinds {
        let _ = write!(
            text,
            "<tr><th scope=\"row\"><i class=\"key {}\" aria-hidden=\"true\"></i>{}</th><td>{}</td><td>{:.1} %</td></tr>",
            class(*kind),
            kind.name(),
            seconds(*took),
            100.0 * took / all
        );
    }
    let _ = write!(
        text,
        "</tbody></table></div><p class=\"note\">{:.2} % of the workers’ time has its kind.</p>",
        timeline.attributed() * 100.0
    );
    text
}

fn class(kind: Kind) -> String {
    format!("k{}", Kind::ALL.iter().position(|other| *other == kind).unwrap_or(0))
}

pub fn failures(log: &Log, timeline: &Timeline) -> String {
    let mut text = String::new();
    let mut room = MOST_TRACEBACK_BYTES;
    let mut count = 0;
    for (place, ran) in timeline.failures() {
        count += 1;
        let failure = ran.test.failure.as_deref().or(ran.late_failure).unwrap_or("");
        if count > MOST_TRACEBACKS || failure.len() > room {
            continue;
        }
        room -= failure.len();
        let _ = write!(
            text,
            "<details{}><summary><span class=\"outcome {}\">{}</span> <code>{}</code> <small>{} on gw{}</small></summary><pre tabindex=\"0\">{}</pre><p><button type=\"button\" data-test=\"{place}\">Show on the timeline</button></p></details>",
            if count == 1 { " open" } else { "" },
            ran.outcome().word(),
            ran.outcome().word(),
            escaped(&ran.test.id),
            seconds(ran.seconds()),
            ran.test.worker,
            escaped(failure)
        );
    }
    let shown = text.matches("<details").count();
    if shown < count {
        let _ = write!(
            text,
            "<p class=\"note\">{} more failed; their tracebacks are in events.jsonl.</p>",
            counted(count - shown, "test")
        );
    }
    for event in &log.events {
        match &event.what {
            What::WorkerDied { worker, reason, test } => {
                let what = test.as_deref().map_or_else(|| format!("gw{worker}"), |test| format!("{test} (gw{worker})"));
                write_trouble(&mut text, "died", &what, reason);
            }
            What::CommandEnded { worker, status } if *status != 0 => {
                let how = format!("The command ended with {}.", commands::ended_with(*status));
                write_trouble(&mut text, "failed", &format!("gw{worker}"), &how);
            }
            What::Lost { subject, reason } => write_trouble(&mut text, "lost", subject, reason),
            What::NotLeased { name, reason } => write_trouble(&mut text, "not leased", name, reason),
            What::MachineGone { machine, reason: Some(reason) } => {
                let name = timeline.machines.get(machine).map_or("", |machine| &machine.name);
                write_trouble(&mut text, "machine lost", &format!("m{machine} {name}"), reason);
            }
            _ => {}
        }
    }
    if text.is_empty() { "<p>None.</p>".into() } else { text }
}

fn write_trouble(text: &mut String, word: &str, what: &str, reason: &str) {
    let _ = write!(
        text,
        "<details><summary><span class=\"outcome crashed\">{word}</span> <code>{}</code></summary><pre tabindex=\"0\">{}</pre></details>",
        escaped(what),
        escaped(reason)
    );
}

pub fn slowest(timeline: &Timeline) -> String {
    let rows = timeline.slowest(ROWS).into_iter().map(|(place, ran)| {
        let phase = |name: &str| {
            let took: f64 = ran.test.phases.iter().filter(|phase| phase.0 == name).map(|phase| phase.2).sum();
            seconds(took)
        };
        let cells = [
            seconds(ran.seconds()),
            phase("setup"),
            phase("call"),
            phase("teardown"),
            format!("gw{}", ran.test.worker),
        ];
        row(&named(place, ran), &cells)
    });
    table("Slowest tests", &["Test", "Total", "Setup", "Call", "Teardown", "Worker"], rows.collect())
}

pub fn flaky(timeline: &Timeline) -> String {
    let rows: Vec<String> = timeline
        .flaky()
        .into_iter()
        .take(100)
        .map(|(place, ran)| row(&named(place, ran), &[ran.test.reruns.to_string(), ran.outcome().word().into()]))
        .collect();
    if rows.is_empty() {
        return "<p>No test was run again.</p>".into();
    }
    table("Flaky tests", &["Test", "Run again", "In the end"], rows)
}

pub fn imports(timeline: &Timeline) -> String {
    let imports = timeline.imports();
    let rows = imports.iter().take(ROWS).map(|import| {
        let name = format!("<code>{}</code>", escaped(import.path));
        row(&name, &[seconds(import.seconds), import.times.to_string(), seconds(import.longest)])
    });
    table("Costliest imports", &["File", "In all", "Times", "Longest"], rows.collect())
}

pub fn machines(_: &Log, timeline: &Timeline) -> String {
    let start_up: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.is_start_up() && *kind != Kind::Start).collect();
    let mut columns = vec!["Machine", "Cores", "Sent"];
    columns.extend(start_up.iter().map(|kind| kind.name()));
    columns.push("Tests");
    let rows = timeline.machines.iter().map(|(place, machine)| {
        let mut cells = vec![machine.cpus.to_string(), bytes(machine.sent)];
        for kind in &start_up {
            let took: f64 =
                machine.spans.iter().filter(|span| span.kind == *kind).map(super::timeline::Span::seconds).sum();
            cells.push(if took > 0.0 { seconds(took) } else { "–".into() });
        }
        let tests: usize =
            timeline.workers.values().filter(|worker| worker.machine == *place).map(|worker| worker.tests).sum();
        cells.push(tests.to_string());
        let lost = if machine.lost.is_some() { " <span class=\"outcome crashed\">lost</span>" } else { "" };
        row(&format!("m{place} {}{lost}", escaped(&machine.name)), &cells)
    });
    table("Machines", &columns, rows.collect())
}

fn named(place: usize, ran: &Ran) -> String {
    let id = escaped(&ran.test.id);
    let mark = match ran.outcome() {
        Outcome::Passed => String::new(),
        other => format!("<span class=\"outcome {0}\">{0}</span> ", other.word()),
    };
    format!("{mark}<button type=\"button\" class=\"test\" data-test=\"{place}\"><code>{id}</code></button>")
}

fn row(name: &str, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
    format!("<tr><th scope=\"row\">{name}</th>{cells}</tr>")
}

fn table(label: &str, columns: &[&str], rows: Vec<String>) -> String {
    let head: String = columns.iter().map(|column| format!("<th scope=\"col\">{column}</th>")).collect();
    let rows = rows.concat();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{label}\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.0} kB", count as f64 / 1e3),
        _ => format!("{:.0} MB", count as f64 / 1e6),
    }
}

/// Seconds since 1970 as a date in UTC.
fn date(epoch: f64) -> String {
    let at = UNIX_EPOCH + Duration::try_from_secs_f64(epoch).unwrap_or_default();
    humantime::format_rfc3339_seconds(at).to_string().replace('T', " ").replace('Z', " UTC")
}
