//! `cloudist ssh-run`: a command on every worker, its output here.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task,
};

use super::{
    args::SshRunArgs,
    bridge, config,
    failure::{Failure, exit_code},
    init::project_root,
    interpreter, pytest, recording, remains,
    remember::CommandEntry,
    screen, travel,
};
use crate::{
    machine::Signal,
    plan::View,
    run::{
        Ground, Listener, RunError, Watch,
        command::{CommandEnding, CommandOutput, CommandPlan, CommandRun, CommandWish, Stdin, Stream},
        prepare,
    },
};

pub const EXAMPLES: &str = "\
Examples:
  cloudist ssh-run -- python -m build
  cloudist ssh-run -n 4 -- sh -c 'echo shard $CLOUDIST_WORKER_INDEX of $CLOUDIST_NUM_WORKERS'
  cloudist ssh-run --fetch 'htmlcov/**' --fetch-to out -- make coverage
  cat data.csv | cloudist ssh-run --hosts big -- python train.py > model.bin

Exit status: that of COMMAND, or 128 plus the number of the signal that ended it; with several
workers the first that is not 0, by worker number; 90 to 97 as `cloudist --help` tells; 130 after
Ctrl-C.";

/// Pieces of output that may wait for a slow terminal or pipe.
const OUTPUT_WAITING: usize = 64;

/// Pieces of input that may wait for the command.
const INPUT_WAITING: usize = 16;

pub fn ssh_run(args: SshRunArgs) -> Result<u8, Failure> {
    let runtime = bridge::runtime()?;
    let mut view = screen::Screen::default();
    let result = runtime.block_on(bridge::to_the_end(run(args, &mut view)));
    view.close();
    // A read of the terminal can't be cancelled; it must not keep the process alive.
    runtime.shutdown_background();
    result
}

async fn run(args: SshRunArgs, view: &mut screen::Screen) -> Result<u8, Failure> {
    let cwd = pytest::current_dir()?;
    let mut settings = config::settings(args.run.0, "--", &cwd)?;
    // Commands write files: each worker has a directory of its own where that costs nothing.
    settings.local_machines = settings.local_machines.or(Some(settings.num_workers));
    let python = interpreter::find(args.local_python.as_deref())?;
    let variables = travel::variables(&settings)?;
    let asked = variables.asked.clone();
    view.take(&settings, screen::Writers::ThisAndBelow);
    let mut fleet = bridge::launch(&settings, &python)?;
    fleet.watched_by(view.watch());
    recording::begin(&mut fleet, &settings, &args.command);
    let listener = fleet.recorder().listener();
    let history = CommandEntry::begin(&project_root(&cwd), &settings, &args.command, fleet.run());

    let ground = {
        let (python, cwd, settings) = (python, cwd.clone(), settings.clone());
        move || -> Result<Ground, Failure> {
            let known = interpreter::probe(&python, &cwd)?;
            let rootdir = project_root(&cwd);
            Ok(Ground {
                environment: bridge::environment_wish(&settings, &python, &rootdir, &cwd),
                rootdir,
                cwd,
                sys_path: known.sys_path.iter().map(PathBuf::from).collect(),
                further: known.roots.iter().map(PathBuf::from).collect(),
                extra_files: settings.extra_files.clone(),
                limit: settings.snapshot_limit.as_u64(),
                init_command: settings.init_command.clone(),
                variables,
                carries: true,
                python: settings.python.clone(),
                session: None,
            })
        }
    };
    let preparing = task::spawn_blocking(move || {
        let ground = ground().map_err(|failure| RunError::Interpreter { message: failure.message })?;
        prepare(&ground)
    });
    let (output, mut shown) = mpsc::channel(OUTPUT_WAITING);
    let (wish_sender, wishes) = mpsc::channel(INPUT_WAITING);
    let (stdin_sender, stdin_pieces) = mpsc::channel(INPUT_WAITING);
    let stdin = if settings.num_workers == 1 { Stdin::PassedOn } else { Stdin::Empty };
    let plan = CommandPlan {
        argv: argv(&args.command),
        workers: settings.num_workers,
        variables: asked,
        stdin,
        fetch: args.fetch.clone(),
        keep_on_failure: settings.keep_on_failure,
    };
    if settings.view == View::Tui {
        let read = stdin == Stdin::PassedOn && io::stdin().is_terminal();
        let entered = view.enter(read.then_some("the command may read the terminal; with several workers it does not"));
        if let Err(reason) = entered {
            recording::say(&listener, &format!("cloudist: {reason}"));
        }
    }
    if stdin == Stdin::PassedOn {
        pump_stdin(stdin_sender);
    }
    let watcher = task::spawn(watch_signals(wish_sender, view.watch())?);
    let several = settings.num_workers > 1;
    let mut screen = Screen::new(several, args.fetch_to.clone(), args.timings, listener.clone());
    let showing = task::spawn_blocking(move || {
        while let Some(output) = shown.blocking_recv() {
            screen.show(output)?;
        }
        screen.finish()
    });
    let ending = CommandRun::new(plan, &mut fleet, output).drive(preparing, wishes, stdin_pieces).boxed_local().await;
    view.leave();
    let bill = fleet.bill().filter(|bill| bill.machines > 0);
    let machines = fleet.machines();
    let recorder = recording::end_command(&mut fleet, &ending, bill.as_ref());
    remains::tell(fleet.finish().await, &listener);
    watcher.abort();
    let shown = showing.await.map_err(|error| Failure::new(exit_code::INTERNAL, error.to_string()))?;
    if let Some(bill) = &bill {
        recording::say(&listener, &bill.to_string());
    }
    if let Some(trouble) = history.close(&ending, machines, bill.as_ref()).await {
        recording::say(&listener, &format!("cloudist: {trouble}"));
    }
    let (recorder, about_report) = recording::report_on(recorder).await;
    if let Some(line) = about_report {
        recording::say(&listener, &line);
    }
    let result = outcome(ending, shown);
    if let Err(failure) = &result {
        // Said by whoever called.
        listener.printed(2, (failure.text() + "\n").into());
    }
    recording::close(recorder).await;
    result
}

