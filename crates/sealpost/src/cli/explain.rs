//! `sealpost explain`: why mail goes as it goes.

use clap::Args;

use super::page::{Page, Tone};
use super::{Failed, Format, Out};
use crate::control::client::{Client, query};
use crate::control::explain::Of;
use crate::explain::{AttemptStory, Explanation, HostOutlook, Offer, Outlook, Story, Trial};

/// What is asked.
#[derive(Args, Debug)]
pub(super) struct Command {
    /// An address, a domain, or a message's name.
    of: String,
    /// As if the message asked for proven TLS on every hop (RFC 8689).
    #[arg(long)]
    requiretls: bool,
    /// As if the message said "TLS-Required: No" (RFC 8689).
    #[arg(long, conflicts_with = "requiretls")]
    tls_waived: bool,
    /// How it is printed.
    #[command(flatten)]
    format: Format,
}

/// Asks and prints.
pub(super) async fn act(command: Command, client: &Client, out: &mut Out) -> Result<(), Failed> {
    let wish = match (command.requiretls, command.tls_waived) {
        (true, _) => Some("requiretls".to_owned()),
        (false, true) => Some("waived".to_owned()),
        (false, false) => None,
    };
    let of = Of { of: command.of, wish };
    let explanation: Explanation = client.get(&format!("/v1/explain{}", query(&of)?)).await?;
    let colours = out.colours;
    out.answer(command.format, &explanation, |out| {
        let page = match &explanation {
            Explanation::Destination(outlook) => outlook_page(outlook, colours),
            Explanation::Message(story) => story_page(story, colours),
        };
        write!(out, "{page}")
    })
}

fn outlook_page(outlook: &Outlook, colours: bool) -> String {
    let mut page = Page::new(colours);
    verdict(&mut page, &outlook.finding, &outlook.cause, &outlook.advice);
    page.head("Route");
    page.row(Tone::Plain, "by", &outlook.routing.by);
    page.row(Tone::Plain, "lane", &outlook.routing.lane);
    for remark in &outlook.routing.remarks {
        page.row(Tone::Note, "odd", remark);
    }
    for host in &outlook.hosts {
        host_part(&mut page, host);
    }
    page.text()
}

fn verdict(page: &mut Page, finding: &str, cause: &[String], advice: &[String]) {
    page.head("Finding");
    page.say(finding);
    if !cause.is_empty() {
        page.head("Cause");
        cause.iter().for_each(|cause| page.say(cause));
    }
    if !advice.is_empty() {
        page.head("What to do");
        advice.iter().for_each(|advice| page.say(advice));
    }
}

fn host_part(page: &mut Page, host: &HostOutlook) {
    let preference = host.preference.map(|preference| format!(" (MX {preference})"));
    page.head(&format!("Host {}{}", host.host, preference.unwrap_or_default()));
    page.row(Tone::Plain, "name", &host.named);
    let proven = match host.addresses_proven {
        true => "proven by DNSSEC",
        false => "without proof",
    };
    page.row(
        Tone::Plain,
        "addresses",
        &format!("{} ({proven})", host.addresses.join(", ")),
    );
    for input in &host.inputs {
        let since = input.since.as_ref().map(|since| format!(", since {since}"));
        let until = input.until.as_ref().map(|until| format!(", until {until}"));
        let times = format!("{}{}", since.unwrap_or_default(), until.unwrap_or_default());
        page.row(Tone::Plain, &input.source, &format!("{}{times}", input.finding));
    }
    match (&host.avoided, &host.demand) {
        (Some(avoided), _) => page.row(Tone::Bad, "not used", &format!("{avoided} ({})", host.source)),
        (None, Some(demand)) => {
            page.row(
                Tone::Good,
                "demand",
                &format!("{demand}, asked for by {}", host.source),
            );
        }
        (None, None) => {}
    }
    for asked in &host.asked {
        page.row(
            Tone::Plain,
            "must show",
            &format!("{} ({})", asked.what, asked.by),
        );
    }
    if let Some(tls) = &host.tls {
        page.row(Tone::Plain, "offers", &offer(tls));
    }
    for trial in &host.trials {
        trial_part(page, trial);
    }
}

fn offer(tls: &Offer) -> String {
    let mut text = format!("{} or newer", tls.version_min);
    if let Some(name) = &tls.server_name {
        text.push_str(&format!(", asking for {name}"));
    }
    if !tls.groups.is_empty() {
        text.push_str(&format!(", key exchange only by {}", tls.groups.join(" or ")));
    }
    if let Some(own) = &tls.certificate {
        text.push_str(&format!(", showing the certificate {own}"));
    }
    text
}

fn trial_part(page: &mut Page, trial: &Trial) {
    let (tone, verdict) = match (trial.sent, trial.in_clear) {
        (true, true) => (Tone::Note, "mail would go in clear"),
        (true, false) => (Tone::Plain, "mail would go, encrypted"),
        (false, _) => (Tone::Good, "no mail would go"),
    };
    page.row(
        tone,
        "if",
        &format!("{}: {verdict}: {}", trial.what_if, trial.because),
    );
    page.remedy(&trial.follows);
}

fn story_page(story: &Story, colours: bool) -> String {
    let mut page = Page::new(colours);
    let finding = format!("Message {}: {}", story.message, story.finding);
    verdict(&mut page, &finding, &story.cause, &story.advice);
    if !story.recipients.is_empty() {
        page.head("Recipients");
    }
    for recipient in &story.recipients {
        page.row(Tone::Plain, "to", &recipient.address);
        page.row(Tone::Plain, "", &recipient.finding);
        page.remedy(&recipient.next);
    }
    for attempt in &story.attempts {
        attempt_part(&mut page, attempt);
    }
    page.text()
}

fn attempt_part(page: &mut Page, attempt: &AttemptStory) {
    let address = attempt.address.as_ref().map(|address| format!(" ({address})"));
    page.head(&format!(
        "{}: {}{}",
        attempt.at,
        attempt.host,
        address.unwrap_or_default()
    ));
    page.row(
        Tone::Plain,
        "demand",
        &format!("{}, asked for by {}", attempt.demand, attempt.source),
    );
    for said in &attempt.reasons {
        page.row(Tone::Plain, &said.source, &said.text);
    }
    page.row(Tone::Plain, "shown", &attempt.shown);
    let tone = match attempt.sufficient {
        Some(true) => Tone::Good,
        Some(false) => Tone::Bad,
        None => Tone::Unknown,
    };
    page.row(tone, "verdict", &attempt.verdict);
    if let Some(reply) = &attempt.reply {
        page.row(Tone::Plain, "it said", reply);
    }
    page.row(Tone::Plain, "outcome", &attempt.outcome);
}
