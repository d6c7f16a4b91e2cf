//! What a rented machine needs besides work: it is told at intervals to live on, and listened to for the notice that it
//! will be taken away.
//!
//! Goes on beside everything else that happens on the machine, over a session of its own on the same connection.

use std::{convert::Infallible, time::Duration};

use bytes::BytesMut;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{Event, MachineError, Teller};
use crate::{provider::Tenancy, ssh, templates, text};

/// A steward that ended is begun anew after this long.
const PAUSE: Duration = Duration::from_secs(2);

/// EC2 gives two minutes; a notice without a time is taken for one that has just come.
const NOTICE: Duration = Duration::from_secs(120);

/// A machine that is kept gets this long to hear of it.
const KEEP_PATIENCE: Duration = Duration::from_secs(5);

/// A lease is put off so many times before it would end.
const RENEWALS: u32 = 3;

/// What the steward says: first whether the machine is ours, then what the metadata service tells of an interruption.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Claim { claimed: bool },
    Notice(Notice),
}

#[derive(Debug, Deserialize)]
struct Notice {
    time: Option<String>,
}

/// A steward at its post.
pub(super) struct Steward<'a> {
    session: &'a ssh::Session,
    tenancy: Tenancy,
    command: String,
    child: ssh::Child,
    said: BytesMut,
}

impl<'a> Steward<'a> {
    /// Claims the machine. A claim that another run has ends in an error that says so.
    pub async fn begin(
        session: &'a ssh::Session,
        machine: &str,
        tenancy: Tenancy,
        python: &str,
    ) -> Result<Self, MachineError> {
        let source = shlex::try_quote(templates::STEWARD).expect("the source has no NUL");
        let command = format!("exec {} -IS -c {source} {} 2>/dev/null", text::quoted(python), tenancy.file);
        let boot = |detail: String| MachineError::Boot { machine: machine.to_owned(), detail };
        let child = session.exec(&command).await.map_err(|error| boot(text::chain(&error)))?;
        let mut steward = Self { session, tenancy, command, child, said: BytesMut::new() };
        match steward.next().await {
            Some(Said::Claim { claimed: true }) => Ok(steward),
            Some(Said::Claim { claimed: false }) => Err(MachineError::Claimed { machine: machine.to_owned() }),
            Some(Said::Notice(_)) | None => Err(boot("what keeps its lease did not start".into())),
        }
    }

    /// Never ends by itself: a steward that does is replaced.
    pub async fn serve(mut self, teller: &Teller) -> Infallible {
        loop {
            // The connection's end is noticed where the work is done.
            self.attend(teller).await.ok();
            sleep(PAUSE).await;
            if let Ok(child) = self.session.exec(&self.command).await {
                self.child = child;
                self.said.clear();
            }
        }
    }

    async fn attend(&mut self, teller: &Teller) -> Result<(), ssh::ChildError> {
        let mut due = interval(self.tenancy.lease / RENEWALS);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let renewal = format!("{}\n", self.tenancy.lease.as_secs());
        loop {
            tokio::select! {
                _ = due.tick() => self.child.stdin.write(renewal.clone()).await?,
                said = self.next() => match said {
                    Some(Said::Notice(notice)) => teller.tell(Event::Leaving { within: notice.within() }).await,
                    Some(Said::Claim { .. }) => {}
                    None => return Ok(()),
                },
            }
        }
    }

    /// The next thing it says. Cancel safe.
    async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some(end) = self.said.iter().position(|&byte| byte == b'\n') {
                let line = self.said.split_to(end + 1);
                if let Ok(said) = serde_json::from_slice(&line) {
                    return Some(said);
                }
                continue;
            }
            self.said.extend_from_slice(&self.child.stdout.next().await?);
        }
    }
}

/// The machine is to outlive the run by so long.
pub(super) async fn keep(session: &ssh::Session, tenancy: Tenancy, keep: Duration) {
    let file = tenancy.file;
    let put_off = format!("read -r up _ </proc/uptime && echo $((${{up%.*}} + {})) >{file}", keep.as_secs());
    if let Ok(child) = session.exec(&put_off).await {
        timeout(KEEP_PATIENCE, child.output()).await.ok();
    }
}

/// The tree there is no other run's for so long, by the machine's own clock.
pub(super) async fn reserve(session: &ssh::Session, tree: &str, time: Duration) {
    let script =
        format!("echo $(($(date +%s) + {})) >{}", time.as_secs(), text::quoted(&format!("{tree}.cloudist/kept")));
    if let Ok(child) = session.exec(&format!("/bin/sh -c {}", text::quoted(&script))).await {
        timeout(KEEP_PATIENCE, child.output()).await.ok();
    }
}

impl Notice {
    /// How long the machine still has.
    fn within(&self) -> Duration {
        let end = self.time.as_deref().and_then(|time| humantime::parse_rfc3339_weak(time).ok());
        match end {
            Some(end) => end.duration_since(std::time::SystemTime::now()).unwrap_or_default(),
            None => NOTICE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_how_long_is_left() {
        let soon = std::time::SystemTime::now() + Duration::from_secs(100);
        let text = format!(r#"{{"action":"terminate","time":"{}"}}"#, humantime::format_rfc3339_seconds(soon));
        let within = serde_json::from_str::<Notice>(&text).unwrap().within();
        assert!((90..=100).contains(&within.as_secs()), "{within:?}");
        let past = r#"{"action":"terminate","time":"2020-01-01T00:00:00Z"}"#;
        assert_eq!(serde_json::from_str::<Notice>(past).unwrap().within(), Duration::ZERO);
        assert_eq!(serde_json::from_str::<Notice>("{}").unwrap().within(), NOTICE);
    }
}
