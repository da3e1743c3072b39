//! chasquid: receives over STARTTLS and delivers by a script; takes mail for elsewhere only from its own users, on port 587.

use std::net::SocketAddr;
use std::process::Command;

use super::clients::{Channel, Smtplib};
use super::{Host, MESSAGE_MEGABYTES_MAX, MailServer, shown};
use crate::certificate::Certificate;
use crate::enclosure::{Enclosure, Plan, run};
use crate::letter::Letter;
use crate::packages::Unpacked;
use crate::place::{make_folder, set_mode, write};

/// The mailbox that receives.
pub const USER: &str = "lab";
const PASSWORD: &str = "a-password-for-the-lab";

/// Keeps each message in a file of its own; the name is final only when the file is whole.
const SINK: &str = r#"#!/bin/sh
set -eu
file=$(mktemp "$1/tmp.XXXXXXXX")
cat > "$file"
mv "$file" "$1/new.${file##*.}"
"#;

/// A running chasquid. It knows the user [`USER`] of its domain.
pub struct Chasquid {
    host: Host,
    enclosure: Enclosure,
}

impl Chasquid {
    /// Starts one.
    pub fn start(host: Host) -> Chasquid {
        let program = Unpacked::Chasquid.folder().join("usr/bin");
        let at = |path: &str| host.folder.join(path);
        Certificate::for_host(&host.name, &at("conf/certs").join(&host.name));
        for folder in [at("conf/domains").join(&host.domain), at("data"), at("mail")] {
            make_folder(&folder);
        }
        let sink = at("sink.sh");
        write(&sink, SINK);
        set_mode(&sink, 0o755);
        write(&at("conf/chasquid.conf"), configuration(&host));
        // Before the start: users that come later are only noticed after half a minute.
        let mut user_add = Command::new(program.join("chasquid-util"));
        user_add
            .arg(format!("-C={}", shown(&at("conf"))))
            .arg("user-add")
            .arg(format!("{USER}@{}", host.domain));
        run(user_add.arg(format!("--password={PASSWORD}")));
        let plan = Plan::new(&host.folder, host.resolver).log(at("mail.log"));
        let configured = ["-config_dir", &shown(&at("conf")), "-alsologtostderr", "-v", "2"];
        let enclosure = plan.start("chasquid", &program.join("chasquid"), &configured);
        enclosure.wait_for_port(host.port_25());
        Chasquid { host, enclosure }
    }
}

impl MailServer for Chasquid {
    fn name(&self) -> &'static str {
        "chasquid"
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn hand_in(&self, letter: &Letter) {
        let user = format!("{USER}@{}", self.host.domain);
        let port = SocketAddr::new(self.host.address, 587);
        Smtplib::new(port, Channel::StartTls)
            .with_login(&user, PASSWORD)
            .send(letter)
            .must_succeed();
    }

    /// It retries by its own clock alone: after a minute at first.
    fn retry(&self) {}

    fn logged(&self) -> String {
        self.enclosure.logged()
    }
}

fn configuration(host: &Host) -> String {
    let at = |path: &str| shown(&host.folder.join(path));
    format!(
        r#"hostname: "{name}"
max_data_size_mb: {MESSAGE_MEGABYTES_MAX}
smtp_address: "{address}:25"
submission_address: "{address}:587"
mail_delivery_agent_bin: "{sink}"
mail_delivery_agent_args: "{mail}"
data_dir: "{data}"
mail_log_path: "{log}"
"#,
        name = host.name,
        address = host.address,
        sink = at("sink.sh"),
        mail = at("mail"),
        data = at("data"),
        log = at("mail.log"),
    )
}
