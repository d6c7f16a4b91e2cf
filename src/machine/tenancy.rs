//! What a rented machine needs besides work: it is told at intervals to live on, and listened to for the notice that it
//! will be taken away.
//!
//! Goes on beside everything else that happens on the machine, over a session of its own on the same connection.

use std::{convert::Infallible, time::Duration};

use bytes::BytesMut;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Event, Teller};
use crate::{provider::Tenancy, ssh, templates, text};

/// A steward that ended is begun anew after this long.
const PAUSE: Duration = Duration::from_secs(2);

/// EC2 gives two minutes; a notice without a time is taken for one that has just come.
const NOTICE: Duration = Duration::from_secs(120);

/// A lease is put off so many times before it would end.
const RENEWALS: u32 = 3;

/// What the metadata service says of an interruption.
#[derive(Debug, Deserialize)]
struct Notice {
    time: Option<String>,
}

/// Never ends by itself: a steward that does is replaced, and a machine that cannot have one is lost otherwise.
pub(super) async fn keep(session: &ssh::Session, tenancy: Tenancy, python: &str, teller: &Teller) -> Infallible {
    loop {
        // The connection's end is noticed where the work is done.
        serve(session, tenancy, python, teller).await.ok();
        sleep(PAUSE).await;
    }
}

async fn serve(session: &ssh::Session, tenancy: Tenancy, python: &str, teller: &Teller) -> Result<(), ssh::ChildError> {
    let source = shlex::try_quote(templates::STEWARD).expect("the source has no NUL");
    let command = format!("exec {} -IS -c {source} {} 2>/dev/null", text::quoted(python), tenancy.file);
    let mut steward = session.exec(&command).await?;
    let mut due = interval(tenancy.lease / RENEWALS);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let renewal = format!("{}\n", tenancy.lease.as_secs());
    let mut said = BytesMut::new();
    loop {
        tokio::select! {
            _ = due.tick() => steward.stdin.write(renewal.clone()).await?,
            bytes = steward.stdout.next() => match bytes {
                Some(bytes) => {
                    said.extend_from_slice(&bytes);
                    while let Some(end) = said.iter().position(|&byte| byte == b'\n') {
                        let line = said.split_to(end + 1);
                        if let Ok(notice) = serde_json::from_slice::<Notice>(&line) {
                            teller.tell(Event::Leaving { within: notice.within() }).await;
                        }
                    }
                }
                None => return Ok(()),
            },
        }
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
