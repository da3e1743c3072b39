//! A destination as it stands now: its hosts, what is known of them, and what would be demanded.

use std::time::SystemTime;

use mail::{Class, Domain, Mailbox, TlsWish};
use serde::{Deserialize, Serialize};
use trust::{Demand, Plan, Source};

use super::trial::{Trial, trials};
use super::{Explainer, words};
use crate::control::queue::rfc3339;
use crate::deliver::Courier;
use crate::mailbox::screen;
use crate::ports::Answer;
use crate::promises::Consulted;
use crate::route::{Destination, Hop, NoWay, Way};
use crate::sts::Told;

/// Mail for a destination, if it went now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Outlook {
    /// What was asked about.
    pub destination: String,
    /// When, RFC 3339.
    pub at: String,
    /// What would happen, in a sentence or two.
    pub finding: String,
    /// Why.
    pub cause: Vec<String>,
    /// What can be done, if something should be.
    pub advice: Vec<String>,
    /// How the hosts were found.
    pub routing: Routing,
    /// The hosts in the order in which they would be tried.
    pub hosts: Vec<HostOutlook>,
}

/// How hosts were found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Routing {
    /// The queue within the queue that such mail waits in.
    pub lane: String,
    /// By which rule or records.
    pub by: String,
    /// What was odd about the records.
    pub remarks: Vec<String>,
    /// Why there is no host, if there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

/// One host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HostOutlook {
    /// Its name.
    pub host: String,
    /// The preference of its MX record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preference: Option<u16>,
    /// How its name came to be known.
    pub named: String,
    /// Where it would be dialled, in this order.
    pub addresses: Vec<String>,
    /// Whether DNSSEC vouches for the addresses.
    pub addresses_proven: bool,
    /// What each source says.
    pub inputs: Vec<Input>,
    /// What would be demanded: `none`, `opportunistic`, `encrypted`, `verified`; none if the host would not be used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub demand: Option<String>,
    /// Who asks for the strictest.
    pub source: String,
    /// Why it would not be used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub avoided: Option<String>,
    /// All that the channel would have to meet.
    pub asked: Vec<AskedOf>,
    /// What each source said for the plan, in the order in which it was heard.
    pub reasons: Vec<Said>,
    /// How TLS would be opened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls: Option<Offer>,
    /// What would happen if.
    pub trials: Vec<Trial>,
}

/// What one source says of a host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Input {
    /// `policy`, `dane`, `mta-sts`, `ledger` or `message`.
    pub source: String,
    /// What it says.
    pub finding: String,
    /// Since when that is known, RFC 3339; none for what was looked up just now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
    /// Until when it counts, RFC 3339, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
}

/// One thing that a channel would have to meet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AskedOf {
    /// Who asks.
    pub by: String,
    /// For what, in words.
    pub what: String,
}

/// One reason of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Said {
    /// Who.
    pub source: String,
    /// The least it asks for; none if it only remarks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub demand: Option<String>,
    /// In plain words.
    pub text: String,
}

/// How TLS would be opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The name asked for by SNI.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server_name: Option<String>,
    /// The oldest version offered.
    pub version_min: String,
    /// The only key exchange groups offered; empty for all.
    pub groups: Vec<String>,
    /// The certificate shown to the host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
}

impl Explainer {
    pub(super) async fn outlook(&self, mailbox: &Mailbox, wish: TlsWish) -> Outlook {
        let now = self.ports.clock.now();
        let destination = self.rules.routes.destination(mailbox);
        let bare = Outlook {
            // A domain is asked about by its postmaster.
            destination: screen::line(mailbox.as_str().trim_start_matches("postmaster@")),
            at: rfc3339(now),
            routing: Routing {
                lane: screen::line(&destination.to_string()),
                by: by(&destination),
                ..Routing::default()
            },
            ..Outlook::default()
        };
        let courier = match (&destination, &self.rules.courier) {
            (Destination::Local, _) => {
                let finding =
                    format!("Mail for {mailbox} stays here: it goes into a mailbox of this server.");
                return Outlook { finding, ..bare };
            }
            (_, None) => return nothing_leaves(bare),
            (_, Some(courier)) => courier,
        };
        let roll = self.ports.clock.roll();
        match self.rules.routes.find(&destination, &*self.ports.dns, roll).await {
            Ok(way) => self.with_hosts(bare, courier, &way, wish, now).await,
            Err(no_way) => no_host(bare, &no_way),
        }
    }

