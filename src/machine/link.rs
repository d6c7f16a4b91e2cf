//! The one channel to a machine's runner: frames out, frames in.

use std::{collections::VecDeque, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::timeout;
use tokio_util::codec::Decoder;

use super::{MachineError, Stage, modules::Bundle};
use crate::{
    protocol::{
        Frame, FrameCodec,
        runner::{FromRunner, MAGIC, ToRunner},
    },
    ssh, text,
};

/// How much a login script may print before the runner speaks.
const PREAMBLE_LIMIT: usize = 64 << 10;

/// A runner that was told to end gets this long to do so before the connection is cut.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// A runner that fell silent is asked this long for its last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub struct Link {
    pub outgoing: Outgoing,
    pub incoming: Incoming,
    session: ssh::Session,
    /// The interpreter that runs the runner.
    pub python: String,
    /// A round trip, as far as it was seen.
    pub distance: Duration,
}

/// The way to the runner's stdin.
pub struct Outgoing {
    stdin: ssh::ChildStdin,
    /// Bytes until now.
    pub written: u64,
    /// Modules that the runner has.
    pub brought: Vec<Bundle>,
    place: Place,
}

/// The way from the runner's stdout; what it says on stderr is for messages.
pub struct Incoming {
    stdout: ssh::ChildOutput,
    stderr: Option<ssh::ChildOutput>,
    process: ssh::Process,
    buffer: BytesMut,
    /// What came about the environment while something else was waited for.
    aside: VecDeque<(FromRunner, Bytes)>,
    /// What came about lanes while nothing was sent.
    lanes: VecDeque<FromRunner>,
    place: Place,
}

/// Whose link it is and what it is used for, for messages.
#[derive(Clone)]
struct Place {
    machine: String,
    stage: Stage,
}

impl Link {
    pub fn new(machine: String, session: ssh::Session, child: ssh::Child, python: String, distance: Duration) -> Self {
        let place = Place { machine, stage: Stage::Boot };
        let ssh::Child { stdin, stdout, stderr, process } = child;
        let incoming = Incoming {
            stdout,
            stderr: Some(stderr),
            process,
            buffer: BytesMut::new(),
            aside: VecDeque::new(),
            lanes: VecDeque::new(),
            place: place.clone(),
        };
        Self {
            outgoing: Outgoing { stdin, written: 0, brought: Vec::new(), place },
            incoming,
            session,
            python,
            distance,
        }
    }

    pub fn machine(&self) -> &str {
        &self.outgoing.place.machine
    }

    /// The connection, for what is no business of the runner's.
    pub fn session(&self) -> ssh::Session {
        self.session.clone()
    }

    pub fn enter(&mut self, stage: Stage) {
        self.outgoing.place.stage = stage;
        self.incoming.place.stage = stage;
    }

    /// Closes the runner's stdin, which makes it end all that it started, and waits until it has.
    pub async fn end(self) {
        let Self { outgoing, mut incoming, session, .. } = self;
        outgoing.stdin.close();
        let drained = async { while incoming.stdout.next().await.is_some() {} };
        timeout(END_PATIENCE, drained).await.ok();
        session.disconnect().await;
    }
}

impl Outgoing {
    /// How many more pieces it takes without waiting.
    pub fn room(&self) -> usize {
        self.stdin.room()
    }

    /// What it means that a way to the machine has ended.
    pub fn lost(&self, detail: String) -> MachineError {
        self.place.lost(detail)
    }

    pub async fn send(&mut self, message: &ToRunner) -> Result<(), MachineError> {
        self.send_with(message, Bytes::new()).await
    }

    pub async fn send_with(&mut self, message: &ToRunner, blob: Bytes) -> Result<(), MachineError> {
        self.send_raw(Frame::with_blob(message, blob).to_bytes()).await
    }

    /// The same for a large blob, which isn't copied.
    pub async fn send_large(&mut self, message: &ToRunner, blob: Bytes) -> Result<(), MachineError> {
        self.send_raw(Frame::with_blob(message, blob.clone()).head()).await?;
        self.send_raw(blob).await
    }

    pub async fn send_raw(&mut self, bytes: Bytes) -> Result<(), MachineError> {
        self.written += bytes.len() as u64;
        self.stdin.write(bytes).await.map_err(|error| self.place.lost(text::chain(&error)))
    }
}

