//! Writes down what happens in a run, as it happens: the events that reports are made from.
//!
//! A thread of its own reads results, makes lines of them and compresses those; the run's loop only passes on what it has anyway.
//! It never waits for the disk, and what goes wrong there is told at the end.

use std::{
    fs::{self, OpenOptions, TryLockError},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::{transcript::Transcript, watch::Watch};
use crate::{
    machine,
    model::{
        MachineId,
        event::{Event, Outcome, Test, What},
        live::Sight,
    },
    protocol::results,
    text,
};

/// What a run is told to with; without a place to write, it forgets all.
#[derive(Debug, Default)]
pub struct Recorder {
    pen: Option<Pen>,
}

#[derive(Debug)]
struct Pen {
    listener: Listener,
    writer: JoinHandle<io::Result<()>>,
    /// Nothing is kept of a run that is only watched.
    path: Option<PathBuf>,
    keeping: Keeping,
}

/// Hears what the user is shown, wherever that is said. Without a recorder that writes, it forgets all.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    writing: Option<(Instant, mpsc::Sender<Job>)>,
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
    Results {
        at: f64,
        worker: u32,
        tests: Vec<(u32, u32, u32, f64)>,
        stale: Vec<u32>,
        blob: Bytes,
    },
    Late {
        at: f64,
        worker: u32,
        file: u32,
        index: u32,
        blob: Bytes,
    },
    Printed {
        at: f64,
        stream: u8,
        data: Bytes,
    },
    /// Has what was told until now put where it can be read, and answers.
    Settle(mpsc::Sender<()>),
    End,
}

impl Recorder {
    /// Begins a file of events; the run's clock starts here, unless it went already for one who watches.
    pub fn begin(path: PathBuf, keeping: Keeping, watch: Watch) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // Tracebacks are the user's own.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        // Other runs leave it where it is until this one is over. Not every file system can do that.
        file.try_lock().ok();
        Self::write_to(Some(file), Some(path), keeping, watch)
    }

    /// Writes nothing down: it is all for one who watches.
    pub fn only_watched(watch: Watch) -> io::Result<Self> {
        Self::write_to(None, None, Keeping::default(), watch)
    }

    fn write_to(file: Option<fs::File>, path: Option<PathBuf>, keeping: Keeping, watch: Watch) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let began = watch.began().unwrap_or_else(Instant::now);
        let writer = thread::Builder::new().name("recorder".into()).spawn(move || match file {
            Some(file) => write(file, &waiting, &watch),
            None => {
                show(&waiting, &watch);
                Ok(())
            }
        })?;
        let listener = Listener { writing: Some((began, jobs)) };
        Ok(Self { pen: Some(Pen { listener, writer, path, keeping }) })
    }

    /// Somebody else may tell it, too, what the user is shown.
    pub fn listener(&self) -> Listener {
        self.pen.as_ref().map(|pen| pen.listener.clone()).unwrap_or_default()
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

    /// The user was shown this: 1 stands for stdout, 2 for stderr.
    pub fn printed(&self, stream: u8, data: Bytes) {
        if let Some(pen) = &self.pen {
            pen.listener.printed(stream, data);
        }
    }

    /// It has happened now.
    pub fn note(&self, what: impl FnOnce() -> What) {
        if let Some(pen) = &self.pen {
            pen.listener.send(|at| Job::Event(Event { at, what: what() }));
        }
    }

    /// A machine tells of itself. What its workers tell is the run's.
    pub fn hear(&self, machine: MachineId, event: &machine::Event) {
        use machine::Event;
        let machine = machine.0;
        match event {
            Event::Entered(stage) => self.note(|| What::Stage { machine, stage: stage.word().into() }),
            Event::Prepared(facts) => self.note(|| What::Prepared {
                machine,
                platform: facts.platform.clone(),
                cpus: facts.cpus,
                init_cached: facts.init_cached,
                steps: facts.timings.steps().map(|(step, took)| (step.to_owned(), took.as_secs_f64())).collect(),
                sent: facts.timings.sent,
            }),
            Event::Leaving { within } => {
                self.note(|| What::MachineLeaving { machine, within: within.as_secs_f64() });
            }
            Event::Lost(error) => self.note(|| What::MachineGone { machine, reason: Some(text::chain(error)) }),
            Event::Ended => self.note(|| What::MachineGone { machine, reason: None }),
            Event::InitOutput(_) | Event::Differs(_) | Event::Message(..) | Event::Contents(_) => {}
        }
    }

    /// Results have come; those at the places of `stale` don't count.
    pub fn results(&self, worker: u32, tests: &[(u32, u32, u32, f64)], stale: &[u32], blob: &Bytes) {
        if let Some(pen) = &self.pen {
            let (tests, stale) = (tests.to_vec(), stale.to_vec());
            pen.listener.send(|at| Job::Results { at, worker, tests, stale, blob: blob.clone() });
        }
    }

    pub fn late(&self, worker: u32, file: u32, index: u32, blob: &Bytes) {
        if let Some(pen) = &self.pen {
            pen.listener.send(|at| Job::Late { at, worker, file, index, blob: blob.clone() });
        }
    }

    /// Waits until all that was told can be read; answers where, and what is to become of it. Blocks. Nothing, if the
    /// writer has failed, which the end tells.
    pub fn settle(&self) -> Option<(&Path, &Keeping)> {
        let pen = self.pen.as_ref()?;
        let (settled, waiting) = mpsc::channel();
        pen.listener.send(|_| Job::Settle(settled));
        waiting.recv().ok()?;
        Some((pen.path.as_deref()?, &pen.keeping))
    }

    /// It was not worth writing down: the run did not take place.
    pub fn discard(self) {
        if let Some(recorded) = self.finish() {
            fs::remove_file(recorded.path).ok();
        }
    }

    /// Writes what is left and answers where it all is. Blocks.
    pub fn finish(self) -> Option<Recorded> {
        let Pen { listener, writer, path, keeping } = self.pen?;
        // Others may listen still.
        listener.send(|_| Job::End);
        let result = writer.join().unwrap_or_else(|_| Err(io::Error::other("the recorder broke down")));
        Some(Recorded { path: path?, keeping, result })
    }
}

