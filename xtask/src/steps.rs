//! `cargo xtask test`: everything that CI runs, step after step, stopping at the first that fails.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{dependencies, requirements};

/// One step: its name, what it shows, and how it is done.
struct Step {
    name: &'static str,
    shows: &'static str,
    act: fn(&Path) -> Result<Done, String>,
}

/// How a step ended that did not fail.
enum Done {
    Passed,
    /// Not done, and why; printed again in the summary.
    Skipped(String),
}

const STEPS: [Step; 9] = [
    Step {
        name: "fmt",
        shows: "the formatting",
        act: |top| cargo(top, &["fmt", "--all", "--check"]),
    },
    Step {
        name: "clippy",
        shows: "clippy, warnings as errors",
        act: |top| {
            cargo(
                top,
                &[
                    "clippy",
                    "--locked",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ],
            )
        },
    },
    Step {
        name: "tests",
        shows: "unit, transcript, trust-table, crash, simulation, tidy, corpus and documentation tests",
        act: |top| cargo(top, &["test", "--locked", "--workspace", "--exclude", "interop"]),
    },
    Step {
        name: "docs",
        shows: "the documentation of the crates, warnings as errors",
        act: |top| {
            let mut command = Command::new("cargo");
            command
                .args([
                    "doc",
                    "--locked",
                    "--workspace",
                    "--no-deps",
                    "--document-private-items",
                ])
                .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links");
            run(top, command)
        },
    },
    Step {
        name: "requirements",
        shows: "each claim names a requirement; docs/requirements.md is what the tests say",
        act: |top| requirements::run(top, requirements::Report::Check).map(|()| Done::Passed),
    },
    Step {
        name: "dependencies",
        shows: "licences, banned crates, least versions",
        act: |top| dependencies::run(top).map(|()| Done::Passed),
    },
    Step {
        name: "advisories",
        shows: "known vulnerabilities in the dependencies",
        act: advisories,
    },
    Step {
        name: "release",
        shows: "the release build",
        act: |top| cargo(top, &["build", "--locked", "--release", "--package", "sealpost"]),
    },
    Step {
        name: "interop",
        shows: "real mail servers, clients and name servers (Debian packages, fetched if missing); the README's commands",
        act: |top| cargo(top, &["test", "--locked", "--release", "--package", "interop"]),
    },
];

/// The RustSec advisory database.
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

/// Runs all steps, or those named in `only`, in their order.
pub fn test(top: &Path, only: &[String]) -> Result<(), String> {
    if let Some(unknown) = only
        .iter()
        .find(|name| !STEPS.iter().any(|step| step.name == *name))
    {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(format!(
            "there is no step `{unknown}`; the steps: {}",
            known.join(" ")
        ));
    }
    let mut summary = Vec::new();
    for step in STEPS
        .iter()
        .filter(|step| only.is_empty() || only.iter().any(|name| name == step.name))
    {
        println!("\n=== {}: {}", step.name, step.shows);
        let begun = Instant::now();
        let done = (step.act)(top);
        let time = begun.elapsed();
        match done {
            Ok(Done::Passed) => summary.push(line(step.name, time, "passed")),
            Ok(Done::Skipped(why)) => {
                println!("{}: NOT DONE: {why}", step.name);
                summary.push(line(step.name, time, &format!("NOT DONE: {why}")));
            }
            Err(why) => {
                summary.push(line(step.name, time, "FAILED"));
                print_summary(&summary);
                return Err(format!("the step `{}` failed: {why}", step.name));
            }
        }
    }
    print_summary(&summary);
    Ok(())
}

fn print_summary(lines: &[String]) {
    println!("\n=== summary");
    lines.iter().for_each(|line| println!("{line}"));
}

fn line(name: &str, time: Duration, end: &str) -> String {
    format!("{name:<13} {:>6.1} s  {end}", time.as_secs_f32())
}

fn cargo(top: &Path, arguments: &[&str]) -> Result<Done, String> {
    let mut command = Command::new("cargo");
    command.args(arguments);
    run(top, command)
}

fn run(top: &Path, mut command: Command) -> Result<Done, String> {
    let shown = shown(&command);
    println!("$ {shown}");
    let status = command
        .current_dir(top)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("{shown}: {error}"))?;
    if status.success() {
        Ok(Done::Passed)
    } else {
        Err(format!("`{shown}`: {status}"))
    }
}

/// A command as it would be typed.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The advisory check needs a database from the network and a tool; without the first it is not done, and says so.
fn advisories(top: &Path) -> Result<Done, String> {
    let asked = Command::new("timeout")
        .args(["20", "git", "ls-remote", "--exit-code", ADVISORIES, "HEAD"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !asked.is_ok_and(|status| status.success()) {
        return Ok(Done::Skipped(format!(
            "the database {ADVISORIES} cannot be reached from here"
        )));
    }
    if !have(&["cargo", "audit", "--version"]) {
        cargo(top, &["install", "--locked", "cargo-audit"])?;
    }
    cargo(top, &["audit", "--deny", "warnings"])
}

/// Whether a command can be run.
pub(crate) fn have(command: &[&str]) -> bool {
    let status = Command::new(command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