    async fn with_hosts(
        &self,
        bare: Outlook,
        courier: &Courier,
        way: &Way,
        wish: TlsWish,
        now: SystemTime,
    ) -> Outlook {
        let mut outlook = bare;
        outlook.routing.remarks = way.remarks.iter().map(|remark| screen::line(remark)).collect();
        for hop in &way.hops {
            let consulted = courier.promises.consult(hop, way.domain.as_ref(), wish).await;
            let kept = way
                .domain
                .as_ref()
                .and_then(|domain| courier.promises.kept_policy(domain));
            let mut host = host(hop, &consulted, wish, kept.as_ref());
            if let Ok(plan) = &consulted.plan {
                host.trials = trials(plan, &self.rules, &courier.tls, now);
            }
            outlook.hosts.push(host);
        }
        conclude(&mut outlook, way.domain.as_ref());
        outlook
    }
}

fn by(destination: &Destination) -> String {
    match destination {
        Destination::Local => "a mailbox of this server".to_owned(),
        Destination::Smart(via, crate::config::route::Lookup::Host) => {
            format!("a rule of [[route.rule]]: by the smart host {via}")
        }
        Destination::Smart(via, crate::config::route::Lookup::Mx) => {
            format!("a rule of [[route.rule]]: by the mail exchangers of {via}")
        }
        Destination::Domain(domain) => format!("the mail exchangers of {domain}"),
        Destination::Literal(_) => "the address itself".to_owned(),
    }
}

fn nothing_leaves(bare: Outlook) -> Outlook {
    Outlook {
        finding: "Nothing ever leaves this machine: the server runs for trials, without a configuration."
            .to_owned(),
        advice: vec!["Start it with a configuration: sealpost serve --config FILE.".to_owned()],
        ..bare
    }
}

fn no_host(bare: Outlook, no_way: &NoWay) -> Outlook {
    let problem = screen::line(&no_way.text);
    let (finding, advice) = match no_way.status.class() {
        Class::Permanent => (
            "Mail would go back to its sender: there is no host that takes it.",
            "See that the address is spelled well; else only the domain's owner can mend it.",
        ),
        Class::Success | Class::Transient => (
            "Mail would wait here: which hosts take it could not be found out.",
            "If it lasts, ask the same name of another resolver: sealpost check shows which look-up fails.",
        ),
    };
    Outlook {
        finding: finding.to_owned(),
        cause: vec![format!("{} {problem}", no_way.status)],
        advice: vec![advice.to_owned()],
        routing: Routing {
            problem: Some(problem),
            ..bare.routing
        },
        ..bare
    }
}

fn host(hop: &Hop, consulted: &Consulted, wish: TlsWish, kept: Option<&Told>) -> HostOutlook {
    let (plan, avoid) = match &consulted.plan {
        Ok(plan) => (Some(plan), None),
        Err(avoid) => (None, Some(avoid)),
    };
    let reasons = plan
        .map(|plan| plan.reasons())
        .or(avoid.map(|avoid| &*avoid.reasons));
    HostOutlook {
        host: hop.host.to_string(),
        preference: hop.exchanger.as_ref().map(|mx| mx.get().preference),
        named: words::origin(hop.origin).to_owned(),
        addresses: hop.addresses.iter().map(ToString::to_string).collect(),
        addresses_proven: matches!(hop.found, Answer::Secure(_)),
        inputs: inputs(consulted, wish, kept),
        demand: plan.map(|plan| plan.demand().to_string()),
        source: plan
            .map(Plan::source)
            .or(avoid.map(|avoid| avoid.source))
            .unwrap_or(Source::Default)
            .to_string(),
        avoided: avoid.map(|avoid| screen::line(&avoid.why.to_string())),
        asked: plan.map(asked).unwrap_or_default(),
        reasons: reasons.unwrap_or_default().iter().map(said).collect(),
        tls: plan.filter(|plan| plan.demand() > Demand::None).map(offer),
        trials: Vec::new(),
    }
}

