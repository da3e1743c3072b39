//! The server under test: the real binary with a configuration for laboratories, started, killed and asked from outside.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::enclosure::{run, show_end_of};
use crate::patience::{USUAL, wait_until};
use crate::peers::Host;
use crate::place::{workspace, write};

/// Lines added to sections of the configuration.
#[derive(Clone, Copy, Default)]
pub struct Setup<'a> {
    /// To `[limits]`.
    pub limits: &'a str,
    /// To `[route]`.
    pub route: &'a str,
    /// To `[retry]`, instead of a pause of one second after each failure.
    pub retry: &'a str,
    /// To `[local]`.
    pub local: &'a str,
    /// To `[dns]`, instead of no validation.
    pub dns: &'a str,
    /// Sections of its own.
    pub more: &'a str,
}

/// What fails is not tried again within a test.
pub const ONCE: Setup<'static> = Setup {
    limits: "",
    route: "",
    retry: "pauses = [\"10m\"]",
    local: "",
    dns: "",
    more: "",
};

/// A running Sealpost. Dropped, it is killed.
pub struct Sealpost {
    host: Host,
    configuration: PathBuf,
    log: PathBuf,
    process: Option<Child>,
}

/// The binary: what the variable `SEALPOST` names, or the release build, made now if need be.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| match std::env::var_os("SEALPOST") {
            Some(named) => PathBuf::from(named),
            None => {
                let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                let arguments = ["build", "--locked", "--release", "--package", "sealpost"];
                run(Command::new(cargo).current_dir(workspace()).args(arguments));
                workspace().join("target/release/sealpost")
            }
        })
        .clone()
}

impl Sealpost {
    /// Starts one that serves `host.domain` with a mailbox for every name, relays for loopback clients, and asks `host.resolver`.
    /// Ports 25 (MX), 587 (submission) and 465 (implicit TLS) of the host's address.
    pub fn start(host: Host, setup: Setup<'_>) -> Sealpost {
        let configuration = host.folder.join("sealpost.toml");
        write(&configuration, configuration_of(&host, setup));
        let log = host.folder.join("sealpost.log");
        let mut sealpost = Sealpost {
            host,
            configuration,
            log,
            process: None,
        };
        sealpost.run();
        sealpost
    }

    /// Starts it again after [`Sealpost::kill`] or [`Sealpost::stop`], on the same data.
    pub fn run(&mut self) {
        let open = || File::options().create(true).append(true).open(&self.log);
        let (Ok(stdout), Ok(stderr)) = (open(), open()) else {
            panic!("cannot write {}", self.log.display())
        };
        let mut command = Command::new("setpriv");
        // Should this process die without a word, the server dies with it.
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(binary())
            .arg("serve")
            .arg("--config")
            .arg(&self.configuration);
        let command = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let process = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start sealpost: {error}"));
        self.process = Some(process);
        let port = self.port(25);
        wait_until(&format!("Sealpost at {port}"), USUAL, || {
            let ended = self
                .process
                .as_mut()
                .and_then(|process| process.try_wait().ok().flatten());
            assert!(ended.is_none(), "sealpost ended at once: {ended:?}");
            TcpStream::connect_timeout(&port, Duration::from_secs(1)).is_ok() && self.takes_commands()
        });
    }

    /// A control socket that one which was killed has left behind refuses.
    fn takes_commands(&self) -> bool {
        UnixStream::connect(self.host.folder.join("data/control.sock")).is_ok()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process
                .kill()
                .unwrap_or_else(|error| panic!("cannot kill sealpost: {error}"));
            process
                .wait()
                .unwrap_or_else(|error| panic!("sealpost was lost: {error}"));
        }
    }

    /// SIGTERM, and waits for the end, which must be in good order.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        run(Command::new("kill").args(["-s", "TERM", &process.id().to_string()]));
        let mut ended = None;
        wait_until("Sealpost's end after SIGTERM", USUAL, || {
            ended = process.try_wait().ok().flatten();
            ended.is_some()
        });
        assert!(
            ended.is_some_and(|status| status.success()),
            "sealpost ended with {ended:?} after SIGTERM"
        );
    }

    /// Where and for whom it serves.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// One of its ports.
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.host.address, port)
    }

    /// The Maildirs of its users.
    pub fn mail(&self) -> PathBuf {
        self.host.folder.join("data/mail")
    }

    /// Runs one of its commands against this server.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(&self.configuration);
        run(&mut command)
    }

    /// What a command prints with `--json`.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.command(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "sealpost {arguments:?} printed no JSON ({error}): {}",
                String::from_utf8_lossy(&output.stdout)
            )
        })
    }

    /// The log so far.
    pub fn logged(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Resident memory in KiB, from `/proc`.
    pub fn resident_kib(&self) -> u64 {
        let id = self.process.as_ref().expect("a running server").id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no VmRSS for process {id}"))
    }

    /// Waits until nothing waits in its queue.
    pub fn wait_for_empty_queue(&self, patience: Duration) {
        wait_until("Sealpost's queue to be empty", patience, || {
            self.json(&["queue", "list"])
                .as_array()
                .is_some_and(Vec::is_empty)
        });
    }
}

impl Drop for Sealpost {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_end_of("Sealpost", &self.log);
        }
        if let Some(mut process) = self.process.take() {
            // Already ended is as good as killed.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn configuration_of(host: &Host, setup: Setup<'_>) -> String {
    let Host {
        name,
        address,
        domain,
        resolver,
        ..
    } = host;
    let retry = if setup.retry.is_empty() {
        "pauses = [\"1s\"]\njitter_percent = 0"
    } else {
        setup.retry
    };
    let dns = if setup.dns.is_empty() {
        "dnssec = \"off\""
    } else {
        setup.dns
    };
    let mut text = format!(
        "[server]\nhost = \"{name}\"\ndata_dir = \"data\"\nrun_as_root = true\nrelay_from = [\"127.0.0.0/8\"]\n\
         check_sender_domain = false\n\n"
    );
    for (port, role) in [(25, "mx"), (587, "submission"), (465, "submissions")] {
        writeln!(
            text,
            "[[listen]]\naddress = \"{address}:{port}\"\nrole = \"{role}\"\n"
        )
        .expect("a String takes all");
    }
    write!(
        text,
        "[dns]\nservers = [\"{resolver}:53\"]\n{dns}\n\n[limits]\n{}\n\n[route]\nsource = [\"{address}\"]\n{}\n\n\
         [retry]\n{retry}\n\n[local]\ndomains = [\"{domain}\"]\nmailboxes = \"any\"\n{}\n\n{}\n",
        setup.limits, setup.route, setup.local, setup.more
    )
    .expect("a String takes all");
    text
}
