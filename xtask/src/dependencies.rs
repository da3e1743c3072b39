//! What the linked libraries may be: their licences, and the ones that must not be there. Works from `cargo tree`
//! without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Licences that go with `Apache-2.0 OR MIT`, by their SPDX names. `X WITH exception` is as good as X.
const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must not be linked, and why.
const BANNED: [(&str, &str); 6] = [
    ("ring", "one cryptographic library: aws-lc-rs"),
    ("openssl-sys", "one TLS stack: rustls"),
    ("native-tls", "one TLS stack: rustls"),
    ("libsqlite3-sys", "no C but aws-lc"),
    ("async-std", "one runtime: tokio"),
    ("chrono", "one calendar: time"),
];

/// Older versions have known holes; these stand here because the advisory database cannot be reached everywhere.
const LEAST: [(&str, [u64; 3]); 2] = [("hickory-resolver", [0, 26, 2]), ("rustls-webpki", [0, 103, 13])];

/// A linked package.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

/// The command `cargo xtask dependencies`.
pub fn run(top: &Path) -> Result<(), String> {
    let output = Command::new("cargo")
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}\t{l}"])
        .current_dir(top)
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "cargo tree: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let packages = packages(&String::from_utf8_lossy(&output.stdout));
    println!(
        "dependencies: {} packages, banned ones and licences looked for",
        packages.len()
    );
    for (name, versions) in doubles(&packages) {
        println!(
            "dependencies: {name} is linked in several versions: {}",
            versions.join(", ")
        );
    }
    let faults = faults(&packages);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// Lines `name vVERSION (remarks)<TAB>licence (*)`.
fn packages(tree: &str) -> BTreeSet<Package> {
    let read = |line: &str| {
        let (package, licence) = line.split_once('\t')?;
        let mut words = package.split(' ');
        Some(Package {
            name: words.next()?.to_owned(),
            version: words.next()?.to_owned(),
            licence: licence.trim_end_matches("(*)").trim().to_owned(),
        })
    };
    tree.lines().filter_map(read).collect()
}

fn doubles(packages: &BTreeSet<Package>) -> BTreeMap<&str, Vec<&str>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    packages
        .iter()
        .for_each(|package| versions.entry(&package.name).or_default().push(&package.version));
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

fn faults(packages: &BTreeSet<Package>) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        let Package {
            name,
            version,
            licence,
        } = package;
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| banned == name) {
            faults.push(format!(
                "{name} {version} is linked: {why}; `cargo tree -i {name}` says by whom"
            ));
        }
        let too_old = LEAST
            .iter()
            .find(|(of, least)| of == name && numbers(version) < *least);
        if let Some((_, [major, minor, patch])) = too_old {
            faults.push(format!(
                "{name} {version} has known holes: at least {major}.{minor}.{patch}"
            ));
        }
        if !allows(licence) {
            faults.push(format!(
                "{name} {version}: the licence `{licence}` is not on the list in xtask/src/dependencies.rs"
            ));
        }
    }
    faults
}

/// `v1.2.3-alpha` as numbers.
fn numbers(version: &str) -> [u64; 3] {
    let mut parts = version
        .trim_start_matches('v')
        .split(['.', '-', '+'])
        .map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Whether an SPDX expression leaves a choice that is on the list.
fn allows(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let allowed = either(&words, &mut at);
    allowed && at == words.len()
}

fn either(words: &[&str], at: &mut usize) -> bool {
    let mut allowed = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        allowed |= all(words, at);
    }
    allowed
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut allowed = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        allowed &= one(words, at);
    }
    allowed
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let word = words.get(*at).copied();
    *at += 1;
    if word == Some("(") {
        let allowed = either(words, at);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return allowed && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
    }
    word.is_some_and(|word| LICENCES.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::{allows, doubles, faults, packages};

    #[test]
    fn licences_are_chosen_from() {
        for (expression, expected) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("(GPL-3.0 OR MIT) AND ISC", true),
            ("ISC AND (GPL-3.0 OR AGPL-3.0)", false),
            ("Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("", false),
            ("(MIT", false),
            ("MIT )", false),
        ] {
            assert_eq!(allows(expression), expected, "{expression}");
        }
    }

    #[test]
    fn banned_and_doubled_packages_are_named() {
        let packages = packages(
            "ring v0.17.8\tISC\nsyn v1.0.0 (proc-macro)\tMIT (*)\nsyn v2.0.0\tMIT\nsyn v2.0.0\tMIT\n\n",
        );
        assert_eq!(packages.len(), 3);
        assert!(faults(&packages)[0].contains("ring v0.17.8 is linked"));
        let old = super::packages("rustls-webpki v0.103.9\tISC\nhickory-resolver v0.26.10\tMIT\n");
        assert_eq!(
            faults(&old),
            ["rustls-webpki v0.103.9 has known holes: at least 0.103.13"]
        );
        assert_eq!(doubles(&packages)["syn"], ["v1.0.0", "v2.0.0"]);
    }
}
