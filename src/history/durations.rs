//! How long the tests of a project take, file by file, as the history has it.
//!
//! Values that were read; knows neither where from nor what for.

use std::{collections::BTreeMap, time::Duration};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileDurations {
    pub import: Option<Duration>,
    /// By node id and number among those of the same node id.
    tests: BTreeMap<(String, u32), Duration>,
    total: Duration,
    longest: Duration,
}

impl FileDurations {
    pub fn of(&self, nodeid: &str, k: u32) -> Option<Duration> {
        self.tests.get(&(nodeid.to_owned(), k)).copied()
    }

    /// Node ids, and what the tests take.
    pub fn tests(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.tests.iter().map(|((nodeid, _), took)| (nodeid.as_str(), *took))
    }

    /// Of all its tests.
    pub fn total(&self) -> Duration {
        self.total
    }

    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// What a test takes of which nothing else is known.
    pub fn mean(&self) -> Option<Duration> {
        self.total.checked_div(u32::try_from(self.tests.len()).ok()?)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    files: BTreeMap<String, FileDurations>,
}

impl Durations {
    pub fn add_test(&mut self, nodeid: String, k: u32, seconds: f64) {
        let Some(took) = duration(seconds) else { return };
        let file = self.files.entry(file_of(&nodeid).to_owned()).or_default();
        if file.tests.insert((nodeid, k), took).is_none() {
            file.total += took;
            file.longest = file.longest.max(took);
        }
    }

    pub fn add_import(&mut self, path: String, seconds: f64) {
        self.files.entry(path).or_default().import = duration(seconds);
    }

    pub fn is_empty(&self) -> bool {
        self.files.values().all(|file| file.tests.is_empty())
    }

    pub fn file(&self, path: &str) -> Option<&FileDurations> {
        self.files.get(path)
    }

    pub fn files(&self) -> impl Iterator<Item = (&str, &FileDurations)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// Every test with its node id and the seconds it takes.
    pub fn tests(&self) -> impl Iterator<Item = (&str, f64)> {
        self.files
            .values()
            .flat_map(|file| &file.tests)
            .map(|((nodeid, _), took)| (nodeid.as_str(), took.as_secs_f64()))
    }
}

/// What a node id begins with.
fn file_of(nodeid: &str) -> &str {
    nodeid.split_once("::").map_or(nodeid, |(file, _)| file)
}

fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_file_and_name() {
        let mut durations = Durations::default();
        durations.add_test("a.py::one".into(), 0, 1.5);
        durations.add_test("a.py::two[x::y]".into(), 1, 0.5);
        durations.add_test("a.py::broken".into(), 0, f64::NAN);
        durations.add_import("a.py".into(), 0.25);
        let file = durations.file("a.py").unwrap();
        assert_eq!(file.of("a.py::two[x::y]", 1), Some(Duration::from_millis(500)));
        assert_eq!(file.of("a.py::two[x::y]", 0), None);
        assert_eq!((file.total(), file.longest()), (Duration::from_secs(2), Duration::from_millis(1500)));
        assert_eq!(file.mean(), Some(Duration::from_secs(1)));
        assert_eq!(durations.file("b.py"), None);
    }
}
