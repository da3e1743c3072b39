//! The Debian packages that the tests with real programs need: named in `interop/packages.txt`, installed when we may.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::steps::have;
use crate::tree;

/// One package a line; `#` begins a remark.
const LIST: &str = "interop/packages.txt";

/// Installs what is missing. When it cannot, says what a person must install; the tests that need it will say so too.
pub fn run(top: &Path) -> Result<Option<String>, String> {
    let list = tree::read(top, LIST)?;
    let named = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|name| !name.is_empty());
    if !have(&["dpkg-query", "--version"]) {
        return Ok(Some(format!("this is no Debian system; have what {LIST} names")));
    }
    let missing: Vec<&str> = named.filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        println!("packages: all installed");
        return Ok(None);
    }
    let install = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !is_root() {
        return Ok(Some(format!("not root; run: {install}")));
    }
    println!("$ {install}");
    // An old list of packages names files that are gone.
    apt(&["update", "--quiet"])?;
    let mut arguments = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    arguments.extend(missing);
    apt(&arguments)?;
    Ok(None)
}

fn installed(name: &str) -> bool {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", name])
        .output();
    output.is_ok_and(|output| output.stdout == b"installed")
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("apt-get: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("apt-get {}: {status}", arguments.join(" ")))
    }
}
