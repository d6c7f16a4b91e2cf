//! One worker as its runner sees it: a queue that is claimed from the front and recalled from the end.

use std::collections::{BTreeSet, VecDeque};

use cloudist::model::{FileId, MachineId, TestId, WorkerId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Collect { file: FileId, execute: bool },
    Test(TestId),
}

impl Token {
    pub fn file(self) -> FileId {
        match self {
            Token::Collect { file, .. } => file,
            Token::Test(test) => test.file,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// For the first time, or to find a test again.
    Importing(Token),
    Running(TestId),
}

impl Activity {
    pub fn token(self) -> Token {
        match self {
            Activity::Importing(token) => token,
            Activity::Running(test) => Token::Test(test),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Up,
    /// Died; a fresh process is on the way, or not.
    Down,
}

/// How long results are held back to be sent together.
pub const COALESCING_MICROS: u64 = 4_000;

#[derive(Clone, Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub machine: MachineId,
    pub state: State,
    /// Counts the processes that this worker has had.
    pub life: u32,
    pub queue: VecDeque<Token>,
    pub imported: BTreeSet<FileId>,
    pub activity: Option<Activity>,
    pub results: Vec<(TestId, u32)>,
    pub closing: bool,
    pub aborted: bool,
    /// Since when it has been at what it is at, or has had nothing to do.
    pub since: u64,
    /// Since when something has been waiting behind what it is at.
    pub waiting_since: u64,
    /// When it last was done with a file: what it found there is then to be told first.
    pub imported_at: u64,
}

impl Worker {
    pub fn new(id: WorkerId, machine: MachineId, now: u64) -> Self {
        Worker {
            id,
            machine,
            state: State::Up,
            life: 0,
            queue: VecDeque::new(),
            imported: BTreeSet::new(),
            activity: None,
            results: Vec::new(),
            closing: false,
            aborted: false,
            since: now,
            waiting_since: now,
            imported_at: now,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.state == State::Up && self.activity.is_none() && self.queue.is_empty() && !self.closing && !self.aborted
    }

    pub fn append(&mut self, now: u64, tokens: impl IntoIterator<Item = Token>) {
        if self.queue.is_empty() {
            self.waiting_since = now;
        }
        self.queue.extend(tokens);
    }

    /// Takes the next token. What was running is over.
    pub fn claim(&mut self, now: u64) -> Option<Token> {
        self.since = now;
        self.waiting_since = now;
        self.activity = None;
        self.queue.pop_front()
    }

    pub fn recall(&mut self, count: u32) -> (Vec<TestId>, Vec<FileId>) {
        let kept = self.queue.len().saturating_sub(count as usize);
        let (mut tests, mut files) = (Vec::new(), Vec::new());
        for token in self.queue.split_off(kept) {
            match token {
                Token::Collect { file, .. } => files.push(file),
                Token::Test(test) => tests.push(test),
            }
        }
        (tests, files)
    }

    /// The file was imported: its tests come ahead of what is queued behind it.
    pub fn found(&mut self, file: FileId, tests: impl DoubleEndedIterator<Item = u32>) {
        for index in tests.rev() {
            self.queue.push_front(Token::Test(TestId { file, index }));
        }
    }

    pub fn fall(&mut self, now: u64) {
        self.state = State::Down;
        self.queue.clear();
        self.imported.clear();
        self.activity = None;
        self.since = now;
    }

    pub fn rise(&mut self, now: u64) {
        self.state = State::Up;
        self.life += 1;
        self.since = now;
        self.closing = false;
    }
}
