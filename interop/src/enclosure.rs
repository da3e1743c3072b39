//! An enclosure: a server in mount and process namespaces of its own, with an `/etc` of its own.
//!
//! Compiled-in paths, system users and the resolver's configuration are thereby the enclosure's; nothing of the machine is changed
//! but empty folders made as mount points. The first process inside watches a pipe that we hold: when its owner goes, however
//! it goes, the pipe closes, that process ends, and the kernel kills all others inside.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::patience::{USUAL, wait_until};
use crate::place::{make_folder, write};

/// Ids of the users that exist inside enclosures alone: far above what a system hands out.
pub const READER: u32 = 64107;
const USERS: [(&str, u32); 9] = [
    ("postfix", 64101),
    ("postdrop", 64102),
    ("Debian-exim", 64103),
    ("opensmtpd", 64104),
    ("opensmtpq", 64105),
    ("chasquid", 64106),
    ("reader", READER),
    ("knot", 64108),
    ("unbound", 64109),
];

/// The first process inside: mounts, starts the server, waits for its owner to go.
const FIRST_PROCESS: &str = r#"
while [ "$1" != -- ]; do mount --bind "${1%%=*}" "${1#*=}" || exit 1; shift; done
shift
[ "$LOOPBACK" != own ] || ip link set lo up || exit 1
( "$@"; echo "THE SERVER ENDED with status $?" >&2 ) < /dev/null &
cat > /dev/null
"#;

const ENDED: &str = "THE SERVER ENDED";

/// Lines of each log shown when a test fails.
const LOG_LINES_SHOWN: usize = 40;

/// Which network an enclosure sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Network {
    /// The machine's: peers reach each other by loopback addresses.
    Shared,
    /// A loopback of its own, with all ports free, and nothing else.
    Own,
}

/// What is to run inside.
pub struct Plan {
    folder: PathBuf,
    network: Network,
    mounts: Vec<(PathBuf, PathBuf)>,
    logs: Vec<PathBuf>,
}

/// A running server. Dropped, it is killed with all its processes.
pub struct Enclosure {
    name: String,
    network: Network,
    outside: Child,
    output: PathBuf,
    logs: Vec<PathBuf>,
}

impl Plan {
    /// An enclosure that lives in `folder`. `resolver` is the name server that its programs ask, on port 53.
    pub fn new(folder: &Path, resolver: IpAddr) -> Plan {
        let etc = folder.join("etc");
        make_folder(&etc);
        for kept in [
            "nsswitch.conf",
            "services",
            "protocols",
            "ld.so.cache",
            "localtime",
            "ssl",
        ] {
            let from = Path::new("/etc").join(kept);
            if from.exists() {
                run(Command::new("cp").arg("-rL").arg(&from).arg(&etc));
            }
        }
        let users: String = USERS
            .iter()
            .map(|(name, id)| format!("{name}:x:{id}:{id}::/nonexistent:/bin/sh\n"))
            .collect();
        write(
            &etc.join("passwd"),
            format!("root:x:0:0:root:/root:/bin/sh\n{users}nobody:x:65534:65534::/:/bin/sh\n"),
        );
        let groups: String = USERS
            .iter()
            .map(|(name, id)| format!("{name}:x:{id}:\n"))
            .collect();
        write(
            &etc.join("group"),
            format!("root:x:0:\nmail:x:8:\n{groups}nogroup:x:65534:\n"),
        );
        write(&etc.join("hosts"), "127.0.0.1 localhost\n");
        write(
            &etc.join("resolv.conf"),
            format!("nameserver {resolver}\noptions timeout:2 attempts:2\n"),
        );
        let mounts = vec![(etc, PathBuf::from("/etc"))];
        Plan {
            folder: folder.to_path_buf(),
            network: Network::Shared,
            mounts,
            logs: Vec::new(),
        }
    }

    /// An enclosure with the machine's own files, and a loopback of its own where all ports are free and which leads nowhere.
    pub fn with_own_network(folder: &Path) -> Plan {
        Plan {
            folder: folder.to_path_buf(),
            network: Network::Own,
            mounts: Vec::new(),
            logs: Vec::new(),
        }
    }

