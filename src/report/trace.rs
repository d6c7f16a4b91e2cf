//! The timeline as a Chrome trace: a process for each machine, a thread for each of its workers. Opens in Perfetto.
//!
//! The form: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>; times are in microseconds.

use serde_json::{Value, json};

use super::timeline::{Kind, Span, Timeline};

/// The thread of what a machine itself does.
const OF_THE_MACHINE: u32 = 0;

pub fn render(timeline: &Timeline) -> String {
    let mut events = Vec::new();
    for (place, machine) in &timeline.machines {
        events.push(name("process_name", *place, OF_THE_MACHINE, &format!("m{place} {}", machine.name)));
        events.push(name("thread_name", *place, OF_THE_MACHINE, "machine"));
        events.extend(machine.spans.iter().map(|span| whole(timeline, span, *place, OF_THE_MACHINE)));
    }
    for (number, worker) in &timeline.workers {
        events.push(name("thread_name", worker.machine, number + 1, &format!("gw{number}")));
        let work = worker.spans.iter().filter(|span| !span.kind.is_start_up() || span.kind == Kind::Start);
        events.extend(work.map(|span| whole(timeline, span, worker.machine, number + 1)));
    }
    let other = json!({"run": timeline.start.run, "provider": timeline.start.provider, "mode": timeline.start.mode});
    json!({"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}).to_string()
}

fn name(what: &str, process: u32, thread: u32, name: &str) -> Value {
    json!({"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}})
}

fn whole(timeline: &Timeline, span: &Span, process: u32, thread: u32) -> Value {
    let mut args = json!({});
    let mut name = span.kind.name();
    let test = span.subject.filter(|_| span.kind == Kind::Test).and_then(|subject| timeline.tests.get(subject));
    if let Some(ran) = test {
        name = &ran.test.id;
        args = json!({"outcome": ran.outcome().word()});
        for phase in &ran.test.phases {
            args[&phase.0] = json!(phase.2);
        }
    }
    let file = span.subject.filter(|_| span.kind == Kind::Import).and_then(|subject| timeline.files.get(subject));
    if let Some(path) = file {
        args = json!({"file": path});
    }
    let (from, length) = ((span.from * 1e6).round(), (span.seconds() * 1e6).round());
    json!({"ph": "X", "name": name, "cat": span.kind.name(), "pid": process, "tid": thread, "ts": from, "dur": length, "args": args})
}
