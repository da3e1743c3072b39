//! `cargo xtask fuzz`: runs the targets of `fuzz/` one after the other, for a time.
//!
//! Their seeds are replayed by `cargo test` as well, without any of this.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::steps::have;
use crate::tree;

/// Runs each target, or those named, for so many minutes.
pub fn run(top: &Path, minutes: u64, only: &[String]) -> Result<(), String> {
    let targets = targets(top)?;
    if let Some(unknown) = only.iter().find(|name| !targets.contains(name)) {
        return Err(format!(
            "there is no target `{unknown}`; the targets: {}",
            targets.join(" ")
        ));
    }
    prepare(top)?;
    for target in targets
        .iter()
        .filter(|name| only.is_empty() || only.contains(name))
    {
        println!("\n=== fuzz {target}: {minutes} min");
        let found = top.join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
        let mut fuzz = Command::new("rustup");
        fuzz.args([
            "run",
            "nightly",
            "cargo",
            "fuzz",
            "run",
            "--fuzz-dir",
            "fuzz",
            target,
        ]);
        fuzz.args([
            &format!("fuzz/corpus/{target}"),
            &format!("fuzz/corpus-seeds/{target}"),
            "--",
        ]);
        fuzz.args([
            &format!("-max_total_time={}", minutes * 60),
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-max_len=8192",
        ]);
        call(top, fuzz)
            .map_err(|why| format!("{target}: {why}; the input lies below fuzz/artifacts/{target}"))?;
    }
    Ok(())
}

fn targets(top: &Path) -> Result<Vec<String>, String> {
    let files = tree::files(top)?;
    let named = files
        .iter()
        .filter_map(|path| path.strip_prefix("fuzz/fuzz_targets/")?.strip_suffix(".rs"));
    Ok(named.map(str::to_owned).collect())
}

/// The nightly compiler and cargo-fuzz, installed if they are missing.
fn prepare(top: &Path) -> Result<(), String> {
    if !have(&["rustup", "run", "nightly", "rustc", "--version"]) {
        let mut install = Command::new("rustup");
        install.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        call(top, install)?;
    }
    if !have(&["cargo", "fuzz", "--version"]) {
        let mut install = Command::new("cargo");
        install.args(["install", "--locked", "cargo-fuzz"]);
        call(top, install)?;
    }
    Ok(())
}

fn call(top: &Path, mut command: Command) -> Result<(), String> {
    let status = command
        .current_dir(top)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| error.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(status.to_string())
    }
}