fn outcome(ending: Result<CommandEnding, RunError>, shown: io::Result<()>) -> Result<u8, Failure> {
    let ending = ending?;
    shown.or_else(|error| match error.kind() {
        // Whoever read our output has had enough, as with `| head`.
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::new(exit_code::INTERNAL, format!("failed to write the output: {error}"))),
    })?;
    status(&ending)
}

/// One word with white space in it is a shell's business, as with ssh.
fn argv(command: &[String]) -> Vec<String> {
    match command {
        [line] if line.contains(char::is_whitespace) => vec!["sh".into(), "-c".into(), line.clone()],
        words => words.to_vec(),
    }
}

fn status(ending: &CommandEnding) -> Result<u8, Failure> {
    if ending.unheard {
        return Ok(exit_code::BROKEN_PIPE);
    }
    match ending.interrupted {
        Some(Signal::Interrupt) => return Ok(exit_code::INTERRUPTED),
        Some(_) => return Ok(exit_code::TERMINATED),
        None => {}
    }
    let first = ending.statuses.values().copied().find(|&status| status != 0);
    match first {
        Some(status) if status < 0 => Ok(u8::try_from(128 - status).unwrap_or(exit_code::INTERNAL)),
        Some(status) => Ok(u8::try_from(status).unwrap_or(exit_code::INTERNAL)),
        None if ending.lost > 0 => {
            let message = format!("{} of the workers lost their machine before the command had ended", ending.lost);
            Err(Failure::new(exit_code::NO_MACHINE, message))
        }
        None => Ok(0),
    }
}

/// Reads stdin on a thread of its own: a terminal can't be read in any other way.
fn pump_stdin(sender: mpsc::Sender<Bytes>) {
    task::spawn_blocking(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    if sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                        return;
                    }
                }
            }
        }
    });
}

fn watch_signals(sender: mpsc::Sender<CommandWish>, watch: Watch) -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error: io::Error| Failure::new(exit_code::INTERNAL, format!("failed to watch for signals: {error}"));
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangups = signal(SignalKind::hangup()).map_err(failed)?;
    Ok(async move {
        loop {
            let message = tokio::select! {
                _ = interrupts.recv() => CommandWish::Interrupt,
                _ = terminations.recv() => CommandWish::Terminate,
                _ = hangups.recv() => CommandWish::Terminate,
            };
            watch.end();
            if sender.send(message).await.is_err() {
                return;
            }
        }
    })
}

