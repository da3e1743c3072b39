//! Where a test lives: a folder of its own below `target/interop/run`, and loopback addresses that nobody else uses.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Addresses tried before giving up: more than a test file ever takes.
const ADDRESSES_TRIED_MAX: u32 = 2_000;

/// A folder and addresses for one test. The folder stays after a failure, so that its logs can be read.
pub struct Place {
    folder: PathBuf,
}

/// `target/interop`, in this workspace.
pub fn target() -> PathBuf {
    workspace().join("target/interop")
}

/// The folder that holds the workspace's `Cargo.toml`.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("the crate lies inside the workspace")
        .to_path_buf()
}

impl Place {
    /// An empty folder named after the test.
    pub fn new(test: &str) -> Place {
        let folder = target().join("run").join(test);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .unwrap_or_else(|error| panic!("cannot empty {}: {error}", folder.display()));
        }
        make_folder(&folder);
        Place { folder }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new folder inside.
    pub fn subfolder(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        make_folder(&folder);
        folder
    }

    /// A loopback address on which ports 25, 53, 443 and 587 are free. Each call gives another one.
    pub fn address(&self) -> IpAddr {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        // Test programs that run at the same time start from different addresses.
        let block = std::process::id() % 120 + 100;
        for _ in 0..ADDRESSES_TRIED_MAX {
            let number = TAKEN.fetch_add(1, Ordering::Relaxed) + 2;
            let low = u8::try_from(number % 250 + 2).expect("below 252");
            let middle = u8::try_from(number / 250 % 250).expect("below 250");
            let address = IpAddr::V4(Ipv4Addr::new(
                127,
                u8::try_from(block).expect("below 220"),
                middle,
                low,
            ));
            if [25, 53, 443, 587]
                .iter()
                .all(|port| TcpListener::bind(SocketAddr::new(address, *port)).is_ok())
            {
                return address;
            }
        }
        panic!(
            "no free loopback address with port 25: the interoperability tests need root (or CAP_NET_BIND_SERVICE)"
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Tens of megabytes a test; a failed removal only costs room and is made good by the next run.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Makes a folder and its parents.
pub fn make_folder(folder: &Path) {
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
}

/// Writes a file.
pub fn write(file: &Path, content: impl AsRef<[u8]>) {
    fs::write(file, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
}

/// Sets a file's or folder's mode.
pub fn set_mode(path: &Path, mode: u32) {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, permissions)
        .unwrap_or_else(|error| panic!("cannot set the mode of {}: {error}", path.display()));
}
