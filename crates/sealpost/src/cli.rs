//! The commands. Each asks the running server over the control interface and prints its answer, for people or as JSON;
//! `serve` and `config` are the only ones that need no server.
//!
//! Owns words and switches; reaches nothing but control.

pub mod mail;
pub mod queue;
pub mod ledger;
mod explain;
mod check;
mod dns;
pub mod evidence;
pub mod alarm;
mod config;
mod page;
mod here;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::control::Status;
use crate::control::client::{Client, NoAnswer};
use crate::real::clock::SystemClock;
use crate::sendmail::switches::{Mode, Switches};
use crate::sendmail::{self, NotAccepted};

/// A mail server for people who must know that their mail travelled under lock.
#[derive(Parser, Debug)]
#[command(name = "sealpost", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(subcommand)]
    command: Command,
}

/// Where the server is.
#[derive(Args, Clone, Debug, Default)]
struct PlaceArgs {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server's data folder, for the commands that talk to it.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The server's control socket, for the commands that talk to it.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the server. Without a configuration: on loopback, for any domain, and nothing leaves the machine.
    Serve,
    /// Read the messages that were delivered here.
    #[command(subcommand)]
    Mail(mail::Command),
    /// See and steer what waits to go out.
    #[command(subcommand)]
    Queue(queue::Command),
    /// Say why mail for an address or domain would go as it would now, or how a message went.
    Explain(explain::Command),
    /// Look at a domain from outside: what is published, what its hosts show, what to mend.
    Check(check::Command),
    /// Print every record that the domains served here should publish.
    Dns(dns::Command),
    /// How messages went, and the proof of it.
    #[command(subcommand)]
    Evidence(evidence::Command),
    /// What is wrong with other hosts at this moment.
    #[command(subcommand)]
    Alarm(alarm::Command),
    /// See and steer what is remembered of peers.
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Check the configuration, or show it as understood.
    #[command(subcommand)]
    Config(config::Command),
    /// How the server is doing.
    Status(Format),
    /// Let the server read its configuration anew.
    Reload(Format),
    /// Hand in a message as `sendmail` does: -t -i -f ADDRESS -F NAME -bs -bp -q …
    #[command(disable_help_flag = true)]
    Sendmail {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// How an answer is printed.
#[derive(Args, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Format {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why a command failed; one line.
#[derive(Debug)]
pub enum Failed {
    /// The server did not do it.
    NoAnswer(NoAnswer),
    /// The configuration is wrong.
    Config(ConfigError),
    /// The world of files and terminals.
    World(String, io::Error),
    /// Something else, in words.
    Words(String),
}

/// The program: reads the arguments and does what they say. `serve` runs the server with a configuration file.
pub fn run(serve: impl FnOnce(Option<&Path>) -> ExitCode) -> ExitCode {
    let mut words = std::env::args_os();
    let called = words.next().map(PathBuf::from).unwrap_or_default();
    match called.file_name().and_then(|name| name.to_str()) {
        Some("newaliases") => report(on_runtime(
            Command::Reload(Format::default()),
            &PlaceArgs::default(),
        )),
        Some("sendmail") => run_sendmail(&texts(words), PlaceArgs::default()),
        Some("mailq") => run_sendmail(&["-bp".to_owned()], PlaceArgs::default()),
        _ => {
            let Cli { place, command } = Cli::parse();
            match command {
                Command::Serve => serve(place.config.as_deref()),
                Command::Sendmail { words } => run_sendmail(&words, place),
                asking @ (Command::Check(_) | Command::Dns(_)) => {
                    report_as(on_runtime(asking, &place), NOT_FOUND_OUT)
                }
                other => report(on_runtime(other, &place)),
            }
        }
    }
}

fn texts(words: std::env::ArgsOs) -> Vec<String> {
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

fn on_runtime(command: Command, place: &PlaceArgs) -> Result<ExitCode, Failed> {
    let runtime = runtime().map_err(|error| Failed::World("start".to_owned(), error))?;
    runtime.block_on(act(command, place))
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn act(command: Command, place: &PlaceArgs) -> Result<ExitCode, Failed> {
    let mut out = Out::stdout();
    let file = place.config.as_deref();
    match command {
        Command::Check(command) => check::act(command, file, &mut out).await,
        Command::Dns(command) => dns::act(command, file, &mut out).await,
        other => ask(other, place, &mut out).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn ask(command: Command, place: &PlaceArgs, out: &mut Out) -> Result<(), Failed> {
    match command {
        Command::Mail(command) => mail::act(command, &place.client()?, out).await,
        Command::Queue(command) => queue::act(command, &place.client()?, out).await,
        Command::Explain(command) => explain::act(command, &place.client()?, out).await,
        Command::Ledger(command) => ledger::act(command, &place.client()?, out).await,
        Command::Config(command) => config::act(&command, place.config.as_deref(), out),
        Command::Evidence(command) => evidence::act(command, || place.client(), out).await,
        Command::Alarm(command) => alarm::act(command, &place.client()?, out).await,
        Command::Status(format) => {
            let status: Status = place.client()?.get("/v1/status").await?;
            out.answer(format, &status, |out| print_status(out, &status))
        }
        Command::Reload(format) => {
            let done: crate::control::Reloaded =
                place.client()?.act(hyper::Method::POST, "/v1/reload").await?;
            out.answer(format, &done, |out| {
                writeln!(out, "the configuration is read anew; sessions go on")
            })
        }
        // Done elsewhere.
        Command::Serve | Command::Sendmail { .. } | Command::Check(_) | Command::Dns(_) => Ok(()),
    }
}

fn print_status(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    writeln!(out, "{} runs Sealpost {}", status.host, status.version)?;
    writeln!(
        out,
        "queue: {} messages, {}; recipients: {} waiting, {} being tried, {} held",
        status.messages,
        size(status.bytes),
        status.waiting,
        status.leased,
        status.held
    )
}

fn run_sendmail(words: &[String], place: PlaceArgs) -> ExitCode {
    let outcome = Switches::parse(words)
        .map_err(NotAccepted::usage)
        .and_then(|switches| {
            let runtime = runtime().map_err(|error| NotAccepted::usage(error.to_string()))?;
            let clients = place.submit_clients(switches.mode);
            let clients = clients.map_err(|why| NotAccepted::usage(why.to_string()))?;
            let user = sendmail::current_user();
            runtime.block_on(sendmail::run(
                &switches,
                &clients,
                &user,
                &SystemClock::new(),
                io::stdin(),
                &mut io::stdout(),
            ))
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("sendmail: {why}");
            ExitCode::from(why.exit as u8) // a code of sysexits.h
        }
    }
}

fn report(outcome: Result<ExitCode, Failed>) -> ExitCode {
    report_as(outcome, 1)
}

/// `failing` is the code of a command that failed.
fn report_as(outcome: Result<ExitCode, Failed>, failing: u8) -> ExitCode {
    match outcome {
        Ok(code) => code,
        // `sealpost mail list | head` is no failure.
        Err(Failed::World(_, error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("sealpost: {why}");
            ExitCode::from(failing)
        }
    }
}

impl PlaceArgs {
    /// The server to talk to: by `--socket`, `--data-dir`, `--config`, else `./sealpost-data`, else the one of the
    /// system's configuration file. What nobody named is used only where it is this user's own or root's.
    fn client(&self) -> Result<Client, Failed> {
        self.socket_path().map(Client::at)
    }

    fn socket_path(&self) -> Result<PathBuf, Failed> {
        let from_env = || std::env::var_os("SEALPOST_SOCKET").map(PathBuf::from);
        if let Some(socket) = self.socket.clone().or_else(from_env) {
            return Ok(socket);
        }
        if let Some(folder) = &self.data_dir {
            return Ok(crate::config::DataDir::new(folder).control_socket());
        }
        if let Some(file) = &self.config {
            return Ok(Config::load(file)?.server.data_dir.control_socket());
        }
        let here = Config::default_loopback().server.data_dir.control_socket();
        let system = Path::new(SYSTEM_CONFIG);
        match !here.exists() && system.exists() {
            true => Ok(Config::load(system)?.server.data_dir.control_socket()),
            false => here::trusted(&here).map(|()| here),
        }
    }

    /// The sockets through which mail can be handed in: the public one first, where it is enough.
    fn submit_clients(&self, mode: Mode) -> Result<Vec<Client>, Failed> {
        let mut sockets = Vec::new();
        let public =
            matches!(mode, Mode::Message | Mode::Session) && self.socket.is_none() && self.data_dir.is_none();
        if public {
            let file = self.config.as_deref().unwrap_or(Path::new(SYSTEM_CONFIG));
            // A configuration that this user may not read names no socket; the usual place may have one.
            sockets.extend(
                Config::load(file)
                    .ok()
                    .and_then(|config| config.control.submit_socket),
            );
            sockets.push(PathBuf::from(SYSTEM_SUBMIT_SOCKET));
        }
        match self.socket_path() {
            Ok(socket) => sockets.push(socket),
            // The public one may do.
            Err(_) if public => {}
            Err(why) => return Err(why),
        }
        let last = sockets.len().saturating_sub(1);
        let usable = sockets
            .into_iter()
            .enumerate()
            .filter(|(at, socket)| *at == last || socket.exists());
        Ok(usable.map(|(_, socket)| Client::at(socket)).collect())
    }
}

/// Where answers are printed.
pub struct Out {
    sink: Box<dyn Write>,
    colours: bool,
}

impl Out {
    /// Standard output; in colours where that is a terminal.
    fn stdout() -> Out {
        Out {
            colours: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            sink: Box::new(io::stdout()),
        }
    }

    /// Prints an answer as JSON, or as `print` does.
    fn answer<T: serde::Serialize>(
        &mut self,
        format: Format,
        value: &T,
        print: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failed> {
        let written = match format.json {
            true => serde_json::to_writer_pretty(&mut self.sink, value)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(self.sink)),
            false => print(&mut self.sink),
        };
        written
            .and_then(|()| self.sink.flush())
            .map_err(|error| Failed::World("write the answer".to_owned(), error))
    }

    /// Prints what is no answer for `--json`.
    fn print(&mut self, print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failed> {
        let written = print(&mut self.sink).and_then(|()| self.sink.flush());
        written.map_err(|error| Failed::World("write the answer".to_owned(), error))
    }

    /// Text that stands out on a terminal.
    fn bold(&self, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[1m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// A size as people read it.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        unit => format!("{value:.1} {unit}"),
    }
}

impl From<NoAnswer> for Failed {
    fn from(why: NoAnswer) -> Failed {
        Failed::NoAnswer(why)
    }
}

impl From<ConfigError> for Failed {
    fn from(why: ConfigError) -> Failed {
        Failed::Config(why)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failed::NoAnswer(why) => why.fmt(f),
            Failed::Config(why) => why.fmt(f),
            Failed::World(act, error) => write!(f, "cannot {act}: {error}"),
            Failed::Words(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Failed {}

/// The code of `check` and `dns` where nothing could be found out.
const NOT_FOUND_OUT: u8 = 2;
const SYSTEM_CONFIG: &str = "/etc/sealpost/sealpost.toml";
const SYSTEM_SUBMIT_SOCKET: &str = "/run/sealpost/submit.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn what_people_type_is_understood() {
        for line in [
            "serve",
            "serve --config x.toml",
            "mail list --json",
            "mail show 01ABC --json",
            "mail save 01ABC --to out",
            "queue list --destination x.example --older-than 4h --json",
            "queue show 01ABC",
            "queue retry 01ABC 01DEF",
            "queue hold --sender <> --reason why",
            "queue release --all",
            "queue return 01ABC",
            "queue delete 01ABC",
            "ledger list --domain a.example --json",
            "ledger show a.example",
            "ledger keep a.example --reason moved",
            "ledger relax mx.a.example --for 2d --reason moving --author ann",
            "ledger forget a.example --reason moved --json",
            "ledger export",
            "ledger import peers.jsonl",
            "config check --config x.toml",
            "config show --json",
            "status --json",
            "reload",
            "explain a@x.example --json",
            "explain 01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "explain x.example --requiretls",
            "check x.example --port 2525 --json",
            "dns",
            "dns x.example --check --json",
            "sendmail -t -i -f a@b -- c@d",
            "--data-dir d mail list",
        ] {
            let words = std::iter::once("sealpost").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in [
            "",
            "mail",
            "mail show",
            "mail save X",
            "queue return",
            "queue delete",
            "ledger relax a.example --for 2d",
            "ledger forget",
            "serv",
        ] {
            let words = std::iter::once("sealpost").chain(line.split(' ').filter(|word| !word.is_empty()));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn sizes_for_people() {
        assert_eq!(
            (size(0), size(1023), size(1536)),
            ("0 B".into(), "1023 B".into(), "1.5 KiB".into())
        );
        assert_eq!(size(3 << 30), "3.0 GiB");
    }
}