    /// A file below the enclosure's `/etc`, as seen from outside.
    pub fn etc(&self, name: &str) -> PathBuf {
        self.folder.join("etc").join(name)
    }

    /// Shows `from` at `at` inside. The mount point is made on the machine if it is missing.
    pub fn mount(mut self, from: PathBuf, at: &str) -> Plan {
        make_folder(Path::new(at));
        self.mounts.push((from, PathBuf::from(at)));
        self
    }

    /// Names a log file beside the standard output.
    pub fn log(mut self, file: PathBuf) -> Plan {
        self.logs.push(file);
        self
    }

    /// Starts the server.
    pub fn start(self, name: &str, program: &Path, arguments: &[&str]) -> Enclosure {
        let output = self.folder.join("output.log");
        let to_log = || File::options().create(true).append(true).open(&output);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.env("LOOPBACK", "shared");
        if self.network == Network::Own {
            command.arg("--net").env("LOOPBACK", "own");
        }
        command.args(["sh", "-c", FIRST_PROCESS, "sh"]);
        command.args(
            self.mounts
                .iter()
                .map(|(from, at)| format!("{}={}", from.display(), at.display())),
        );
        command
            .arg("--")
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped());
        let log = (to_log(), to_log());
        let (Ok(stdout), Ok(stderr)) = log else {
            panic!("cannot write {}", output.display())
        };
        let outside = command
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: unshare: {error}"));
        Enclosure {
            name: name.to_owned(),
            network: self.network,
            outside,
            output,
            logs: self.logs,
        }
    }
}

impl Enclosure {
    /// Waits until the server accepts connections at `address`.
    pub fn wait_for_port(&self, address: SocketAddr) {
        wait_until(&format!("{} at {address}", self.name), USUAL, || {
            assert!(!self.logged().contains(ENDED), "{} did not start", self.name);
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        });
    }

    /// Waits until the server has printed `words`.
    pub fn wait_for_words(&self, words: &str, patience: Duration) {
        wait_until(&format!("{} to say {words:?}", self.name), patience, || {
            let logged = self.logged();
            assert!(!logged.contains(ENDED), "{} ended", self.name);
            logged.contains(words)
        });
    }

    /// Runs a program inside and gives its output back.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        run(self.enter().arg(program).args(arguments))
    }

    /// Runs a program inside, however it ends, and gives its output back.
    pub fn try_run(&self, program: &Path, arguments: &[&str]) -> Output {
        let mut command = self.enter();
        command.arg(program).args(arguments);
        command
            .output()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
    }

    fn enter(&self) -> Command {
        let namespaces = format!("/proc/{}/ns", self.outside.id());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount={namespaces}/mnt"))
            .arg(format!("--pid={namespaces}/pid_for_children"));
        if self.network == Network::Own {
            command.arg(format!("--net={namespaces}/net"));
        }
        command
    }

    /// All logs, for assertions.
    pub fn logged(&self) -> String {
        let read = |file: &PathBuf| String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
        self.logs.iter().chain([&self.output]).map(read).collect()
    }

    fn show_logs(&self) {
        for file in self.logs.iter().chain([&self.output]) {
            show_end_of(&self.name, file);
        }
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        drop(self.outside.stdin.take());
        // The first process ends at the end of its input, and with it everything inside; then `unshare` does.
        if let Err(error) = self.outside.wait() {
            eprintln!("{} was not stopped: {error}", self.name);
        }
    }
}

/// Prints the last lines of a log.
pub fn show_end_of(name: &str, file: &Path) {
    let Ok(log) = fs::read(file) else { return };
    let text = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    eprintln!("--- {name}: end of {}\n{}", file.display(), shown.join("\n"));
}

/// Gives a file or folder, with all below it, to a user of the enclosure.
pub fn give_to(user: &str, path: &Path) {
    let (_, id) = USERS
        .iter()
        .find(|(name, _)| *name == user)
        .unwrap_or_else(|| panic!("no user {user}"));
    run(Command::new("chown")
        .arg("-R")
        .arg(format!("{id}:{id}"))
        .arg(path));
}

/// Runs a command to its end; panics with what it printed unless it succeeds.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
