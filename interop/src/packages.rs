//! Programs from Debian's packages.
//!
//! Clients are installed as usual. Servers are only unpacked below `target/interop/peers`, since the mail servers conflict with each
//! other and none should start by itself; the libraries they link are installed as usual. Needs root where something is missing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::enclosure::run;
use crate::place::{make_folder, target};

/// Tries of a download or installation before it fails: mirrors hiccup.
const TRIES_MAX: u32 = 3;
const PAUSE_BETWEEN_TRIES: Duration = Duration::from_secs(5);

/// A server that is unpacked, not installed: the packages whose files it consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unpacked {
    /// Postfix, with `smtp-source` and its relatives.
    Postfix,
    /// Exim, the light daemon.
    Exim,
    /// OpenSMTPD.
    OpenSmtpd,
    /// chasquid.
    Chasquid,
    /// The Knot name server.
    Knot,
    /// What signs a zone file as of another time.
    KnotTools,
    /// The Unbound resolver.
    Unbound,
}

/// A client that is installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Installed {
    /// swaks, with what it needs for TLS.
    Swaks,
    /// msmtp.
    Msmtp,
    /// curl.
    Curl,
    /// Python 3, for its `smtplib`.
    Python,
    /// git, for a clean clone.
    Git,
    /// `ip`, for the loopback of an enclosure.
    Ip,
    /// OpenSSL's command.
    OpenSsl,
}

impl Unpacked {
    fn packages(self) -> &'static [&'static str] {
        match self {
            Unpacked::Postfix => &["postfix"],
            Unpacked::Exim => &["exim4-base", "exim4-daemon-light"],
            Unpacked::OpenSmtpd => &["opensmtpd"],
            Unpacked::Chasquid => &["chasquid"],
            Unpacked::Knot => &["knot"],
            Unpacked::KnotTools => &["knot-dnssecutils"],
            Unpacked::Unbound => &["unbound"],
        }
    }

    /// The folder that holds the unpacked files (`usr/sbin/…`), fetched if it is not there yet.
    pub fn folder(self) -> PathBuf {
        let _alone = one_at_a_time();
        let peers = target().join("peers");
        make_folder(&peers);
        let name = self.packages().last().expect("each server has a package");
        unpacked_before(&peers, name).unwrap_or_else(|| self.fetch(&peers, name))
    }

    fn fetch(self, peers: &Path, name: &str) -> PathBuf {
        demand_root(self.packages());
        let downloads = target().join("downloads").join(name);
        if downloads.exists() {
            fs::remove_dir_all(&downloads)
                .unwrap_or_else(|error| panic!("cannot empty {}: {error}", downloads.display()));
        }
        make_folder(&downloads);
        apt_get(&downloads, &[&["download"], self.packages()].concat());
        let archives: Vec<PathBuf> = fs::read_dir(&downloads)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .unwrap_or_else(|error| panic!("cannot list {}: {error}", downloads.display()));
        install_missing(&libraries_of(&archives, self.packages()));

        let version = field(
            archives
                .iter()
                .find(|path| is_of(path, name))
                .expect("just downloaded"),
            "Version",
        );
        let complete = peers.join(format!("{name}_{}", version.replace(':', "%3a")));
        let unfinished = peers.join(format!("unfinished-{name}"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)
                .unwrap_or_else(|error| panic!("cannot empty {}: {error}", unfinished.display()));
        }
        for archive in &archives {
            run(Command::new("dpkg").arg("-x").args([archive, &unfinished]));
        }
        fs::rename(&unfinished, &complete)
            .unwrap_or_else(|error| panic!("cannot name {}: {error}", complete.display()));
        complete
    }
}

