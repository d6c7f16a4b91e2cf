//! What is in the blob of `results` and `late`: pytest's reports, as far as a report of the run needs them.
//!
//! The engine passes these blobs on unread; only what records a run looks inside, aside from the run's own loop.

use std::fmt::{self, Write};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use crate::model::event::{Outcome, Phase};

/// A longer text of a failure loses its middle.
const LONGEST_FAILURE: usize = 24 << 10;

/// One test of a `results` blob.
#[derive(Debug, PartialEq)]
pub struct TestResult {
    pub id: String,
    pub outcome: Outcome,
    pub phases: Vec<Phase>,
    pub reruns: u32,
    pub failure: Option<String>,
}

/// Reads the blob of a `results`: one entry a test.
pub fn results(blob: &[u8]) -> Result<Vec<TestResult>, serde_json::Error> {
    Ok(serde_json::from_slice::<Vec<Entry>>(blob)?.into_iter().map(TestResult::from).collect())
}

/// Reads the blob of a `late`: an entry alone, or in a list.
pub fn late(blob: &[u8]) -> Result<Option<TestResult>, serde_json::Error> {
    match blob.first() {
        Some(b'[') => Ok(results(blob)?.into_iter().next()),
        _ => serde_json::from_slice::<Entry>(blob).map(|entry| Some(entry.into())),
    }
}

/// Reads the blob of a `collected`: what could not be collected, and why.
pub fn collection_failures(blob: &[u8]) -> Result<Vec<(String, String)>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Collected {
        nodeid: String,
        #[serde(flatten)]
        report: Full,
    }
    let reports = serde_json::from_slice::<Vec<Collected>>(blob)?.into_iter();
    let failed = reports.filter(|collected| collected.report.outcome == "failed");
    Ok(failed.map(|collected| (collected.nodeid, failure_text(&collected.report))).collect())
}

#[derive(Deserialize)]
struct Entry {
    nodeid: String,
    reports: Vec<Report>,
}

/// The short form of a plain pass, or pytest's own.
enum Report {
    Plain(Phase),
    Full(Box<Full>),
}

#[derive(Deserialize)]
struct Full {
    #[serde(default)]
    when: Option<String>,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    duration: Option<f64>,
    #[serde(default)]
    start: Option<f64>,
    #[serde(default)]
    longrepr: Value,
    #[serde(default)]
    wasxfail: Option<Value>,
    #[serde(default)]
    sections: Value,
}

