//! Joins a command that runs on a machine to this process: stdin there, both outputs here, Ctrl-C to its process group.
//!
//! A command without a terminal; one that has one needs none of this.

use std::{
    io::{self, Write},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use super::{
    broken,
    remote::{self, MARK},
    status, stdin,
};
use crate::{
    frontend::failure::{Failure, exit_code},
    ssh::{Child, ChildOutput, Session},
};

/// What a process may be called, at most.
const LONGEST_NAME: usize = 16;
/// A command that was told to end gets so long before we go.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ctrl-C and the other ways to be told to end.
struct Endings {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Endings {
    fn new() -> Result<Self, Failure> {
        let watch = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(exit_code::INTERNAL, format!("failed to watch for signals: {error}")))
        };
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    /// The signal's name, and the status of whoever is ended by it.
    async fn next(&mut self) -> (&'static str, u8) {
        tokio::select! {
            _ = self.interrupt.recv() => ("INT", exit_code::INTERRUPTED),
            _ = self.terminate.recv() => ("TERM", exit_code::TERMINATED),
            _ = self.hangup.recv() => ("HUP", 129),
        }
    }
}

/// Runs the command to its end, which is the answer.
pub async fn join(session: &Session, child: Child) -> Result<u8, Failure> {
    let Child { stdin: mut there, stdout, mut stderr, mut process } = child;
    let mut endings = Endings::new()?;
    let mut group = None;
    let mut preamble = BytesMut::new();
    // Until its process is known, a command can't be told anything.
    while group.is_none() {
        match stderr.next().await {
            Some(bytes) => preamble.extend_from_slice(&bytes),
            None => break,
        }
        group = named(&mut preamble);
    }
    show(&mut io::stderr(), &preamble)?;
    let feeding = async {
        let mut here = stdin();
        while let Some(bytes) = here.recv().await {
            // A command that reads no more is told so by the end of what it says.
            if there.write(bytes).await.is_err() {
                break;
            }
        }
        drop(there);
        std::future::pending::<()>().await;
    };
    let said = async { tokio::try_join!(pump(stdout, io::stdout()), pump(stderr, io::stderr())) };
    let ended = async {
        said.await?;
        process.wait().await.map_err(broken)
    };
    tokio::pin!(feeding, ended);
    let mut told = 0;
    loop {
        tokio::select! {
            () = &mut feeding => {}
            ended = &mut ended => {
                if let (Err(failure), Some(group)) = (&ended, group)
                    && failure.exit_code == exit_code::BROKEN_PIPE
                {
                    pass_on(session, group, "PIPE").await;
                }
                return ended.map(|ended| status(&ended));
            }
            (name, code) = endings.next() => {
                told += 1;
                let Some(group) = group else { return Ok(code) };
                let name = if told > 2 { "KILL" } else { name };
                pass_on(session, group, name).await;
                if name != "INT" {
                    timeout(PATIENCE, &mut ended).await.ok();
                    return Ok(code);
                }
            }
        }
    }
}

async fn pass_on(session: &Session, group: u32, signal: &str) {
    // Over a channel of its own: not every server passes signals on.
    if let Ok(child) = session.exec(&remote::kill(group, signal)).await {
        timeout(PATIENCE, child.output()).await.ok();
    }
}

/// Takes the name of the process out of what was said, once it is there whole.
fn named(said: &mut BytesMut) -> Option<u32> {
    let mark = MARK as u8;
    for start in 0..said.len() {
        let rest = &said[start..];
        if rest[0] == mark
            && let Some(end) = rest[1..].iter().take(LONGEST_NAME).position(|&byte| byte == mark)
            && let Some(process) = std::str::from_utf8(&rest[1..=end]).ok().and_then(|text| text.parse().ok())
        {
            let mut others = said.split_off(start);
            let after = others.split_off(end + 2);
            said.extend_from_slice(&after);
            return Some(process);
        }
    }
    None
}

async fn pump(mut from: ChildOutput, mut to: impl Write) -> Result<(), Failure> {
    while let Some(bytes) = from.next().await {
        show(&mut to, &bytes)?;
    }
    Ok(())
}

pub fn show(to: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    to.write_all(bytes).and_then(|()| to.flush()).map_err(|error| match error.kind() {
        // Whoever read our output has had enough.
        io::ErrorKind::BrokenPipe => Failure::new(exit_code::BROKEN_PIPE, "nobody reads the output any more"),
        _ => Failure::new(exit_code::INTERNAL, format!("failed to write the output: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_named_between_marks_whatever_is_around_it() {
        let mut said = BytesMut::from(&b"motd\x1e"[..]);
        assert_eq!(named(&mut said), None);
        said.extend_from_slice(b"4711\x1eoops");
        assert_eq!(named(&mut said), Some(4711));
        assert_eq!(&said[..], b"motdoops");
    }
}
