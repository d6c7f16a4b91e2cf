//! Durations in the form that pytest-split keeps in `.test_durations`: a JSON object of node ids and seconds.
//!
//! Texts alone: reads and writes no file.

use std::collections::BTreeMap;

use super::{Durations, HistoryError};

/// Reads such a text; `name` is what messages call it.
pub fn parse_test_durations(name: &str, text: &str) -> Result<Durations, HistoryError> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Form {
        Object(BTreeMap<String, f64>),
        /// As the first versions of pytest-split had it.
        Pairs(Vec<(String, f64)>),
    }
    let form =
        serde_json::from_str(text).map_err(|source| HistoryError::Durations { name: name.to_owned(), source })?;
    let mut durations = Durations::default();
    let pairs: Vec<(String, f64)> = match form {
        Form::Object(object) => object.into_iter().collect(),
        Form::Pairs(pairs) => pairs,
    };
    for (nodeid, seconds) in pairs {
        durations.add_test(nodeid, 0, seconds);
    }
    Ok(durations)
}

/// Of tests that share a node id, the longest stands for all.
pub fn print_test_durations(durations: &Durations) -> String {
    let mut longest: BTreeMap<&str, f64> = BTreeMap::new();
    for (nodeid, seconds) in durations.tests() {
        let known = longest.entry(nodeid).or_default();
        *known = known.max(seconds);
    }
    // Texts and numbers always become JSON.
    let mut text = serde_json::to_string_pretty(&longest).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read() {
        let text = "{\"a.py::one\": 1.5, \"b.py::\u{5d0} x\": 0.25}";
        let durations = parse_test_durations("it", text).unwrap();
        assert_eq!(parse_test_durations("it", &print_test_durations(&durations)).unwrap(), durations);
        assert_eq!(parse_test_durations("it", "[[\"a.py::one\", 1.5]]").unwrap().tests().count(), 1);
    }

    #[test]
    fn other_texts_are_refused_by_name() {
        for text in ["", "7", "{\"a\": \"b\"}"] {
            let error = parse_test_durations("old.json", text).unwrap_err();
            assert!(error.to_string().starts_with("old.json"));
        }
    }
}
