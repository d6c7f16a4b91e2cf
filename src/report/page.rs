//! The page: its template filled with what is known of the run. Everything from outside is escaped.

use super::{
    Log, commands, data,
    sections::{self, escaped},
    timeline::Timeline,
};
use crate::templates;

pub fn render(log: &Log, timeline: &Timeline) -> String {
    let title = format!("cloudist run {}", escaped(&timeline.start.run));
    let of_a_command = !timeline.start.command.is_empty();
    let parts = [
        ("title", title),
        ("about", if of_a_command { "command" } else { "tests" }.to_owned()),
        ("style", templates::REPORT_STYLE.to_owned()),
        ("script", templates::REPORT_SCRIPT.to_owned()),
        ("head", sections::head(log, timeline)),
        ("tiles", if of_a_command { commands::tiles(log, timeline) } else { sections::tiles(log, timeline) }),
        ("bounds", sections::bounds(timeline)),
        ("kinds", sections::kinds(timeline)),
        ("failures", sections::failures(log, timeline)),
        ("slowest", sections::slowest(timeline)),
        ("flaky", sections::flaky(timeline)),
        ("imports", sections::imports(timeline)),
        ("machines", sections::machines(log, timeline)),
        ("data", data::render(timeline)),
    ];
    fill(templates::REPORT_PAGE, &parts)
}

/// One pass, so that what is filled in is never looked at again.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let mut page = String::with_capacity(template.len() + parts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").expect("the template's places are closed");
        let part = parts.iter().find(|(part, _)| *part == name).expect("the template names known parts");
        page.push_str(&part.1);
        rest = after;
    }
    page + rest
}
