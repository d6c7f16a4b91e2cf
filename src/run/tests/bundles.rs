//! Which tests stay together on one worker: those of a scope, or those that a mark puts into a group. And which don't run beside others.
//!
//! Numbers the bundles as they come up; who runs them is the scheduler's business.

use std::collections::HashMap;

use crate::{
    model::FileId,
    plan::Mode,
    protocol::TestName,
    scheduler::{Input, Marks},
};

pub struct Bundles {
    mode: Mode,
    named: HashMap<String, u32>,
    count: u32,
}

impl Bundles {
    pub fn new(mode: Mode) -> Self {
        Self { mode, named: HashMap::new(), count: 0 }
    }

    /// What the scheduler is to hear of a file's tests before it hears that they were found.
    pub fn news(
        &mut self,
        file: FileId,
        tests: &[TestName],
        groups: &[(u32, String)],
        apart: &[(u32, String)],
    ) -> Vec<Input> {
        let bundles = self.of(tests, groups).map(|bundles| Input::Bundled { file, bundles });
        let marked = (!apart.is_empty()).then(|| Input::Marked { file, tests: marks(apart) });
        bundles.into_iter().chain(marked).collect()
    }

    /// The bundle of each test of a file, if tests stay together in bundles at all. `groups` are those that marks name, with the test's index.
    fn of(&mut self, tests: &[TestName], groups: &[(u32, String)]) -> Option<Vec<u32>> {
        match self.mode {
            Mode::Scope => Some(tests.iter().map(|(nodeid, _)| self.named(scope(nodeid))).collect()),
            Mode::Group => {
                let marked: HashMap<u32, &str> = groups.iter().map(|(index, name)| (*index, name.as_str())).collect();
                let count = u32::try_from(tests.len()).unwrap_or(u32::MAX);
                Some((0..count).map(|index| self.of_group(marked.get(&index).copied())).collect())
            }
            Mode::Test | Mode::File | Mode::Each | Mode::No => None,
        }
    }

    fn of_group(&mut self, name: Option<&str>) -> u32 {
        match name {
            Some(name) => self.named(name),
            None => self.next(),
        }
    }

    fn named(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.named.get(name) {
            return number;
        }
        let number = self.next();
        self.named.insert(name.to_owned(), number);
        number
    }

    fn next(&mut self) -> u32 {
        self.count += 1;
        self.count - 1
    }
}

/// What machines tell of tests that don't run beside others: `s` stands for serial, `e` for exclusive.
fn marks(apart: &[(u32, String)]) -> Vec<(u32, Marks)> {
    let marks = |kinds: &str| Marks { serial: kinds.contains('s'), exclusive: kinds.contains('e') };
    apart.iter().map(|(index, kinds)| (*index, marks(kinds))).collect()
}

/// The class that a test belongs to, or its module if there is none. Parameters may hold anything.
fn scope(nodeid: &str) -> &str {
    let Some(file) = nodeid.find("::") else { return nodeid };
    let names = nodeid[file..].find('[').map_or(nodeid, |parameters| &nodeid[..file + parameters]);
    names.rfind("::").map_or(nodeid, |end| &names[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(nodeids: &[&str]) -> Vec<TestName> {
        nodeids.iter().map(|&nodeid| (nodeid.to_owned(), 0)).collect()
    }

    #[test]
    fn a_scope_is_the_innermost_class_or_the_module() {
        assert_eq!(scope("a/test_b.py::test_c"), "a/test_b.py");
        assert_eq!(scope("a/test_b.py::TestC::TestD::test_e[x::y]"), "a/test_b.py::TestC::TestD");
        assert_eq!(scope("a[1]/test_b.py::test_c[z]"), "a[1]/test_b.py");
        assert_eq!(scope("README.md"), "README.md");
    }

    #[test]
    fn scopes_are_numbered_as_they_come_up() {
        let mut bundles = Bundles::new(Mode::Scope);
        let first = names(&["a.py::t", "a.py::T::t", "a.py::u", "a.py::T::u[a::b]"]);
        assert_eq!(bundles.of(&first, &[]), Some(vec![0, 1, 0, 1]));
        assert_eq!(bundles.of(&names(&["b.py::T::t"]), &[]), Some(vec![2]));
    }

    #[test]
    fn groups_span_files_and_everything_else_is_alone() {
        let mut bundles = Bundles::new(Mode::Group);
        let groups = [(1, "db".to_owned())];
        assert_eq!(bundles.of(&names(&["a.py::t", "a.py::u", "a.py::v"]), &groups), Some(vec![0, 1, 2]));
        assert_eq!(bundles.of(&names(&["b.py::t", "b.py::u"]), &groups), Some(vec![3, 1]));
    }

    #[test]
    fn other_modes_have_no_bundles() {
        assert_eq!(Bundles::new(Mode::File).of(&names(&["a.py::t"]), &[]), None);
    }
}
