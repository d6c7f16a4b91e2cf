//! What the local pytest is told of a run as a whole: its plan, whether there is a view of it, and how it ended.

use super::{bridge::provider_of, failure::Failure, line::Line, screen::Screen};
use crate::{
    plan::{ProviderKind, Settings, View},
    protocol::bridge::{EndStatus, Hello, Level, ToPlugin},
    provider::Bill,
    run::tests::Ending,
};

/// What is about to happen.
pub fn plan(run: &str, settings: &Settings) -> ToPlugin {
    let workers = settings.num_workers;
    let noun = if workers == 1 { "worker" } else { "workers" };
    ToPlugin::Plan {
        run: run.into(),
        provider: provider_of(settings).to_string(),
        mode: settings.mode.to_string(),
        workers,
        line: format!("{workers} {noun} on {}, mode {}", provider_of(settings), settings.mode),
    }
}

/// How it ended.
pub fn end(result: Result<(Ending, ProviderKind), Failure>, bill: Option<Bill>) -> ToPlugin {
    let (status, summary) = match result {
        Ok((Ending::Done(summary), provider)) => (EndStatus::Done, Some((summary, provider))),
        Ok((Ending::Stopped(summary), provider)) => (EndStatus::Stopped, Some((summary, provider))),
        Ok((Ending::Abandoned, _)) => (EndStatus::Stopped, None),
        Err(failure) => {
            return ToPlugin::End {
                status: EndStatus::Failed,
                message: failure.message,
                help: failure.help,
                exit_code: i32::from(failure.exit_code),
                summary: serde_json::Value::Null,
            };
        }
    };
    let summary = match summary {
        Some((summary, provider)) => serde_json::json!({
            "tests": summary.tests,
            "workers": summary.workers,
            "machines": summary.machines,
            "seconds": summary.seconds,
            "provider": provider.to_string(),
            "bill": bill.map(|bill| bill.to_string()),
        }),
        None => serde_json::Value::Null,
    };
    ToPlugin::End { status, message: String::new(), help: None, exit_code: 0, summary }
}

/// Shows the view of the run, if one is wanted. With `cloudist pytest` the terminal is taken by now, else pytest is to leave it.
pub async fn show(line: &mut Line, hello: &Hello, settings: &Settings, screen: &mut Screen) {
    if settings.view != View::Tui {
        return;
    }
    let objection = hello.unviewable.as_deref();
    let shown = if screen.awaits_writers() {
        let invitation = screen.invite(objection);
        if let Ok(invitation) = &invitation {
            line.tell(invitation).await;
        }
        invitation.map(drop)
    } else {
        screen.enter(objection)
    };
    if let Err(text) = shown {
        line.tell(&ToPlugin::Note { level: Level::Info, text, help: None }).await;
    }
}
