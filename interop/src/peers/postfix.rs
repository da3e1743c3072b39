//! Postfix: receives over STARTTLS, delivers to Maildirs by its `virtual` agent, sends over STARTTLS where it is offered.

use std::path::PathBuf;

use super::{Host, MailServer, shown};
use crate::certificate::Certificate;
use crate::dialogue;
use crate::enclosure::{Enclosure, Plan, READER, give_to};
use crate::letter::Letter;
use crate::packages::Unpacked;
use crate::place::{make_folder, write};

/// A running Postfix.
pub struct Postfix {
    host: Host,
    program: PathBuf,
    enclosure: Enclosure,
}

impl Postfix {
    /// Starts one with a certificate of its own making. `extra` is appended to `main.cf`.
    pub fn start(host: Host, extra: &str) -> Postfix {
        let certificate = Certificate::for_host(&host.name, &host.folder.join("tls"));
        Postfix::start_with(host, &certificate, extra)
    }

    /// The same with this certificate.
    pub fn start_with(host: Host, certificate: &Certificate, extra: &str) -> Postfix {
        let program = Unpacked::Postfix.folder();
        let log = host.folder.join("mail.log");
        let plan = Plan::new(&host.folder, host.resolver)
            .mount(program.join("usr/lib/postfix"), "/usr/lib/postfix")
            .log(log);
        for (name, user) in [
            ("spool", None),
            ("data", Some("postfix")),
            ("mail", Some("reader")),
        ] {
            let folder = host.folder.join(name);
            make_folder(&folder);
            if let Some(user) = user {
                give_to(user, &folder);
            }
        }
        make_folder(&plan.etc("postfix"));
        write(
            &plan.etc("postfix/main.cf"),
            main_cf(&host, &program, certificate) + extra,
        );
        write(&plan.etc("postfix/master.cf"), master_cf(&host));
        let postfix = program.join("usr/sbin/postfix");
        let enclosure = plan.start("Postfix", &postfix, &["-c", "/etc/postfix", "start-fg"]);
        enclosure.wait_for_port(host.port_25());
        Postfix {
            host,
            program,
            enclosure,
        }
    }

    /// The folder of its programs, for `smtp-source` and its relatives.
    pub fn sbin(&self) -> PathBuf {
        self.program.join("usr/sbin")
    }

    /// The enclosure, to run its other programs in.
    pub fn enclosure(&self) -> &Enclosure {
        &self.enclosure
    }

    /// What waits in its queue, as its `postqueue -p` prints it.
    pub fn queue(&self) -> String {
        let output = self
            .enclosure
            .run(&self.sbin().join("postqueue"), &["-c", "/etc/postfix", "-p"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl MailServer for Postfix {
    fn name(&self) -> &'static str {
        "Postfix"
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn hand_in(&self, letter: &Letter) {
        dialogue::hand_in(self.host.port_25(), letter);
    }

    fn retry(&self) {
        self.enclosure
            .run(&self.sbin().join("postqueue"), &["-c", "/etc/postfix", "-f"]);
    }

    fn logged(&self) -> String {
        self.enclosure.logged()
    }
}

fn main_cf(host: &Host, program: &std::path::Path, certificate: &Certificate) -> String {
    let at = |path: &str| shown(&host.folder.join(path));
    let from = |path: &str| shown(&program.join(path));
    format!(
        "compatibility_level = 3.6
queue_directory = {spool}
data_directory = {data}
command_directory = {sbin}
daemon_directory = {daemons}
shlib_directory = /usr/lib/postfix
meta_directory = {meta}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {log}
maillog_file_prefixes = /
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_bind_address = {address}
myhostname = {name}
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {mail}
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{READER}
virtual_gid_maps = static:{READER}
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 0
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_chain_files = {key}, {chain}
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
smtp_tls_loglevel = 1
smtp_tls_security_level = may
smtputf8_enable = yes
strict_smtputf8 = no
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_recipient_limit = 5000
minimal_backoff_time = 2s
maximal_backoff_time = 5s
queue_run_delay = 2s
",
        spool = at("spool"),
        data = at("data"),
        sbin = from("usr/sbin"),
        daemons = from("usr/lib/postfix/sbin"),
        meta = from("etc/postfix"),
        log = at("mail.log"),
        address = host.address,
        name = host.name,
        domain = host.domain,
        mail = at("mail"),
        key = shown(&certificate.key),
        chain = shown(&certificate.chain),
    )
}

fn master_cf(host: &Host) -> String {
    let smtpd = format!("{}:25 inet n - n - - smtpd\n", host.address);
    let services = "pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";
    smtpd + services
}
