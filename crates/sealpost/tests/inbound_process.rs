//! The program itself: what it says when it cannot start, its signals, its rights, its log.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sealpost");

/// A configuration in a folder of its own.
fn site(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let head = "[dns]\nservers = [\"127.0.0.1:9\"]\n[server]\nhost = \"mx.here.example\"\ndata_dir = \"data\"\nrun_as_root = true\n";
    std::fs::write(folder.path().join("sealpost.toml"), format!("{head}{text}")).unwrap();
    folder
}

fn serve(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("serve")
        .arg("--config")
        .arg(folder.join("sealpost.toml"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// What a program that does not start says.
fn refusal(folder: &Path) -> String {
    let output = serve(folder).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("sealpost: "))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    lines[0].to_owned()
}

struct Server {
    child: Child,
    log: BufReader<ChildStderr>,
    said: String,
}

impl Server {
    fn start(mut command: Command) -> Server {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Server {
            child,
            log,
            said: String::new(),
        }
    }

    /// Reads the log up to a line with these words.
    fn until(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.log.read_line(&mut line).unwrap(),
                0,
                "no \"{words}\" in\n{}",
                self.said
            );
            self.said.push_str(&line);
            if line.contains(words) {
                return line;
            }
        }
    }

    fn address(&mut self) -> String {
        let line = self.until("listening");
        line.split_whitespace()
            .find_map(|word| word.strip_prefix("address="))
            .unwrap()
            .to_owned()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    fn ended(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn talk(address: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(lines.as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    all
}

#[test]
fn what_cannot_start_says_why_on_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let folder = site(&format!("[[listen]]\naddress = \"{at}\"\n"));
    let said = refusal(folder.path());
    assert!(
        said.contains(&format!(
            "cannot listen on {at}: the port is taken by another program"
        )),
        "{said}"
    );
    let folder = site("lisen = 1\n");
    let said = refusal(folder.path());
    assert!(
        said.contains("sealpost.toml:7:1: unknown key \"lisen\" in [server]"),
        "{said}"
    );
    let folder = site("[[listen]]\naddress = \"192.0.2.77:2525\"\n");
    assert!(refusal(folder.path()).contains("no interface of this machine has that address"));
    let folder = site("[[listen]]\nsocket = \"smtp\"\n");
    assert!(refusal(folder.path()).contains("systemd handed over no socket named \"smtp\""));
    let folder = site("");
    std::fs::write(folder.path().join("data"), "").unwrap();
    assert!(refusal(folder.path()).contains("the data folder is a file"));
    let folder = site("");
    std::fs::remove_file(folder.path().join("sealpost.toml")).unwrap();
    assert!(refusal(folder.path()).contains("sealpost.toml: cannot read this file: No such file"));
}

#[test]
fn two_servers_do_not_share_a_spool() {
    let folder = site("[[listen]]\naddress = \"127.0.0.1:0\"\n");
    let mut first = Server::start(serve(folder.path()));
    first.address();
    assert!(refusal(folder.path()).contains("another server uses this spool"));
}

#[test]
fn signals_reload_and_end() {
    let folder = site("[[listen]]\naddress = \"127.0.0.1:0\"\n");
    let mut server = Server::start(serve(folder.path()));
    let address = server.address();
    let mut session = TcpStream::connect(&address).unwrap();
    let mut greeting = [0; 512];
    let count = session.read(&mut greeting).unwrap();
    assert!(greeting[..count].starts_with(b"220 mx.here.example "));
    let file = folder.path().join("sealpost.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("mx.here.example", "new.here.example")).unwrap();
    server.signal("HUP");
    server.until("read again");
    assert!(talk(&address, "QUIT\r\n").starts_with("220 new.here.example "));
    std::fs::write(&file, "[sever]\n").unwrap();
    server.signal("HUP");
    assert!(server.until("not reloaded").contains("did you mean"));
    session.write_all(b"NOOP\r\n").unwrap();
    let count = session.read(&mut greeting).unwrap();
    assert!(greeting[..count].starts_with(b"250 "), "the old session goes on");
    server.signal("TERM");
    let mut rest = String::new();
    session.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("421 4.3.2 "), "{rest}");
    assert!(server.ended());
}

#[test]
fn a_second_term_ends_at_once() {
    let folder = site(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[local]\ndomains = [\"here.example\"]\nmailboxes = [\"ann\"]\n",
    );
    let mut server = Server::start(serve(folder.path()));
    let address = server.address();
    let mut busy = TcpStream::connect(&address).unwrap();
    busy.write_all(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann@here.example>\r\nDATA\r\n")
        .unwrap();
    let mut heard = String::new();
    while !heard.contains("\r\n354") {
        let mut piece = [0; 1024];
        let count = busy.read(&mut piece).unwrap();
        assert_ne!(count, 0, "{heard}");
        heard.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    server.signal("TERM");
    server.until("ending");
    server.signal("TERM");
    server.until("sessions cut off");
    assert!(server.ended());
}

// proves: 8314-4-12
#[test]
fn an_accepted_message_is_one_line_of_json_with_version_and_cipher() {
    let folder = site(
        "log = \"json\"\nrelay_from = [\"127.0.0.0/8\"]\n[[listen]]\naddress = \"127.0.0.1:0\"\nrole = \"submissions\"\n[local]\ndomains = [\"here.example\"]\nmailboxes = [\"ann\"]\n",
    );
    let mut server = Server::start(serve(folder.path()));
    let line = server.until("listening");
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address: std::net::SocketAddr = entry["address"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = common::Client::connect(address).await;
        let (mut client, _) = client.shake(common::client::Shake::default()).await;
        client.reply().await;
        client
            .go(&[
                "EHLO x.example",
                "MAIL FROM:<a@b.example>",
                "RCPT TO:<ann@here.example>",
                "DATA",
                "x: y\r\n\r\nz\r\n.",
            ])
            .await;
    });
    let line = server.until("\"accepted\"");
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&entry["tls"], &entry["cipher"]),
        (&"TLSv1.3".into(), &"TLS_AES_256_GCM_SHA384".into()),
        "{line}"
    );
    for field in ["id", "client", "from", "to", "bytes", "group"] {
        assert!(!entry[field].is_null(), "{field} in {line}");
    }
}

#[test]
fn a_socket_from_systemd_is_taken_by_name() {
    let folder = site("[[listen]]\nsocket = \"smtp\"\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = Command::new("sh");
    let line = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=smtp exec \"$0\" serve --config \"$1\"";
    command
        .args(["-c", line, PROGRAM])
        .arg(folder.path().join("sealpost.toml"));
    command
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut server = Server::start(command);
    assert_eq!(server.address(), address);
    assert!(talk(&address, "QUIT\r\n").starts_with("220 "));
}

#[test]
fn root_is_given_up_after_binding_or_refused() {
    let is_root = std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .contains("\nUid:\t0\t0\t");
    if !is_root {
        return; // nothing to give up
    }
    let folder = site("[[listen]]\naddress = \"127.0.0.1:0\"\n");
    let file = folder.path().join("sealpost.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("run_as_root = true\n", "")).unwrap();
    assert!(refusal(folder.path()).contains("will not serve as root: set user"));
    std::fs::write(&file, text.replace("run_as_root = true\n", "user = \"nobody\"\n")).unwrap();
    let mut server = Server::start(serve(folder.path()));
    let address = server.address();
    for task in std::fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = |name: &str| {
            status
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap()
                .to_owned()
        };
        assert!(
            !line("Uid:").split_whitespace().skip(1).any(|id| id == "0"),
            "{status}"
        );
        assert!(
            !line("Gid:").split_whitespace().skip(1).any(|id| id == "0"),
            "{status}"
        );
        assert!(
            !line("Groups:").split_whitespace().skip(1).any(|id| id == "0"),
            "{status}"
        );
        assert_eq!(line("CapEff:"), "CapEff:\t0000000000000000");
    }
    assert!(talk(&address, "QUIT\r\n").starts_with("220 "));
}

mod common;
