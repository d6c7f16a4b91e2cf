//! Made-up test suites: how long imports and tests take, and what befalls those who run them.

use std::time::Duration;

use cloudist::model::{FileId, TestId};
use cloudist::scheduler::Marks;

use super::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Passes,
    Fails,
    /// Takes its process along.
    Crashes,
    /// Takes its machine along.
    FellsMachine,
}

#[derive(Clone, Debug)]
pub struct Test {
    pub duration: Duration,
    pub fate: Fate,
    /// Its name differs from process to process.
    pub fickle: bool,
    /// How many times as long it takes when it is run for the first time.
    pub stumbles: u32,
    pub marks: Marks,
}

impl Test {
    pub fn passes(duration: Duration) -> Self {
        Test { duration, fate: Fate::Passes, fickle: false, stumbles: 1, marks: Marks::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Import {
    Succeeds,
    Fails,
    Crashes,
    FellsMachine,
}

#[derive(Clone, Debug)]
pub struct File {
    pub import: Duration,
    pub outcome: Import,
    pub tests: Vec<Test>,
}

impl File {
    /// Tests that its collection finds.
    pub fn found(&self) -> u32 {
        if self.outcome == Import::Succeeds { self.tests.len() as u32 } else { 0 }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Suite {
    pub files: Vec<File>,
}

impl Suite {
    /// `files` files with `tests` tests each, all alike.
    pub fn even(files: u32, tests: u32, import: Duration, duration: Duration) -> Self {
        let test = Test::passes(duration);
        let file = File { import, outcome: Import::Succeeds, tests: vec![test; tests as usize] };
        Suite { files: vec![file; files as usize] }
    }

    /// Each file so many times in a row, as a suite is numbered that is run whole by each of so many workers. In every second copy
    /// a file's last test isn't there, since machines differ.
    pub fn in_copies(&self, count: u32) -> Self {
        let differing = |file: &File, copy: u32| {
            let mut file = file.clone();
            file.tests.truncate(file.tests.len() - (file.tests.len() > 1 && copy % 2 == 1) as usize);
            file
        };
        let files = self.files.iter().flat_map(|file| (0..count).map(move |copy| differing(file, copy)));
        Suite { files: files.collect() }
    }

    pub fn file(&self, file: FileId) -> &File {
        &self.files[file.0 as usize]
    }

    pub fn test(&self, test: TestId) -> &Test {
        &self.file(test.file).tests[test.index as usize]
    }

    /// Four by four, over pairs of files.
    pub fn bundle(test: TestId) -> u32 {
        test.file.0 / 2 * 16 + test.index / 4
    }

    /// The marks of a file's tests that its collection finds.
    pub fn marks(&self, file: FileId) -> Vec<(u32, Marks)> {
        let marks = (0..self.file(file).found()).map(|index| (index, self.test(TestId { file, index }).marks));
        marks.filter(|(_, marks)| marks.any()).collect()
    }

    pub fn longest_import(&self) -> Duration {
        self.files.iter().map(|file| file.import).max().unwrap_or_default()
    }

    pub fn tests(&self) -> impl Iterator<Item = &Test> {
        self.files.iter().flat_map(|file| &file.tests)
    }

    /// No schedule on so many workers can be faster.
    pub fn lower_bound(&self, workers: u32) -> Duration {
        let total: Duration = self.files.iter().map(|file| file.import).sum::<Duration>()
            + self.tests().map(|test| test.duration).sum::<Duration>();
        let longest = self
            .files
            .iter()
            .flat_map(|file| file.tests.iter().map(|test| file.import + test.duration))
            .max()
            .unwrap_or_default();
        longest.max(total / workers)
    }

    pub fn random(dice: &mut Dice, trouble: Trouble) -> Self {
        let files = *dice.pick(&[0, 1, 2, 5, 12, 30]);
        let longest_file = *dice.pick(&[1, 4, 12, 40]);
        let median = Duration::from_micros(*dice.pick(&[200, 5_000, 80_000]));
        let import = Duration::from_micros(*dice.pick(&[300, 20_000, 400_000]));
        let files = (0..files)
            .map(|_| {
                let outcome = trouble.import(dice);
                let tests = dice.count(0, longest_file);
                let test = |dice: &mut Dice| Test {
                    duration: dice.heavy_tailed(median, 1.2),
                    fate: trouble.fate(dice),
                    fickle: dice.chance(trouble.fickle),
                    marks: Marks { serial: dice.chance(trouble.marks), exclusive: dice.chance(trouble.marks) },
                    stumbles: if dice.chance(trouble.stumbles) { dice.count(20, 100) } else { 1 },
                };
                let tests = (0..tests).map(|_| test(dice)).collect();
                File { import: dice.heavy_tailed(import, 0.5), outcome, tests }
            })
            .collect();
        Suite { files }
    }
}

/// How likely each kind of misfortune is, per test or file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    pub failures: f64,
    pub crashes: f64,
    pub fells_machine: f64,
    pub bad_imports: f64,
    pub fickle: f64,
    pub stumbles: f64,
    pub marks: f64,
}

impl Trouble {
    fn fate(&self, dice: &mut Dice) -> Fate {
        match () {
            () if dice.chance(self.fells_machine) => Fate::FellsMachine,
            () if dice.chance(self.crashes) => Fate::Crashes,
            () if dice.chance(self.failures) => Fate::Fails,
            () => Fate::Passes,
        }
    }

    fn import(&self, dice: &mut Dice) -> Import {
        match () {
            () if dice.chance(self.fells_machine) => Import::FellsMachine,
            () if dice.chance(self.crashes) => Import::Crashes,
            () if dice.chance(self.bad_imports) => Import::Fails,
            () => Import::Succeeds,
        }
    }
}
