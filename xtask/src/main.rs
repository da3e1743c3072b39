//! The commands that build, check and measure Sealpost: `cargo xtask COMMAND`.

use std::process::ExitCode;

use xtask::requirements::Report;
use xtask::{dependencies, fuzz, picture, requirements, steps, tidy, tree};

const USAGE: &str = "cargo xtask test [STEP…]               everything CI runs, or the named steps
cargo xtask requirements [--check]     write docs/requirements.md, or fail if it is stale
cargo xtask tidy                       what must hold for the source as a whole
cargo xtask dependencies               licences and banned crates
cargo xtask fuzz [--minutes N] [NAME…] run the fuzz targets, each for N minutes (1)
cargo xtask picture                    draw docs/session.svg from a run of the README's start";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match command(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn command(arguments: &[String]) -> Result<(), String> {
    let top = tree::top();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test", ..] => steps::test(&top, &arguments[1..]),
        ["requirements"] => requirements::run(&top, Report::Write),
        ["requirements", "--check"] => requirements::run(&top, Report::Check),
        ["tidy"] => match tidy::faults(&top)? {
            faults if faults.is_empty() => Ok(()),
            faults => Err(faults.join("\n")),
        },
        ["dependencies"] => dependencies::run(&top),
        ["fuzz", "--minutes", minutes, ..] => match minutes.parse() {
            Ok(minutes) => fuzz::run(&top, minutes, &arguments[3..]),
            Err(_) => Err(format!("--minutes takes a number, not `{minutes}`")),
        },
        ["picture"] => picture::run(&top),
        ["fuzz", ..] => fuzz::run(&top, 1, &arguments[1..]),
        _ => Err(format!("no such command\n{USAGE}")),
    }
}
