//! Exim (GnuTLS build): receives over STARTTLS, delivers to one Maildir, sends over STARTTLS where it is offered.

use std::path::PathBuf;

use super::{Host, MESSAGE_MEGABYTES_MAX, MailServer, shown};
use crate::certificate::Certificate;
use crate::dialogue;
use crate::enclosure::{Enclosure, Plan, give_to};
use crate::letter::Letter;
use crate::packages::Unpacked;
use crate::place::{make_folder, write};

/// A running Exim.
pub struct Exim {
    host: Host,
    program: PathBuf,
    enclosure: Enclosure,
}

impl Exim {
    /// Starts one.
    pub fn start(host: Host) -> Exim {
        let program = Unpacked::Exim.folder().join("usr/sbin/exim4");
        let certificate = Certificate::for_host(&host.name, &host.folder.join("tls"));
        for name in ["spool", "log", "mail", "tls"] {
            let folder = host.folder.join(name);
            make_folder(&folder);
            give_to("Debian-exim", &folder);
        }
        let plan = Plan::new(&host.folder, host.resolver).log(host.folder.join("log/mainlog"));
        make_folder(&plan.etc("exim4"));
        write(
            &plan.etc("exim4/exim4.conf"),
            configuration(&host, &program, &certificate),
        );
        let enclosure = plan.start("Exim", &program, &["-bdf", "-q2s"]);
        enclosure.wait_for_port(host.port_25());
        Exim {
            host,
            program,
            enclosure,
        }
    }
}

impl MailServer for Exim {
    fn name(&self) -> &'static str {
        "Exim"
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn hand_in(&self, letter: &Letter) {
        dialogue::hand_in(self.host.port_25(), letter);
    }

    fn retry(&self) {
        self.enclosure.run(&self.program, &["-qff"]);
    }

    fn logged(&self) -> String {
        self.enclosure.logged()
    }
}

fn configuration(host: &Host, program: &std::path::Path, certificate: &Certificate) -> String {
    let at = |path: &str| shown(&host.folder.join(path));
    format!(
        "exim_path = {program}
spool_directory = {spool}
log_file_path = {log}/%slog
pid_file_path = {pid}
primary_hostname = {name}
local_interfaces = {address}
daemon_smtp_ports = 25
exim_user = Debian-exim
exim_group = Debian-exim
tls_advertise_hosts = *
tls_certificate = {chain}
tls_privatekey = {key}
smtputf8_advertise_hosts = *
message_size_limit = {MESSAGE_MEGABYTES_MAX}M
smtp_accept_max = 200
recipients_max = 5000
smtp_accept_queue_per_connection = 0
host_lookup =
keep_environment =
log_selector = +tls_cipher +smtp_confirmation +received_recipients
acl_smtp_rcpt = accept
acl_smtp_data = accept
domainlist local_domains = {domain}
begin routers
here:
  driver = accept
  domains = +local_domains
  transport = maildir
elsewhere:
  driver = dnslookup
  domains = ! +local_domains
  transport = outward
  self = send
  no_more
begin transports
maildir:
  driver = appendfile
  directory = {mail}
  maildir_format
  create_directory
  user = Debian-exim
  group = Debian-exim
  envelope_to_add
  return_path_add
outward:
  driver = smtp
  interface = {address}
  allow_localhost
  message_linelength_limit = 1G
begin retry
* * F,1h,3s
",
        program = shown(program),
        spool = at("spool"),
        log = at("log"),
        pid = at("exim.pid"),
        name = host.name,
        address = host.address,
        chain = shown(&certificate.chain),
        key = shown(&certificate.key),
        domain = host.domain,
        mail = at("mail"),
    )
}
