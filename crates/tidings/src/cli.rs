//! The command line: what is asked for, and what each command prints.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tidings_node::Clock;
use tidings_wire::time::rfc3339;

use crate::config::{Config, ConfigErrors, Sources, document, log};
use crate::conformance::{self, ConformanceArgs};
use crate::greeting::say;
use crate::listener::tls::{End, Tls};
use crate::namespaces::{self, NamespaceArgs};
use crate::token::{self, TokenArgs};
use crate::{doctor, keep, run};

/// Tidings: a push server. Without a command, `serve`.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, args_conflicts_with_subcommands = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Measure a server, beside the floor
    Bench(Box<tidings_bench::Args>),
    /// Run what the public protocol suites expect: echoes and a Socket.IO application, nothing else
    Conformance(ConformanceArgs),
    /// Look at the limits, the kernel and the disk, and say what to change and how
    Doctor(DoctorArgs),
    /// Copy the store, of a running server too, into a directory that `serve --store` opens
    Backup(BackupArgs),
    /// Write the store, of a running server too, as text: one JSON object for each line
    Export(ExportArgs),
    /// Make a store of what `export` wrote
    Import(ImportArgs),
    /// Have a running server send its clients away and end, as SIGTERM does
    Drain(DrainArgs),
    /// Make, list, show, change, suspend, clear and delete namespaces of a server that runs
    Namespace(NamespaceArgs),
    /// Mint a token for a client of a server that runs
    Token(TokenArgs),
    /// Look for errors in the configuration, and start nothing
    CheckConfig(ServeArgs),
    /// Print a commented configuration file with every default
    DefaultConfig,
    /// Print the version
    Version,
}

/// Where the store is.
#[derive(Debug, Args)]
struct StoreArgs {
    /// The configuration file [default: tidings.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory that everything is kept in
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
}

impl StoreArgs {
    fn load(self) -> Result<Config, ConfigErrors> {
        ServeArgs { config: self.config, store: self.store, ..ServeArgs::default() }.load()
    }
}

#[derive(Debug, Args)]
struct BackupArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// A directory that is empty or not there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct DrainArgs {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The file to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ImportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The file to read; `-` is standard input
    #[arg(long = "in", value_name = "FILE")]
    from: PathBuf,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// How many connections of clients there are to be
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    connections: u64,
    /// For programs: one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Default, Args)]
struct ServeArgs {
    /// For development: a namespace `demo` that accepts any client, and a demo page
    #[arg(long)]
    dev: bool,
    /// The configuration file [default: tidings.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The directory that everything is kept in
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
    /// How long a connection may be silent before it is pinged
    #[arg(long, value_name = "DURATION")]
    ping_interval: Option<String>,
    /// How long a ping may stay without an answer
    #[arg(long, value_name = "DURATION")]
    ping_timeout: Option<String>,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl ServeArgs {
    fn load(self) -> Result<Config, ConfigErrors> {
        Config::load(self.sources())
    }

    fn sources(self) -> Sources {
        let flags = [
            ("server.listen", self.listen),
            ("store.path", self.store),
            ("clients.ping_interval", self.ping_interval),
            ("clients.ping_timeout", self.ping_timeout),
            ("log.level", self.log),
        ];
        // What is not UTF-8 cannot be a value of ours, and must not stop us.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Sources {
            file: self.config,
            environment,
            flags: flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
        }
    }
}

/// Does what the command line asks for.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve(args),
        Command::Bench(args) => tidings_bench::run(*args),
        Command::Conformance(args) => ended(conformance::serve(&args)),
        Command::Doctor(args) => doctor::run(args.serve.load(), args.connections, args.json),
        Command::Backup(args) => kept(args.store, |config| keep::back_up(config, &args.out)),
        Command::Drain(args) => kept(args.store, keep::drain),
        Command::Export(args) => kept(args.store, |config| keep::export(config, &args.out)),
        Command::Import(args) => kept(args.store, |config| keep::import(config, &args.from)),
        Command::Namespace(args) => ended(namespaces::run(args)),
        Command::Token(args) => ended(token::run(args)),
        Command::CheckConfig(args) => check(args),
        Command::DefaultConfig => printed(&document::default_file()),
        Command::Version => {
            let commit = run::COMMIT.map(|it| format!(" ({it})")).unwrap_or_default();
            printed(&format!("tidings {}{commit}\n", run::VERSION))
        }
    }
}

fn serve(args: ServeArgs) -> ExitCode {
    let dev = args.dev;
    let sources = args.sources();
    let config = match Config::load(sources.clone()) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    let (level, writing) = log::start(&config.log);
    let outcome = run::serve(config, run::Again { sources, level }, &writing, dev);
    // Why it ends comes behind what led to it.
    drop(writing);
    ended(outcome)
}

fn kept(args: StoreArgs, work: impl FnOnce(&Config) -> Result<(), keep::KeepError>) -> ExitCode {
    match args.load() {
        Ok(config) => ended(work(&config)),
        Err(errors) => refuse(&errors),
    }
}

fn ended<E: Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&format!("tidings: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn check(args: ServeArgs) -> ExitCode {
    match args.load() {
        Ok(config) => {
            // What a start reads as well.
            let wrong = match config.server.tls.clone().map(|files| (files.cert.clone(), Tls::read(files))) {
                Some((_, Err(why))) => Some(why.to_string()),
                Some((cert, Ok(tls))) => ended_at(&cert, tls.end(Clock::System.now())),
                None => None,
            };
            if let Some(why) = wrong {
                complain(&format!("configuration: server.tls: {why}"));
                return ExitCode::FAILURE;
            }
            let file = config.file.map_or("defaults, no file".to_owned(), |file| file.display().to_string());
            printed(&format!("the configuration is good ({file})\n"))
        }
        Err(errors) => refuse(&errors),
    }
}

/// What is wrong with a certificate that can be read.
fn ended_at(cert: &Path, end: End) -> Option<String> {
    let End::Over(at) = end else { return None };
    Some(format!(
        "the certificate in {} ended at {}, and clients refuse it; set server.tls.cert and server.tls.key to one that is valid",
        cert.display(),
        rfc3339(at.0)
    ))
}

fn printed(text: &str) -> ExitCode {
    ended(say(text).map_err(|why| format!("standard output cannot be written to: {why}")))
}

fn refuse(errors: &ConfigErrors) -> ExitCode {
    complain(&errors.to_string());
    ExitCode::FAILURE
}

/// Says on standard error what is wrong. Where nobody hears it, the exit code has to do.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        for flags in [&["tidings", "--dev"][..], &["tidings", "serve", "--dev", "--listen", "127.0.0.1:0"]] {
            let cli = Cli::try_parse_from(flags).unwrap();
            let serve = match cli.command {
                Some(Command::Serve(args)) => args,
                _ => cli.serve,
            };
            assert!(serve.dev);
        }
        assert!(Cli::try_parse_from(["tidings", "--dev", "version"]).is_err());
    }
}
