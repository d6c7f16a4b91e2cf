//! What the page's script draws: columns of whole numbers and names, small enough for many tests.
//!
//! Times are in tenths of a millisecond. The script's side of it is templates/report/report.js.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::timeline::{Kind, Span, Timeline};
use crate::model::event::Outcome;

/// The page's data, as JSON that can stand inside a script element.
pub fn render(timeline: &Timeline) -> String {
    let data = json!({
        "wall": units(timeline.wall),
        "kinds": Kind::ALL.map(Kind::name),
        "outcomes": Outcome::ALL.map(Outcome::word),
        "lanes": lanes(timeline),
        "tests": tests(timeline),
        "files": timeline.files.iter().map(|path| last_part(path)).collect::<Vec<_>>(),
    });
    // Nothing in it can end the element.
    data.to_string().replace('<', "\\u003c")
}

fn units(seconds: f64) -> i64 {
    (seconds * 10_000.0).round() as i64
}

fn lanes(timeline: &Timeline) -> Vec<Value> {
    let mut lanes = Vec::new();
    for (place, machine) in &timeline.machines {
        let name = format!("m{place} {}", machine.name);
        lanes.push(json!({"name": name, "machine": true, "spans": spans(&machine.spans)}));
        for (number, worker) in timeline.workers.iter().filter(|(_, worker)| worker.machine == *place) {
            // Tests are drawn from their own columns, and what is between them is not drawn.
            let spans = spans(worker.spans.iter().filter(|span| !matches!(span.kind, Kind::Test | Kind::Between)));
            lanes.push(json!({"name": format!("gw{number}"), "worker": number, "spans": spans}));
        }
    }
    lanes
}

/// Four numbers each: kind, begin, length, file or -1.
fn spans<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<i64> {
    spans
        .into_iter()
        .flat_map(|span| {
            let subject = span.subject.filter(|_| span.kind == Kind::Import).map_or(-1, |subject| subject as i64);
            let from = units(span.from);
            [
                Kind::ALL.iter().position(|kind| *kind == span.kind).unwrap_or(0) as i64,
                from,
                units(span.to) - from,
                subject,
            ]
        })
        .collect()
}

fn tests(timeline: &Timeline) -> Value {
    let mut paths: Vec<&str> = Vec::new();
    let mut numbers = BTreeMap::new();
    let (mut path, mut name, mut outcome) = (Vec::new(), Vec::new(), Vec::new());
    let (mut worker, mut from, mut length, mut seconds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut before = 0;
    for ran in &timeline.tests {
        let (file, rest) = ran.test.id.split_once("::").unwrap_or((&ran.test.id, ""));
        path.push(*numbers.entry(file).or_insert_with(|| {
            paths.push(file);
            paths.len() - 1
        }));
        name.push(rest);
        outcome.push(Outcome::ALL.iter().position(|word| *word == ran.outcome()).unwrap_or(0));
        worker.push(ran.test.worker);
        let begin = units(ran.from);
        // Differences are shorter to write.
        from.push(begin - before);
        before = begin;
        length.push(units(ran.to) - begin);
        seconds.push(units(ran.seconds()));
    }
    let reruns: BTreeMap<String, u32> =
        timeline.flaky().into_iter().map(|(place, ran)| (place.to_string(), ran.test.reruns)).collect();
    json!({
        "paths": paths, "path": path, "name": name, "outcome": outcome, "worker": worker,
        "from": from, "length": length, "took": seconds, "reruns": reruns,
    })
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
