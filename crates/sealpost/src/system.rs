//! What the operating system wants of a server: its name, its user, sockets handed over, signals, word to systemd.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use mail::Domain;
use rustix::process::{Gid, Uid};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A user to become, with its groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The machine's own name, if it is a domain name.
pub fn host_name() -> Option<Domain> {
    let uname = rustix::system::uname();
    Domain::parse(uname.nodename().to_str().ok()?).ok()
}

impl User {
    /// Finds a user in the machine's own table, by name.
    pub fn find(name: &str) -> Result<User, String> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
        User::look_up(name, &read("/etc/passwd")?, &read("/etc/group")?).ok_or_else(|| {
            format!("there is no user \"{name}\" in /etc/passwd; `useradd --system {name}` makes one")
        })
    }

    fn look_up(name: &str, passwd: &str, group: &str) -> Option<User> {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let entry = passwd
            .lines()
            .map(fields)
            .find(|entry| entry.first().is_some_and(|known| known == name))?;
        let (uid, gid) = (entry.get(2)?.parse().ok()?, entry.get(3)?.parse().ok()?);
        let is_member = |entry: &Vec<String>| {
            entry
                .get(3)
                .is_some_and(|members| members.split(',').any(|m| m == name))
        };
        let groups = group
            .lines()
            .map(fields)
            .filter(is_member)
            .filter_map(|entry| entry.get(2)?.parse().ok());
        Some(User {
            name: name.to_owned(),
            uid,
            gid,
            groups: groups.collect(),
        })
    }

    /// Becomes this user for good. Before any thread is started, since each thread has rights of its own.
    pub fn become_it(&self) -> io::Result<()> {
        let gid = Gid::from_raw(self.gid);
        let groups: Vec<Gid> = self
            .groups
            .iter()
            .map(|group| Gid::from_raw(*group))
            .chain([gid])
            .collect();
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        let uid = Uid::from_raw(self.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        rustix::thread::set_no_new_privs(true)
            .map_err(io::Error::from)
            .and_then(|()| match is_root() {
                true => Err(io::Error::other("still root")),
                false => Ok(()),
            })
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Makes the data folder, for its owner alone, if it is not there. An empty one of root's is given to the user that the
/// server will become; one that holds files is somebody's, and is not taken.
pub fn prepare_data_dir(path: &Path, user: Option<&User>) -> Result<(), String> {
    let said = |error: io::Error| format!("{}: cannot use this data folder: {error}", path.display());
    if !path.exists() {
        make_private(path).map_err(said)?;
    }
    let meta = fs::metadata(path).map_err(said)?;
    if !meta.is_dir() {
        return Err(format!("{}: the data folder is a file", path.display()));
    }
    let Some(user) = user.filter(|_| meta.uid() == 0) else {
        return Ok(());
    };
    match fs::read_dir(path).map_err(said)?.next() {
        None => std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).map_err(said),
        Some(_) => Err(format!(
            "{path}: the data folder is root's and holds files; if they are this server's: chown -R {name}: {path}",
            path = path.display(),
            name = user.name
        )),
    }
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(octets)
}

/// The folders above it are made as `mkdir -p` does: the user that the server becomes has to pass through them.
fn make_private(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// The sockets that systemd handed over, with their names. Once only, before any thread is started.
pub fn handed_sockets() -> io::Result<Vec<(String, OwnedFd)>> {
    let handed = sd_notify::listen_fds_with_names()?;
    // SAFETY: systemd opened these descriptors for this process alone (LISTEN_PID was checked), nothing else here
    // knows their numbers, and this function is called once.
    #[allow(unsafe_code)]
    let owned = handed.map(|(number, name)| (name, unsafe { OwnedFd::from_raw_fd(number) }));
    Ok(owned.collect())
}

/// Tells systemd that the server serves.
pub fn notify_ready() {
    notify(&[sd_notify::NotifyState::Ready]);
}

/// Tells systemd that a reload has begun.
pub fn notify_reloading() {
    match sd_notify::NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[sd_notify::NotifyState::Reloading, now]),
        Err(because) => tracing::warn!(%because, "systemd not told of the reload"),
    }
}

/// Tells systemd that the server ends.
pub fn notify_stopping() {
    notify(&[sd_notify::NotifyState::Stopping]);
}

/// Tells systemd that the server is alive.
pub fn notify_alive() {
    notify(&[sd_notify::NotifyState::Watchdog]);
}

/// How often systemd wants to hear that the server is alive, halved for safety; none if it does not ask.
pub fn alive_every() -> Option<std::time::Duration> {
    sd_notify::watchdog_enabled().map(|most| most / 2)
}

/// Without systemd there is nobody to tell, and that is no error.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(because) = sd_notify::notify(states) {
        tracing::warn!(%because, "systemd not told");
    }
}

/// The signals a server lives by.
pub struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT: end; a second one: at once.
    End,
}

impl Signals {
    /// Catches them from now on.
    pub fn catch() -> io::Result<Signals> {
        Ok(Signals {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_with_their_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nsealpost:x:990:991::/var/lib/sealpost:/usr/sbin/nologin\nbroken:x:\n";
        let group = "root:x:0:\nsealpost:x:991:\nssl-cert:x:120:ann,sealpost\nmail:x:8:sealposter\n";
        let user = User::look_up("sealpost", passwd, group).unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (990, 991, vec![120]));
        assert_eq!(User::look_up("broken", passwd, group), None);
        assert_eq!(User::look_up("seal", passwd, group), None);
        assert!(User::find("no-such-user-here").unwrap_err().contains("useradd"));
    }

    #[test]
    fn a_data_folder_is_made_private_and_a_file_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a/data");
        prepare_data_dir(&data, None).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data), 0o700);
        let usual = folder.path().join("usual");
        fs::create_dir(&usual).unwrap();
        assert_eq!(
            mode(data.parent().unwrap()),
            mode(&usual),
            "others may pass through"
        );
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(prepare_data_dir(&file, None).unwrap_err().contains("is a file"));
        assert!(
            prepare_data_dir(&file.join("x"), None)
                .unwrap_err()
                .contains("cannot use this data folder")
        );
    }
    #[test]
    fn a_folder_of_roots_with_files_in_it_is_not_given_away() {
        let user = User::look_up("a", "a:x:990:991::/:/bin/false\n", "").unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let prepared = prepare_data_dir(folder.path(), Some(&user));
        let owner = fs::metadata(folder.path()).unwrap().uid();
        assert_ne!(owner, user.uid);
        // Only root's folders are ever given to another.
        match owner {
            0 => assert!(prepared.unwrap_err().contains("chown -R a: /")),
            _ => prepared.unwrap(),
        }
    }
}