/// Where output goes: byte for byte from one worker, by prefixed lines from several.
struct Screen {
    several: bool,
    lines: BTreeMap<(u32, u8), BytesMut>,
    fetch_to: PathBuf,
    fetched: BTreeMap<u32, usize>,
    timings: bool,
    listener: Listener,
}

impl Screen {
    fn new(several: bool, fetch_to: PathBuf, timings: bool, listener: Listener) -> Self {
        Self { several, lines: BTreeMap::new(), fetch_to, fetched: BTreeMap::new(), timings, listener }
    }

    fn show(&mut self, output: CommandOutput) -> io::Result<()> {
        match output {
            CommandOutput::Bytes { stream, data, .. } if !self.several => self.write(stream, data),
            CommandOutput::Bytes { worker, stream, data } => self.show_lines(worker, stream, &data),
            CommandOutput::File { worker, path, mode, offset, data, last } => {
                if last {
                    *self.fetched.entry(worker).or_default() += 1;
                }
                self.keep(worker, &path, mode, offset, &data)
            }
            CommandOutput::Note(text) => self.write(Stream::Stderr, format!("cloudist: {text}\n").into()),
            CommandOutput::Timings { machine, timings } if self.timings => {
                self.write(Stream::Stderr, format!("cloudist: {machine}: {timings}\n").into())
            }
            CommandOutput::Timings { .. } => Ok(()),
            CommandOutput::Exited { worker, status } if self.several && status != 0 => {
                self.flush_worker(worker)?;
                let how = crate::machine::ExitText(status);
                self.write(Stream::Stderr, format!("cloudist: worker {worker} ended with {how}\n").into())
            }
            CommandOutput::Exited { worker, .. } => self.flush_worker(worker),
        }
    }

    fn show_lines(&mut self, worker: u32, stream: Stream, data: &[u8]) -> io::Result<()> {
        let waiting = self.lines.entry((worker, stream as u8)).or_default();
        waiting.extend_from_slice(data);
        let mut out = Vec::new();
        while let Some(end) = waiting.iter().position(|&byte| byte == b'\n') {
            prefix(&mut out, worker);
            out.extend_from_slice(&waiting.split_to(end + 1));
        }
        self.write(stream, out.into())
    }

    fn write(&self, stream: Stream, data: Bytes) -> io::Result<()> {
        write_to(stream, &data)?;
        self.listener.printed(stream as u8, data);
        Ok(())
    }

    /// A last line without its end is shown all the same.
    fn flush_worker(&mut self, worker: u32) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(rest) = self.lines.remove(&(worker, stream as u8)).filter(|rest| !rest.is_empty()) {
                let mut out = Vec::new();
                prefix(&mut out, worker);
                out.extend_from_slice(&rest);
                out.push(b'\n');
                self.write(stream, out.into())?;
            }
        }
        Ok(())
    }

    fn keep(&self, worker: u32, path: &str, mode: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let relative = Path::new(path);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a machine sent a file named {path:?}")));
        }
        let path = self.fetch_to.join(format!("worker-{worker}")).join(relative);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(named)?;
        }
        let mut file = if offset == 0 {
            fs::File::create(&path).map_err(named)?
        } else {
            fs::OpenOptions::new().append(true).open(&path).map_err(named)?
        };
        file.write_all(data).map_err(named)?;
        file.set_permissions(fs::Permissions::from_mode(mode & 0o777)).map_err(named)
    }

    fn finish(&mut self) -> io::Result<()> {
        let workers: Vec<u32> = self.lines.keys().map(|(worker, _)| *worker).collect();
        for worker in workers {
            self.flush_worker(worker)?;
        }
        let files: usize = self.fetched.values().sum();
        if files > 0 && io::stderr().is_terminal() {
            let into = self.fetch_to.display();
            recording::say(&self.listener, &format!("cloudist: {files} files fetched into {into}"));
        }
        Ok(())
    }
}

fn prefix(out: &mut Vec<u8>, worker: u32) {
    out.extend_from_slice(format!("[{worker}] ").as_bytes());
}

fn write_to(stream: Stream, data: &[u8]) -> io::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    match stream {
        Stream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(data)?;
            out.flush()
        }
        Stream::Stderr => io::stderr().lock().write_all(data),
    }
}
