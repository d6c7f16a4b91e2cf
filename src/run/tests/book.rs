//! What is known of the run's files and tests: where a file is, and what its tests are called.

use std::sync::Arc;

use crate::{
    model::{FileId, TestId},
    protocol::{
        TestName,
        runner::{FileSpec, RunTest},
    },
};

#[derive(Default)]
pub struct Book {
    files: Vec<Entry>,
    total: u32,
    collected: u32,
}

struct Entry {
    spec: Arc<FileSpec>,
    /// `None` until some worker has collected the file.
    names: Option<Vec<TestName>>,
}

impl Book {
    /// Each of them so many times in a row.
    pub fn add_files(&mut self, specs: Vec<FileSpec>, copies: u32) {
        for spec in specs.into_iter().map(Arc::new) {
            self.files.extend((0..copies).map(|_| Entry { spec: Arc::clone(&spec), names: None }));
        }
    }

    pub fn files(&self) -> u32 {
        self.files.len() as u32
    }

    pub fn files_left(&self) -> u32 {
        self.files() - self.collected
    }

    /// Tests known so far.
    pub fn total(&self) -> u32 {
        self.total
    }

    pub fn knows(&self, file: FileId) -> bool {
        (file.0 as usize) < self.files.len()
    }

    pub fn spec(&self, file: FileId) -> Arc<FileSpec> {
        Arc::clone(&self.files[file.0 as usize].spec)
    }

    pub fn path(&self, file: FileId) -> &str {
        &self.files[file.0 as usize].spec.path
    }

    /// Writes down the tests of a file; its first collection counts, a repeated one changes nothing.
    pub fn collected(&mut self, file: FileId, names: Vec<TestName>) {
        let entry = &mut self.files[file.0 as usize];
        if entry.names.is_none() {
            self.total += names.len() as u32;
            self.collected += 1;
            entry.names = Some(names);
        }
    }

    pub fn nodeid(&self, test: TestId) -> String {
        match self.name(test) {
            Some((nodeid, _)) => nodeid.clone(),
            None => format!("{} (test {})", self.path(test.file), test.index),
        }
    }

    /// The tests as another worker can find them.
    pub fn run_tests(&self, file: FileId, indices: &[u32]) -> Vec<RunTest> {
        indices
            .iter()
            .filter_map(|&index| {
                let (nodeid, k) = self.name(TestId { file, index })?;
                Some((index, nodeid.clone(), *k))
            })
            .collect()
    }

    pub fn name(&self, test: TestId) -> Option<&TestName> {
        self.files.get(test.file.0 as usize)?.names.as_ref()?.get(test.index as usize)
    }
}
