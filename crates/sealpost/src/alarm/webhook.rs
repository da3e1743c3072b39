//! Posts an alarm as JSON, signed, over HTTPS with a proven certificate; in clear to this machine only.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use mail::{Domain, Host, TlsVersion};
use trust::Path as CertificatePath;

use crate::ports::{Ports, Stream, within};
use crate::tls::{Ask, ClientTls, Encrypted};

/// One post.
pub(super) struct Post<'a> {
    pub(super) url: &'a str,
    pub(super) secret_file: Option<&'a Path>,
    pub(super) wait: Duration,
    pub(super) body: Vec<u8>,
    pub(super) ports: &'a Ports,
    pub(super) tls: ClientTls,
}

/// Where a post goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    host: Host,
    port: u16,
    channel: Channel,
    path: String,
    authority: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Channel {
    Clear,
    Tls,
}

impl Target {
    /// Reads a URL: `https://`, or `http://` to a loopback address.
    pub fn parse(url: &str) -> Result<Target, String> {
        let uri: Uri = url.parse().map_err(|why| format!("{url:?} is no URL: {why}"))?;
        let authority = uri.authority().ok_or_else(|| format!("{url:?} names no host"))?;
        if authority.as_str().contains('@') {
            return Err(format!("{url:?} holds a password: posts are signed instead"));
        }
        let name = authority.host().trim_matches(['[', ']']);
        let host = match name.parse::<IpAddr>() {
            Ok(address) => Host::Literal(address),
            Err(_) => Host::Name(Domain::parse(name).map_err(|why| format!("{name:?} is no host: {why}"))?),
        };
        let loopback = matches!(host, Host::Literal(address) if address.is_loopback());
        let (channel, usual) = match uri.scheme_str() {
            Some("https") if host.name().is_some() => (Channel::Tls, 443),
            Some("https") => {
                return Err(format!(
                    "{url:?} has an address, and no certificate proves one: give a name"
                ));
            }
            Some("http") if loopback => (Channel::Clear, 80),
            _ => return Err(format!("{url:?} is neither https nor http to 127.0.0.1 or [::1]")),
        };
        Ok(Target {
            host,
            port: authority.port_u16().unwrap_or(usual),
            channel,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            authority: authority.as_str().to_owned(),
        })
    }
}

impl Post<'_> {
    /// Posts it. An error is one line; it may have arrived nevertheless.
    pub(super) async fn send(self) -> Result<(), String> {
        let target = Target::parse(self.url)?;
        let file = self.secret_file.ok_or("[alarm] secret_file is not set")?;
        let file = file.to_owned();
        let read = crate::spooling::off_the_async_threads(move || crate::config::read_text(&file)).await;
        let secret = read
            .unwrap_or_else(|| Ok(String::new()))
            .map_err(|error| error.to_string())?;
        let secret = secret.trim();
        if secret.is_empty() {
            return Err("[alarm] secret_file is empty".to_owned());
        }
        let (wait, clock) = (self.wait, self.ports.clock.clone());
        let signed = signature(secret.as_bytes(), clock.now(), &self.body);
        let all = async {
            let stream = self.connect(&target).await?;
            self.ask(stream, &target, &signed).await
        };
        let done = within(&*clock, wait, all).await;
        done.unwrap_or_else(|| Err(format!("no answer within {} s", wait.as_secs())))
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, String> {
        let addresses = match &target.host {
            Host::Literal(address) => vec![*address],
            Host::Name(name) => {
                let found = self.ports.dns.addresses(name).await;
                let found = found.map_err(|none| format!("{name}: no address: {none:?}"))?;
                found.answer.get().clone()
            }
        };
        let mut last = format!("{} has no address", target.host);
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            match self
                .ports
                .net
                .connect(SocketAddr::new(address, target.port), None)
                .await
            {
                Ok(stream) => return self.secured(stream, target).await,
                Err(error) => last = format!("{address}: {error}"),
            }
        }
        Err(last)
    }

    async fn secured(&self, stream: Box<dyn Stream>, target: &Target) -> Result<Box<dyn Stream>, String> {
        let (Channel::Tls, Some(name)) = (target.channel, target.host.name()) else {
            return Ok(stream);
        };
        let ask = Ask {
            server_name: Some(name),
            version_min: TlsVersion::V1_2,
            groups: None,
            certificate: None,
        };
        let shaken = self.tls.connect(stream, &target.host, ask, self.wait).await;
        let Encrypted {
            stream, certificates, ..
        } = shaken.map_err(|error| error.to_string())?;
        match certificates.path() {
            CertificatePath::Trusted if certificates.covers(name) => Ok(stream),
            CertificatePath::Trusted => Err(format!("its certificate is not for {name}")),
            CertificatePath::Flawed(_, why) => Err(format!("its certificate is not trusted: {why}")),
            CertificatePath::Unchecked => Err("this server trusts no root".to_owned()),
        }
    }

    async fn ask(&self, stream: Box<dyn Stream>, target: &Target, signed: &str) -> Result<(), String> {
        let broken = |error: hyper::Error| error.to_string();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = Request::post(&target.path)
            .header(header::HOST, &target.authority)
            .header(
                header::USER_AGENT,
                concat!("Sealpost/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONTENT_TYPE, "application/json")
            .header("Sealpost-Signature", signed)
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(self.body.clone())))
            .map_err(|error| error.to_string())?;
        // The connection moves only while it is polled; its end reaches the answer by itself.
        let driving = async {
            let _ = connection.await;
            std::future::pending::<()>().await
        };
        let response = tokio::select! {
            biased;
            response = sender.send_request(request) => response.map_err(broken)?,
            () = driving => return Err("the connection ended".to_owned()),
        };
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered {}", status.as_u16())),
        }
    }
}

/// `t=SECONDS,v1=HEX`: the HMAC-SHA256, by the shared secret, of the seconds since 1970, a dot, and the body.
pub fn signature(secret: &[u8], at: SystemTime, body: &[u8]) -> String {
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    let mut text = format!("t={seconds},v1=");
    for octet in context.sign().as_ref() {
        // A string takes any text.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

const ADDRESSES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posts_go_under_lock_or_stay_on_this_machine() {
        for fine in [
            "https://hooks.example/a?b=c",
            "https://hooks.example:8443",
            "http://127.0.0.1:8080/x",
            "http://[::1]/",
        ] {
            assert!(Target::parse(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "hooks.example",
            "http://hooks.example/",
            "http://localhost/",
            "http://192.0.2.1/",
            "https://192.0.2.1/",
            "https://a:b@hooks.example/",
            "ftp://hooks.example/",
        ] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_signature_is_that_of_time_and_body() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert_eq!(signature(b"key", at, b"{}"), SIGNED);
        assert_ne!(signature(b"key", at + Duration::from_secs(1), b"{}"), SIGNED);
    }

    /// Made by other means than this program.
    const SIGNED: &str = "t=1800000000,v1=7321475872b03ff21bdc2dfd86ea2d99ec29c479fbe4a77aa6acf4509505493f";
}
