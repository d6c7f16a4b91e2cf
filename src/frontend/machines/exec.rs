//! `cloudist exec`: a command in the project's directory on a machine, with the run's environment.

use super::{
    args::ExecArgs,
    broken, channel, connect, find, look,
    remote::{self, Begin},
    shell,
};
use crate::{frontend::failure::Failure, registry::Place};

pub async fn exec(args: ExecArgs) -> Result<u8, Failure> {
    let runs = look()?;
    let place = find(&runs, args.machine.as_deref())?;
    // One word with white space in it is a shell's business, as with ssh.
    let words = match args.command.as_slice() {
        [line] if line.contains(char::is_whitespace) => vec!["sh".into(), "-c".into(), line.clone()],
        words => words.to_vec(),
    };
    run(place, &words, args.tty).await
}

/// Runs a command there to its end, on a terminal that is joined to the one here or with streams of its own.
pub async fn run(place: Place<'_>, words: &[String], terminal: bool) -> Result<u8, Failure> {
    let session = connect(place).await?;
    let begin = Begin::Command { words, announced: !terminal };
    let line = remote::line(&place.live.info, place.machine, &begin);
    let result = if terminal {
        shell::on_terminal(&session, &line, None).await
    } else {
        match session.exec(&line).await {
            Ok(child) => channel::join(&session, child).await,
            Err(error) => Err(broken(error)),
        }
    };
    session.disconnect().await;
    result
}