impl Incoming {
    /// Drops what a login script printed, up to the runner's own first line.
    pub async fn skip_preamble(&mut self) -> Result<(), MachineError> {
        loop {
            if let Some(at) = self.buffer.windows(MAGIC.len()).position(|window| window == MAGIC) {
                self.buffer.advance(at + MAGIC.len());
                return Ok(());
            }
            if self.buffer.len() > PREAMBLE_LIMIT {
                let detail = "its login scripts print without end; they should be silent for non-interactive shells";
                return Err(self.boot_failure(detail.into()));
            }
            match self.stdout.next().await {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => {
                    let detail = self.last_words().await;
                    return Err(self.boot_failure(detail));
                }
            }
        }
    }

    fn boot_failure(&self, detail: String) -> MachineError {
        MachineError::Boot { machine: self.place.machine.clone(), detail }
    }

    /// The next message, but for those about the environment and about lanes, which are kept. Safe to cancel.
    pub async fn next(&mut self) -> Result<(FromRunner, Bytes), MachineError> {
        loop {
            let (message, blob) = self.next_in_turn().await?;
            if !message.is_of_lanes() {
                return Ok((message, blob));
            }
            self.lanes.push_back(message);
        }
    }

    /// The same, with what is said about lanes.
    pub async fn next_while_sending(&mut self) -> Result<(FromRunner, Bytes), MachineError> {
        match self.lanes.pop_front() {
            Some(kept) => Ok((kept, Bytes::new())),
            None => self.next_in_turn().await,
        }
    }

    async fn next_in_turn(&mut self) -> Result<(FromRunner, Bytes), MachineError> {
        loop {
            let (message, blob) = self.next_of_all().await?;
            if !message.is_of_environment() {
                return Ok((message, blob));
            }
            self.aside.push_back((message, blob));
        }
    }

    /// The next message about the environment; any other, in its place, is one that is out of turn.
    pub async fn next_of_environment(&mut self) -> Result<(FromRunner, Bytes), MachineError> {
        match self.aside.pop_front() {
            Some(kept) => Ok(kept),
            None => self.next_of_all().await,
        }
    }

    /// Safe to cancel: what has arrived stays in the buffer.
    async fn next_of_all(&mut self) -> Result<(FromRunner, Bytes), MachineError> {
        loop {
            match FrameCodec.decode(&mut self.buffer) {
                Ok(Some(frame)) => {
                    let message = frame.parse().map_err(|source| self.place.garbled(source))?;
                    return Ok((message, frame.blob));
                }
                Ok(None) => {}
                Err(source) => return Err(self.place.garbled(source)),
            }
            match self.stdout.next().await {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => {
                    let detail = self.last_words().await;
                    return Err(self.place.lost(detail));
                }
            }
        }
    }

    /// Why the runner speaks no more: its stderr, its exit status, or what broke the connection.
    async fn last_words(&mut self) -> String {
        let stderr = self.stderr.take();
        let said = async {
            match stderr {
                Some(stderr) => stderr.collect().await,
                None => Vec::new(),
            }
        };
        let ended = async {
            match self.process.wait().await {
                Ok(ssh::ExitStatus::Code(code)) => format!("the runner ended with exit status {code}"),
                Ok(ssh::ExitStatus::Signal(name)) => format!("the runner ended with signal {name}"),
                Err(error) => text::chain(&error),
            }
        };
        let (said, ended) = match timeout(LAST_WORDS, async { tokio::join!(said, ended) }).await {
            Ok(both) => both,
            Err(_) => (Vec::new(), "the runner fell silent".to_owned()),
        };
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.trim_end().lines().collect();
        let tail = lines[lines.len().saturating_sub(10)..].join("\n");
        if tail.is_empty() { ended } else { format!("{ended}\n{tail}") }
    }
}

impl Place {
    fn lost(&self, detail: String) -> MachineError {
        MachineError::Lost { machine: self.machine.clone(), stage: self.stage, detail }
    }

    fn garbled(&self, source: crate::protocol::FrameError) -> MachineError {
        MachineError::Protocol { machine: self.machine.clone(), source }
    }
}