impl<'de> Deserialize<'de> for Report {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Report;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a report")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Report, A::Error> {
                let when = list.next_element::<String>()?.unwrap_or_default();
                let duration = list.next_element::<f64>()?.unwrap_or_default();
                let start = list.next_element::<f64>()?.unwrap_or_default();
                while list.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Report::Plain(Phase(when, start, duration)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Report, A::Error> {
                Full::deserialize(MapAccessDeserializer::new(map)).map(|full| Report::Full(Box::new(full)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl From<Entry> for TestResult {
    fn from(entry: Entry) -> Self {
        let mut made =
            Self { id: entry.nodeid, outcome: Outcome::Passed, phases: Vec::new(), reruns: 0, failure: None };
        for report in entry.reports {
            match report {
                Report::Plain(phase) => made.phases.push(phase),
                Report::Full(full) => made.add(*full),
            }
        }
        made
    }
}

impl TestResult {
    fn add(&mut self, report: Full) {
        let when = report.when.clone().unwrap_or_default();
        let outcome = match (report.outcome.as_str(), report.wasxfail.is_some()) {
            ("rerun", _) => {
                self.reruns += 1;
                Outcome::Passed
            }
            ("failed", _) if when == "call" => Outcome::Failed,
            ("failed", _) => Outcome::Error,
            ("skipped", true) => Outcome::Xfailed,
            ("skipped", false) => Outcome::Skipped,
            ("passed", true) => Outcome::Xpassed,
            _ => Outcome::Passed,
        };
        if outcome.is_failure() {
            let text = self.failure.get_or_insert_default();
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            *text += &failure_text(&report);
        }
        // A failure of the test itself says more than one of its fixtures, any failure more than what went well.
        if self.outcome == Outcome::Passed || (outcome.is_failure() && self.outcome != Outcome::Failed) {
            self.outcome = outcome;
        }
        self.phases.push(Phase(when, report.start.unwrap_or_default(), report.duration.unwrap_or_default()));
    }
}

fn failure_text(report: &Full) -> String {
    let mut text = traceback(&report.longrepr);
    for section in report.sections.as_array().into_iter().flatten() {
        if let (Some(name), Some(content)) = (section[0].as_str(), section[1].as_str()) {
            let _ = write!(text, "\n--- {name} ---\n{}", content.trim_end());
        }
    }
    shortened(text)
}

/// pytest's `longrepr`, as it prints it, without colours.
fn traceback(longrepr: &Value) -> String {
    match longrepr {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(plain).collect::<Vec<_>>().join(": "),
        Value::Object(_) => {
            let mut text = String::new();
            match longrepr["chain"].as_array() {
                Some(chain) => {
                    for link in chain {
                        write_entries(&mut text, &link[0]);
                        if let Some(between) = link[2].as_str() {
                            let _ = writeln!(text, "\n{between}\n");
                        }
                    }
                }
                None => write_entries(&mut text, &longrepr["reprtraceback"]),
            }
            if text.is_empty() {
                text = longrepr["longrepr"].as_str().or(longrepr["reprcrash"]["message"].as_str()).unwrap_or("").into();
            }
            text.trim_end().to_owned()
        }
        _ => String::new(),
    }
}

fn write_entries(text: &mut String, traceback: &Value) {
    for entry in traceback["reprentries"].as_array().into_iter().flatten() {
        let data = &entry["data"];
        for line in data["lines"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "{}", line.as_str().unwrap_or_default());
        }
        for line in data["reprlocals"]["lines"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "{}", line.as_str().unwrap_or_default());
        }
        let place = &data["reprfileloc"];
        if let Some(path) = place["path"].as_str() {
            let message = place["message"].as_str().unwrap_or_default();
            let _ = writeln!(text, "\n{path}:{}: {message}", place["lineno"]);
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shortened(text: String) -> String {
    if text.len() <= LONGEST_FAILURE {
        return text;
    }
    let boundary = |at: &usize| text.is_char_boundary(*at);
    let head = (0..=LONGEST_FAILURE / 4).rev().find(boundary).unwrap_or(0);
    let tail = (text.len() - LONGEST_FAILURE * 3 / 4..).find(boundary).unwrap_or(text.len());
    format!("{}\n[… {} bytes left out …]\n{}", &text[..head], tail - head, &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"["setup",0.1,5.0,5.1]"#;

    fn one(reports: &str) -> TestResult {
        let blob = format!(r#"[{{"nodeid":"a.py::t","location":[],"keywords":["t"],"reports":[{reports}]}}]"#);
        results(blob.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn a_plain_pass_is_read() {
        let test = one(PLAIN);
        assert_eq!((test.outcome, test.phases), (Outcome::Passed, vec![Phase("setup".into(), 5.0, 0.1)]));
    }

    #[test]
    fn a_failure_keeps_its_traceback_and_what_was_printed() {
        let test = one(
            r#"{"when":"call","outcome":"failed","duration":1,"start":2,"sections":[["Captured stdout call","hello\n"]],
            "longrepr":{"reprcrash":{"message":"m"},"chain":[[{"reprentries":[{"type":"ReprEntry","data":{"lines":["    assert 0","E   assert 0"],
            "reprfileloc":{"path":"a.py","lineno":3,"message":"AssertionError"}}}]},null,null]]}}"#,
        );
        assert_eq!(test.outcome, Outcome::Failed);
        let text = test.failure.unwrap();
        assert!(text.contains("E   assert 0\n\na.py:3: AssertionError"), "{text}");
        assert!(text.ends_with("--- Captured stdout call ---\nhello"), "{text}");
    }

    #[test]
    fn outcomes_are_told_apart() {
        let of = |reports: &str| one(reports).outcome;
        assert_eq!(of(r#"{"when":"setup","outcome":"failed"}"#), Outcome::Error);
        assert_eq!(of(r#"{"when":"call","outcome":"skipped","wasxfail":""}"#), Outcome::Xfailed);
        assert_eq!(of(r#"{"when":"call","outcome":"passed","wasxfail":"why"}"#), Outcome::Xpassed);
        assert_eq!(of(r#"{"when":"setup","outcome":"skipped","longrepr":["a.py",3,"Skipped: no"]}"#), Outcome::Skipped);
        let test = one(r#"{"when":"call","outcome":"rerun"},["setup",0.1,5.0,5.1],["call",0.1,5.0,5.1]"#);
        assert_eq!((test.outcome, test.reruns), (Outcome::Passed, 1));
    }

    #[test]
    fn what_could_not_be_collected_is_read() {
        let blob = br#"[{"nodeid":"a.py","outcome":"passed"},
            {"nodeid":"b.py","outcome":"failed","longrepr":{"longrepr":"ImportError: no x"},"sections":[["Captured stdout","hm\n"]]}]"#;
        let why = "ImportError: no x\n--- Captured stdout ---\nhm".to_owned();
        assert_eq!(collection_failures(blob).unwrap(), [("b.py".to_owned(), why)]);
    }

    #[test]
    fn what_is_no_list_of_results_is_an_error() {
        assert!(results(b"{}").is_err() && results(b"[{\"nodeid\":1}]").is_err() && results(b"").is_err());
    }
}