impl Listener {
    /// The user was shown this: 1 stands for stdout, 2 for stderr.
    pub fn printed(&self, stream: u8, data: Bytes) {
        self.send(|at| Job::Printed { at, stream, data });
    }

    fn send(&self, job: impl FnOnce(f64) -> Job) {
        if let Some((began, jobs)) = &self.writing {
            // A writer that has failed tells so at the end.
            jobs.send(job(began.elapsed().as_secs_f64())).ok();
        }
    }
}

/// Seconds since 1970.
pub fn wall_clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn write(file: fs::File, jobs: &mpsc::Receiver<Job>, watch: &Watch) -> io::Result<()> {
    let mut out = GzEncoder::new(BufWriter::new(file), Compression::fast());
    let mut line = Vec::new();
    let mut transcript = Transcript::default();
    for job in jobs {
        match job {
            Job::Printed { at, stream, data } => {
                write_lines(&mut out, &mut line, transcript.hear(at, stream, &data))?;
            }
            Job::Settle(settled) => {
                out.flush()?;
                settled.send(()).ok();
            }
            Job::End => break,
            job => {
                // Whoever lists runs sees this one from its first event on.
                let first = matches!(&job, Job::Event(Event { what: What::RunStarted(_), .. }));
                let events = events(job);
                show_events(&events, watch);
                write_lines(&mut out, &mut line, events)?;
                if first {
                    out.flush()?;
                }
            }
        }
    }
    write_lines(&mut out, &mut line, transcript.finish())?;
    out.finish()?.flush()
}

/// What happens is for the watcher alone.
fn show(jobs: &mpsc::Receiver<Job>, watch: &Watch) {
    for job in jobs {
        match job {
            Job::Settle(settled) => drop(settled.send(())),
            Job::End => break,
            job => show_events(&events(job), watch),
        }
    }
}

fn show_events(events: &[Event], watch: &Watch) {
    for event in events {
        watch.tell(|| Sight::Event(event.clone()));
    }
}

fn write_lines(out: &mut impl Write, line: &mut Vec<u8>, events: impl IntoIterator<Item = Event>) -> io::Result<()> {
    for mut event in events {
        event.at = rounded(event.at);
        line.clear();
        serde_json::to_writer(&mut *line, &event)?;
        line.push(b'\n');
        out.write_all(line)?;
    }
    Ok(())
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
        Job::Printed { .. } | Job::Settle(_) | Job::End => Vec::new(),
    }
}

/// Microseconds are enough.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// Removes all but the newest files of events, and those that are being written. Their names begin with the time of their run.
pub fn retain(directory: &Path, count: usize) -> io::Result<()> {
    let mut kept: Vec<PathBuf> = list(directory)?;
    let excess = kept.len().saturating_sub(count);
    for path in kept.drain(..excess) {
        if is_being_written(&path) {
            continue;
        }
        fs::remove_file(path).or_else(|error| match error.kind() {
            // Another run has done it.
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
    }
    Ok(())
}

/// Whether its run goes on.
pub fn is_being_written(path: &Path) -> bool {
    let in_use = |file: fs::File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    fs::File::open(path).is_ok_and(in_use)
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