impl Installed {
    fn packages(self) -> &'static [&'static str] {
        match self {
            Installed::Swaks => &["swaks", "libnet-ssleay-perl"],
            Installed::Msmtp => &["msmtp"],
            Installed::Curl => &["curl"],
            Installed::Python => &["python3"],
            Installed::Git => &["git"],
            Installed::Ip => &["iproute2"],
            Installed::OpenSsl => &["openssl"],
        }
    }

    /// The program's path, installed if it is not there yet.
    pub fn program(self) -> PathBuf {
        let _alone = one_at_a_time();
        install_missing(self.packages());
        let name = if self == Installed::Ip {
            "ip"
        } else {
            self.packages()[0]
        };
        let path = Path::new("/usr/bin").join(name);
        assert!(
            path.exists(),
            "{name} is installed, but {} is not there",
            path.display()
        );
        path
    }
}

/// The newest of the folders unpacked earlier.
fn unpacked_before(peers: &Path, name: &str) -> Option<PathBuf> {
    let prefix = format!("{name}_");
    let entries =
        fs::read_dir(peers).unwrap_or_else(|error| panic!("cannot list {}: {error}", peers.display()));
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(&prefix))
        })
        .collect();
    found.sort();
    found.pop()
}

fn is_of(archive: &Path, package: &str) -> bool {
    archive
        .file_name()
        .is_some_and(|file| file.to_string_lossy().starts_with(&format!("{package}_")))
}

/// The shared libraries that the archives depend on; the first of alternatives.
fn libraries_of(archives: &[PathBuf], own: &[&str]) -> Vec<String> {
    let mut libraries: Vec<String> = Vec::new();
    for archive in archives {
        for dependency in field(archive, "Depends").split(',') {
            let name = dependency
                .split(['|', '(', ':'])
                .next()
                .unwrap_or_default()
                .trim();
            if name.starts_with("lib") && !own.contains(&name) && !libraries.iter().any(|known| known == name)
            {
                libraries.push(name.to_owned());
            }
        }
    }
    libraries
}

fn field(archive: &Path, name: &str) -> String {
    let output = run(Command::new("dpkg-deb").arg("-f").arg(archive).arg(name));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn install_missing<S: AsRef<str>>(packages: &[S]) {
    let missing: Vec<&str> = packages
        .iter()
        .map(AsRef::as_ref)
        .filter(|package| !is_installed(package))
        .collect();
    if !missing.is_empty() {
        demand_root(&missing);
        apt_get(
            Path::new("/"),
            &[&["install", "--no-install-recommends"], &missing[..]].concat(),
        );
    }
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

fn demand_root(packages: &[&str]) {
    let command = "apt-get install (clients, libraries) or apt-get download (servers)";
    assert!(
        is_root(),
        "missing packages: {}. Run as root once, or fetch them with {command}.",
        packages.join(" ")
    );
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).stdout.trim_ascii() == b"0"
}

/// Runs apt-get; refreshes the package lists and tries again when it fails.
fn apt_get(folder: &Path, arguments: &[&str]) {
    let attempt = |arguments: &[&str]| {
        Command::new("apt-get")
            .current_dir(folder)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args([
                "-q",
                "-y",
                "-o",
                "DPkg::Lock::Timeout=300",
                "-o",
                "Acquire::Retries=3",
            ])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("cannot run apt-get: {error}"))
    };
    let mut output = attempt(arguments);
    for _ in 1..TRIES_MAX {
        if output.status.success() {
            return;
        }
        attempt(&["update"]);
        output = attempt(arguments);
        if !output.status.success() {
            std::thread::sleep(PAUSE_BETWEEN_TRIES);
        }
    }
    assert!(
        output.status.success(),
        "apt-get {} failed:\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// One installation at a time, among threads and among test programs.
fn one_at_a_time() -> (std::sync::MutexGuard<'static, ()>, File) {
    static THREADS: Mutex<()> = Mutex::new(());
    let threads = THREADS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    make_folder(&target());
    let path = target().join("packages.lock");
    let file = File::create(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
    file.lock()
        .unwrap_or_else(|error| panic!("cannot lock {}: {error}", path.display()));
    (threads, file)
}
