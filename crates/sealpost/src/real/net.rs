//! TCP as the machine has it.
//!
//! Owns sockets and the words for why one cannot be had. Never reads or writes what goes through them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as BoundListener};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::ports::{Accepted, Later, Listener, Net, Place, Stream};

/// The machine's TCP. Holds listeners that were bound before the server gave up its rights, until they are asked for.
#[derive(Default)]
pub struct SystemNet {
    bound: Mutex<Vec<(Place, BoundListener)>>,
}

impl SystemNet {
    /// Binds the places ahead, while this process may; sockets that systemd handed over come by name.
    /// The error's text is one line for the operator.
    pub fn bind(places: &[Place], handed: Vec<(String, OwnedFd)>) -> io::Result<SystemNet> {
        let mut bound = Vec::with_capacity(places.len());
        let mut handed = handed;
        for place in places {
            let listener = match place {
                Place::Socket(name) => take_handed(&mut handed, name)?,
                Place::Address(_) | Place::AddressV6Only(_) => bind(place)?,
            };
            bound.push((place.clone(), listener));
        }
        Ok(SystemNet {
            bound: Mutex::new(bound),
        })
    }

    fn take_bound(&self, place: &Place) -> Option<BoundListener> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let index = bound.iter().position(|(at, _)| at == place)?;
        Some(bound.swap_remove(index).1)
    }
}

impl Net for SystemNet {
    fn connect(&self, peer: SocketAddr, source: Option<IpAddr>) -> Later<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let socket = if peer.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            if let Some(source) = source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = socket.connect(peer).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn listen<'a>(&'a self, at: &'a Place) -> Later<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = match self.take_bound(at) {
                Some(listener) => listener,
                None => bind(at)?,
            };
            Ok(Box::new(TcpListener::from_std(listener)?) as Box<dyn Listener>)
        })
    }

    fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let v4 = std::fs::read_to_string("/proc/net/fib_trie")?;
        // A kernel without IPv6 has no such file.
        let v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        let mut all: Vec<IpAddr> = local_v4(&v4).chain(local_v6(&v6)).collect();
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}

impl Listener for TcpListener {
    fn accept(&self) -> Later<'_, io::Result<Accepted>> {
        Box::pin(async move {
            let (stream, client) = TcpListener::accept(self).await?;
            accepted(stream, client)
        })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

fn accepted(stream: TcpStream, client: SocketAddr) -> io::Result<Accepted> {
    stream.set_nodelay(true)?;
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let here = plain(stream.local_addr()?);
    Ok(Accepted {
        stream: Box::new(stream),
        client: plain(client),
        here,
    })
}

fn bind(place: &Place) -> io::Result<BoundListener> {
    let (at, v6_only) = match place {
        Place::Address(at) => (at, false),
        Place::AddressV6Only(at) => (at, true),
        Place::Socket(name) => return Err(not_handed(name)),
    };
    open(at, v6_only).map_err(|errno| io::Error::new(io::Error::from(errno).kind(), why_not(at, errno)))
}

fn open(at: &SocketAddr, v6_only: bool) -> Result<BoundListener, Errno> {
    let family = if at.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, v6_only)?;
    }
    rustix::net::bind(&socket, at)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(BoundListener::from(socket))
}

fn why_not(at: &SocketAddr, errno: Errno) -> String {
    let advice = match errno {
        Errno::ADDRINUSE => format!(
            "the port is taken by another program; `ss -ltnp 'sport = :{}'` names it",
            at.port()
        ),
        Errno::ACCESS | Errno::PERM => {
            "ports below 1024 need a right this user does not have; start it with the systemd unit, or as root with \
             [server] user = \"…\", or give the program the right: setcap cap_net_bind_service=+ep sealpost"
                .to_owned()
        }
        Errno::ADDRNOTAVAIL => "no interface of this machine has that address; `ip address` lists those it has".to_owned(),
        Errno::AFNOSUPPORT => "this machine has no IPv6".to_owned(),
        other => io::Error::from(other).to_string(),
    };
    format!("cannot listen on {at}: {advice}")
}

fn take_handed(handed: &mut Vec<(String, OwnedFd)>, name: &str) -> io::Result<BoundListener> {
    let index = handed
        .iter()
        .position(|(known, _)| known == name)
        .ok_or_else(|| not_handed(name))?;
    let listener = BoundListener::from(handed.swap_remove(index).1);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn not_handed(name: &str) -> io::Error {
    let text = format!(
        "systemd handed over no socket named \"{name}\"; the socket unit needs FileDescriptorName={name} and this service in Service="
    );
    io::Error::new(io::ErrorKind::NotFound, text)
}

/// The routing table's leaves that are addresses of this host: `|-- 192.0.2.1` followed by `/32 host LOCAL`.
fn local_v4(trie: &str) -> impl Iterator<Item = IpAddr> {
    let mut last = None;
    trie.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        }
        if line.starts_with("/32 host LOCAL") {
            last.map(IpAddr::V4)
        } else {
            None
        }
    })
}

/// `00000000000000000000000000000001 01 80 10 80       lo`
fn local_v6(table: &str) -> impl Iterator<Item = IpAddr> {
    table.lines().filter_map(|line| {
        let digits = line
            .split_whitespace()
            .next()
            .filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16)
            .ok()
            .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
    })
}

/// Connections that may wait for `accept`; the kernel lowers it to its own bound.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_read_from_the_kernels_tables() {
        let trie = "Local:\n  +-- 0.0.0.0/0 2 0 2\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n     |-- 192.0.2.7\n        /32 host LOCAL\n";
        let found: Vec<String> = local_v4(trie).map(|a| a.to_string()).collect();
        assert_eq!(found, ["127.0.0.1", "192.0.2.7"]);
        let table = "00000000000000000000000000000001 01 80 10 80       lo\nfe80 x\n";
        let found: Vec<String> = local_v6(table).map(|a| a.to_string()).collect();
        assert_eq!(found, ["::1"]);
    }

    #[test]
    fn this_machine_has_loopback() {
        assert!(
            SystemNet::default()
                .addresses()
                .unwrap()
                .contains(&IpAddr::V4(Ipv4Addr::LOCALHOST))
        );
    }

    #[test]
    fn a_taken_port_is_named_on_one_line() {
        let first = bind(&Place::Address("127.0.0.1:0".parse().unwrap())).unwrap();
        let at = first.local_addr().unwrap();
        let error = bind(&Place::Address(at)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot listen on {at}: the port is taken")),
            "{error}"
        );
    }

    #[test]
    fn a_foreign_address_and_a_missing_right_are_told_apart() {
        let at = "192.0.2.77:2525".parse().unwrap();
        let error = bind(&Place::Address(at)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("no interface of this machine has that address"),
            "{error}"
        );
        assert!(
            why_not(&"0.0.0.0:25".parse().unwrap(), Errno::ACCESS).contains("setcap cap_net_bind_service")
        );
        let error = bind(&Place::Socket("smtp".into())).unwrap_err();
        assert!(error.to_string().contains("no socket named \"smtp\""), "{error}");
    }

    #[test]
    fn one_port_serves_both_families_or_each_its_own() {
        let Ok(both) = bind(&Place::Address("[::]:0".parse().unwrap())) else {
            return;
        };
        let port = both.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(both);
        let six = bind(&Place::AddressV6Only("[::]:0".parse().unwrap())).unwrap();
        let port = six.local_addr().unwrap().port();
        bind(&Place::Address(SocketAddr::from(([0, 0, 0, 0], port)))).unwrap();
    }
}