fn inputs(consulted: &Consulted, wish: TlsWish, kept: Option<&Told>) -> Vec<Input> {
    let input = |source: Source, finding: String| Input {
        source: source.to_string(),
        finding: screen::line(&finding),
        since: None,
        until: None,
    };
    let rule = match &consulted.rule {
        Some(rule) => format!("rule {} asks for {}", rule.name, rule.demand),
        None => "no rule fits".to_owned(),
    };
    let wish = match wish {
        TlsWish::Usual => "no wish of its own",
        TlsWish::Required => "REQUIRETLS: proven TLS on every hop",
        TlsWish::Waived => "TLS-Required: No",
    };
    let trouble = kept.and_then(|told| told.trouble.as_ref());
    let trouble = trouble.map(|(times, why)| format!("; refreshed in vain {times} times: {why}"));
    let sts = Input {
        since: kept.map(|told| rfc3339(told.fetched)),
        until: kept.map(|told| rfc3339(told.fetched + told.policy.max_age)),
        ..input(
            Source::Sts,
            words::sts(&consulted.sts) + &trouble.unwrap_or_default(),
        )
    };
    let ledger = Input {
        since: consulted.claim.since.map(rfc3339),
        ..input(Source::Ledger, words::claim(&consulted.claim))
    };
    vec![
        input(Source::Policy, rule),
        input(Source::Dane, words::dane(&consulted.dane)),
        sts,
        ledger,
        input(Source::Message, wish.to_owned()),
    ]
}

fn asked(plan: &Plan) -> Vec<AskedOf> {
    let of = |asked: &trust::plan::Asked| AskedOf {
        by: asked.by.to_string(),
        what: words::requirement(&asked.what),
    };
    plan.asked().iter().map(of).collect()
}

pub(super) fn said(reason: &trust::Reason) -> Said {
    Said {
        source: reason.source.to_string(),
        demand: reason.demand.map(|demand| demand.to_string()),
        text: screen::line(&reason.text),
    }
}

fn offer(plan: &Plan) -> Offer {
    Offer {
        server_name: plan.server_name().map(ToString::to_string),
        version_min: plan.version_min().to_string(),
        groups: plan
            .groups()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect(),
        certificate: plan.certificate().map(str::to_owned),
    }
}

/// Finding, cause and advice, from the hosts.
fn conclude(outlook: &mut Outlook, domain: Option<&Domain>) {
    let Some(first) = outlook.hosts.iter().find(|host| host.avoided.is_none()) else {
        return all_avoided(outlook);
    };
    let demand = first
        .demand
        .as_deref()
        .and_then(parse_demand)
        .unwrap_or(Demand::Opportunistic);
    let vanished = first
        .trials
        .iter()
        .find(|trial| trial.event == "starttls_vanished");
    let lost = match vanished {
        Some(trial) if trial.sent => " If STARTTLS vanished this minute, it would go in clear.",
        Some(_) => " If STARTTLS vanished this minute, nothing would go: it would wait here.",
        None => "",
    };
    let mut finding = format!(
        "Mail for {} would go to {} first, {}.{lost}",
        outlook.destination,
        first.host,
        words::demand(demand)
    );
    if outlook.hosts.iter().any(|host| host.demand != first.demand) {
        finding.push_str(" Its other hosts stand differently: see below.");
    }
    let advice = match (vanished, domain) {
        (Some(trial), Some(domain)) if trial.sent => vec![
            format!(
                "To have it held instead: a [[trust.rule]] for {domain} with demand = \"encrypted\" or \"verified\"."
            ),
            "The ledger binds by itself once the host has encrypted often enough, over time enough."
                .to_owned(),
        ],
        (_, _) => Vec::new(),
    };
    (outlook.cause, outlook.finding, outlook.advice) = (causes(first), finding, advice);
}

fn all_avoided(outlook: &mut Outlook) {
    outlook.finding = format!(
        "Mail for {} would wait here: none of its hosts may be used now.",
        outlook.destination
    );
    let why = |host: &HostOutlook| Some(format!("{}: {}", host.host, host.avoided.as_ref()?));
    outlook.cause = outlook.hosts.iter().filter_map(why).collect();
    outlook.advice = vec![
        "It is tried again by itself. If it lasts, sealpost check shows what the domain must mend."
            .to_owned(),
    ];
}

/// What each source asks for.
fn causes(host: &HostOutlook) -> Vec<String> {
    let asking = host.reasons.iter().filter(|said| said.demand.is_some());
    let causes: Vec<String> = asking
        .map(|said| format!("{}: {}", said.source, said.text))
        .collect();
    match causes.is_empty() {
        true => vec![
            "Nothing is published of this host, no rule fits, and the ledger demands nothing of it yet."
                .to_owned(),
        ],
        false => causes,
    }
}

fn parse_demand(word: &str) -> Option<Demand> {
    [
        Demand::None,
        Demand::Opportunistic,
        Demand::Encrypted,
        Demand::Verified,
    ]
    .into_iter()
    .find(|demand| demand.to_string() == word)
}
