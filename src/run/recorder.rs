//! Writes down what happens in a run, as it happens: the events that reports are made from.
//!
//! A thread of its own reads results, makes lines of them and compresses those; the run's loop only passes on what it has anyway.
//! It never waits for the disk, and what goes wrong there is told at the end.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use crate::{
    model::event::{Event, Outcome, Test, What},
    protocol::results,
};

/// What a run is told to with; without a place to write, it forgets all.
#[derive(Debug, Default)]
pub struct Recorder {
    pen: Option<Pen>,
}

#[derive(Debug)]
struct Pen {
    began: Instant,
    jobs: mpsc::Sender<Job>,
    writer: JoinHandle<io::Result<()>>,
    path: PathBuf,
    keeping: Keeping,
}

/// What is to become of the events when the run has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Where to write a report.
    pub report: Option<PathBuf>,
    /// How many runs' events are kept.
    pub runs: usize,
}

/// The events are written.
#[derive(Debug)]
pub struct Recorded {
    pub path: PathBuf,
    pub keeping: Keeping,
    /// Whether all went well.
    pub result: io::Result<()>,
}

enum Job {
    Event(Event),
    Results { at: f64, worker: u32, tests: Vec<(u32, u32, u32, f64)>, stale: Vec<u32>, blob: Bytes },
    Late { at: f64, worker: u32, file: u32, index: u32, blob: Bytes },
}

impl Recorder {
    /// Begins a file of events; the run's clock starts here.
    pub fn begin(path: PathBuf, keeping: Keeping) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // Tracebacks are the user's own.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let (jobs, waiting) = mpsc::channel();
        let writer = thread::Builder::new().name("recorder".into()).spawn(move || write(file, &waiting))?;
        Ok(Self { pen: Some(Pen { began: Instant::now(), jobs, writer, path, keeping }) })
    }

    /// More is known of what is wanted.
    pub fn keep(&mut self, keeping: Keeping) {
        if let Some(pen) = &mut self.pen {
            pen.keeping = keeping;
        }
    }

    pub fn is_on(&self) -> bool {
        self.pen.is_some()
    }

    /// It has happened now.
    pub fn note(&self, what: impl FnOnce() -> What) {
        if let Some(pen) = &self.pen {
            pen.send(Job::Event(Event { at: pen.now(), what: what() }));
        }
    }

    /// Results have come; those at the places of `stale` don't count.
    pub fn results(&self, worker: u32, tests: &[(u32, u32, u32, f64)], stale: &[u32], blob: &Bytes) {
        if let Some(pen) = &self.pen {
            let (tests, stale) = (tests.to_vec(), stale.to_vec());
            pen.send(Job::Results { at: pen.now(), worker, tests, stale, blob: blob.clone() });
        }
    }

    pub fn late(&self, worker: u32, file: u32, index: u32, blob: &Bytes) {
        if let Some(pen) = &self.pen {
            pen.send(Job::Late { at: pen.now(), worker, file, index, blob: blob.clone() });
        }
    }

    /// It was not worth writing down: the run did not take place.
    pub fn discard(self) {
        if let Some(recorded) = self.finish() {
            fs::remove_file(recorded.path).ok();
        }
    }

    /// Writes what is left and answers where it all is. Blocks.
    pub fn finish(self) -> Option<Recorded> {
        let Pen { jobs, writer, path, keeping, .. } = self.pen?;
        drop(jobs);
        let result = writer.join().unwrap_or_else(|_| Err(io::Error::other("the recorder broke down")));
        Some(Recorded { path, keeping, result })
    }
}

impl Pen {
    fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn send(&self, job: Job) {
        // A writer that has failed tells so at the end.
        self.jobs.send(job).ok();
    }
}

/// Seconds since 1970.
pub fn wall_clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn write(file: fs::File, jobs: &mpsc::Receiver<Job>) -> io::Result<()> {
    let mut out = GzEncoder::new(BufWriter::new(file), Compression::fast());
    let mut line = Vec::new();
    for job in jobs {
        for mut event in events(job) {
            event.at = rounded(event.at);
            line.clear();
            serde_json::to_writer(&mut line, &event)?;
            line.push(b'\n');
            out.write_all(&line)?;
        }
    }
    out.finish()?.flush()
}

fn events(job: Job) -> Vec<Event> {
    match job {
        Job::Event(event) => vec![event],
        Job::Results { at, worker, tests, stale, blob } => {
            let read = results::results(&blob).ok().filter(|read| read.len() == tests.len());
            let mut read = read.map(Vec::into_iter);
            let mut made = Vec::with_capacity(tests.len());
            for (position, (file, index, failed, _)) in tests.into_iter().enumerate() {
                let stale = stale.contains(&(position as u32));
                // Reports that can't be read still tell that there was a test.
                let test = match read.as_mut().and_then(Iterator::next) {
                    Some(result) => Test {
                        worker,
                        file,
                        index,
                        id: result.id,
                        outcome: result.outcome,
                        phases: result.phases,
                        reruns: result.reruns,
                        stale,
                        failure: result.failure,
                    },
                    None => Test {
                        worker,
                        file,
                        index,
                        id: format!("test {index} of file {file}"),
                        outcome: if failed > 0 { Outcome::Failed } else { Outcome::Passed },
                        phases: Vec::new(),
                        reruns: 0,
                        stale,
                        failure: None,
                    },
                };
                made.push(Event { at, what: What::Test(Box::new(test)) });
            }
            made
        }
        Job::Late { at, worker, file, index, blob } => {
            let Ok(Some(result)) = results::late(&blob) else { return Vec::new() };
            vec![Event { at, what: What::Late { worker, file, index, phases: result.phases, failure: result.failure } }]
        }
    }
}

/// Microseconds are enough.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// Removes all but the newest files of events. Their names begin with the time of their run.
pub fn retain(directory: &Path, count: usize) -> io::Result<()> {
    let mut kept: Vec<PathBuf> = list(directory)?;
    let excess = kept.len().saturating_sub(count);
    for path in kept.drain(..excess) {
        fs::remove_file(path).or_else(|error| match error.kind() {
            // Another run has done it.
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
    }
    Ok(())
}

/// The files of events in a directory, the oldest first.
pub fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(EVENTS_SUFFIX) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// How the names of kept events end.
pub const EVENTS_SUFFIX: &str = ".events.jsonl.gz";
