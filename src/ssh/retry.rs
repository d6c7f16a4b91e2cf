//! Connecting to a machine that may not be ready yet, or sheds load.
//!
//! Tries again after what may pass by itself, with growing, jittered pauses, up to a deadline. A wrong host key or a
//! rejected key is never tried again.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{ConnectError, ConnectFailure, Endpoint, Session, Stage};

/// When to try again, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// No attempt goes on beyond this.
    pub within: Duration,
    /// The longest first pause; each further one may be twice as long.
    pub first: Duration,
    pub longest: Duration,
}

impl Retry {
    pub fn within(within: Duration) -> Self {
        Self { within, first: Duration::from_millis(200), longest: Duration::from_secs(3) }
    }
}

/// Connects, trying again while the failure may pass by itself.
pub async fn connect_with_retry(endpoint: &Endpoint, retry: Retry) -> Result<Session, ConnectError> {
    let deadline = Instant::now() + retry.within;
    let mut pause = retry.first;
    let mut last = None;
    loop {
        match timeout_at(deadline, Session::connect(endpoint)).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) if error.is_transient() => {
                let wait = pause.mul_f64(rand::random_range(0.5..1.0));
                if Instant::now() + wait >= deadline {
                    return Err(error);
                }
                last = Some(error);
                sleep(wait).await;
                pause = (pause * 2).min(retry.longest);
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                return Err(last.unwrap_or_else(|| ConnectError {
                    endpoint: endpoint.label.clone(),
                    failure: ConnectFailure::Timeout { stage: Stage::Connect, after: retry.within },
                }));
            }
        }
    }
}
