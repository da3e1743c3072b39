//! The five-minute start of the README, word for word, in a clean clone with a loopback of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use interop::enclosure::{Enclosure, Plan, run};
use interop::packages::Installed;
use interop::patience::{USUAL, wait_for};
use interop::place::{Place, workspace};
use interop::sealpost::binary;

/// A release build of the workspace's own crates; the dependencies' is taken over.
const BUILD_PATIENCE: Duration = Duration::from_secs(600);

/// A message's name has at least its 26 characters; words for people are shorter.
const NAME_CHARACTERS_MIN: usize = 26;

/// The shell blocks of the section "Five minutes".
fn blocks(readme: &str) -> Vec<String> {
    let section = readme
        .split("\n## Five minutes")
        .nth(1)
        .expect("the README has a section \"Five minutes\"");
    let section = section.split("\n## ").next().unwrap_or(section);
    let fenced = section
        .split("```sh")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    fenced
        .map(|block| {
            block
                .split_once('\n')
                .map_or("", |(_, commands)| commands)
                .trim()
                .to_owned()
        })
        .collect()
}

/// Clones what is committed, and takes over the built dependencies, so that only our own crates are built again.
fn clean_clone(folder: &Path) {
    binary();
    run(Command::new(Installed::Git.program())
        .args(["clone", "-q"])
        .arg(workspace())
        .arg(folder));
    let built = workspace().join("target/release");
    if built.exists() {
        fs::create_dir_all(folder.join("target/release")).expect("a folder of ours");
        for part in ["deps", "build", ".fingerprint"] {
            run(Command::new("cp")
                .arg("-al")
                .arg(built.join(part))
                .arg(folder.join("target/release")));
        }
    }
}

fn shell(enclosure: &Enclosure, clone: &Path, line: &str) -> String {
    let line = format!("cd '{}' && {line}", clone.display());
    String::from_utf8_lossy(&enclosure.run(Path::new("/bin/sh"), &["-ec", &line]).stdout).into_owned()
}

#[test]
fn the_five_minute_start_works_as_written() {
    let place = Place::new("readme");
    let clone = place.folder().join("sealpost");
    clean_clone(&clone);
    [Installed::Ip, Installed::Swaks]
        .iter()
        .for_each(|needed| assert!(needed.program().exists()));
    let readme = fs::read_to_string(clone.join("README.md")).expect("the clone has a README");
    let blocks = blocks(&readme);
    let [serve, rest, ..] = blocks.as_slice() else {
        panic!("the section has {} shell blocks", blocks.len())
    };
    assert!(serve.contains("cargo run --release -- serve"), "{serve}");

    let plan = Plan::with_own_network(&place.subfolder("enclosure"));
    let start = format!(
        "cd '{}' && export CARGO_NET_OFFLINE=true && {serve}",
        clone.display()
    );
    let server = plan.start("the README's server", Path::new("/bin/sh"), &["-ec", &start]);
    server.wait_for_words("127.0.0.1:2525", BUILD_PATIENCE);
    let mut id = None;
    for line in rest.lines() {
        if line.ends_with("mail list") {
            id = Some(wait_for("a message in `mail list`", USUAL, || {
                let listed = shell(&server, &clone, line);
                println!("$ {line}\n{listed}");
                // Until the message is delivered, a moment later, the list says that it is empty.
                let first = listed.split_whitespace().next()?;
                (first.len() >= NAME_CHARACTERS_MIN).then(|| first.to_owned())
            }));
            continue;
        }
        let line = match &id {
            Some(id) => line.replace(" ID", &format!(" {id}")),
            None => line.to_owned(),
        };
        println!("$ {line}\n{}", shell(&server, &clone, &line));
    }
    assert!(id.is_some(), "the README shows no `mail list`");
}
