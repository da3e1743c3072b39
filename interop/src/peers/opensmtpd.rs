//! OpenSMTPD: receives in clear, since Debian 12's build cannot serve STARTTLS with OpenSSL 3; sends over STARTTLS.

use std::path::PathBuf;

use super::{Host, MESSAGE_MEGABYTES_MAX, MailServer, shown};
use crate::dialogue;
use crate::enclosure::{Enclosure, Plan, give_to};
use crate::letter::Letter;
use crate::packages::Unpacked;
use crate::place::{make_folder, set_mode, write};

/// A running OpenSMTPD.
pub struct OpenSmtpd {
    host: Host,
    program: PathBuf,
    enclosure: Enclosure,
}

impl OpenSmtpd {
    /// Starts one.
    pub fn start(host: Host) -> OpenSmtpd {
        let program = Unpacked::OpenSmtpd.folder();
        let at = |path: &str| host.folder.join(path);
        for name in ["spool/smtpd", "run", "varlib/opensmtpd/empty", "mail"] {
            make_folder(&at(name));
        }
        set_mode(&at("spool/smtpd"), 0o711);
        give_to("reader", &at("mail"));
        let plan = Plan::new(&host.folder, host.resolver)
            .mount(at("spool"), "/var/spool")
            .mount(at("varlib"), "/var/lib")
            .mount(at("run"), "/run")
            .mount(program.join("usr/libexec/opensmtpd"), "/usr/libexec/opensmtpd");
        write(&plan.etc("smtpd.conf"), configuration(&host));
        let enclosure = plan.start("OpenSMTPD", &program.join("usr/sbin/smtpd"), &["-d", "-v"]);
        enclosure.wait_for_port(host.port_25());
        OpenSmtpd {
            host,
            program,
            enclosure,
        }
    }
}

impl MailServer for OpenSmtpd {
    fn name(&self) -> &'static str {
        "OpenSMTPD"
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn hand_in(&self, letter: &Letter) {
        dialogue::hand_in(self.host.port_25(), letter);
    }

    fn retry(&self) {
        self.enclosure
            .run(&self.program.join("usr/sbin/smtpctl"), &["schedule", "all"]);
    }

    fn logged(&self) -> String {
        self.enclosure.logged()
    }
}

fn configuration(host: &Host) -> String {
    format!(
        r#"smtp max-message-size {MESSAGE_MEGABYTES_MAX}M
queue ttl 1h
table users {{ "@" = "reader" }}
listen on {address} port 25 hostname {name}
action "here" maildir "{mail}" virtual <users>
action "elsewhere" relay src {address} helo {name}
match from any for domain "{domain}" action "here"
match from any for any action "elsewhere"
"#,
        address = host.address,
        name = host.name,
        domain = host.domain,
        mail = shown(&host.mail()),
    )
}
