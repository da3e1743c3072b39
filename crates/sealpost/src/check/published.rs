//! What the domain publishes beside its hosts: an MTA-STS policy and where TLS reports go; and what is made of that.

use std::time::Duration;

use mail::Domain;
use trust::sts::{self, Discovered, Mode, POLICY_BYTES_MAX, POLICY_PATH, Policy};

use super::facts::{Facts, HostFacts};
use super::probe::Prober;
use super::rows::{Mark, Row};
use crate::ports::{NoAnswer, Txt, Wanted};

/// What was found of MTA-STS.
#[derive(Clone, Debug)]
pub struct StsFacts {
    /// What the TXT record says.
    pub discovered: Discovered,
    /// The policy, where the record says that there is one, or why it could not be had.
    pub policy: Option<Result<Policy, Box<str>>>,
}

/// Where TLS reports go (RFC 8460 §3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reports {
    /// Nowhere.
    Absent,
    /// To these places.
    To(Vec<Box<str>>),
    /// Something is published that counts as nothing, and why.
    Unusable(Box<str>),
    /// Not found out, and why.
    Failed(Box<str>),
}

impl Prober {
    /// Finds out about a domain's policy, by the record and by HTTPS; nothing is remembered.
    pub(super) async fn sts(&self, domain: &Domain) -> StsFacts {
        let discovered = match self.ports.dns.txt(sts::RECORD_LABEL, domain).await {
            Ok(answer) => sts::discover(answer.get()),
            Err(NoAnswer::NoSuchName(_) | NoAnswer::NoRecords(_)) => Discovered::Absent,
            Err(NoAnswer::Failed(why)) => Discovered::Failed(why),
        };
        let policy = match &discovered {
            Discovered::Published(_) => Some(self.policy(domain).await),
            Discovered::Absent | Discovered::Unusable(_) | Discovered::Failed(_) => None,
        };
        StsFacts { discovered, policy }
    }

    async fn policy(&self, domain: &Domain) -> Result<Policy, Box<str>> {
        let wanted = Wanted {
            host: sts::policy_host(domain).ok_or("the name of the policy host is too long")?,
            path: POLICY_PATH,
            media_type: "text/plain",
            bytes_max: POLICY_BYTES_MAX,
            wait: self.limits.fetch_wait,
            tls: self.tls.clone(),
        };
        let octets = self
            .ports
            .fetch
            .get(&wanted)
            .await
            .map_err(|why| why.to_string())?;
        Policy::parse(&octets).map_err(|bad| bad.to_string().into())
    }

    /// Finds out where TLS reports go.
    pub(super) async fn reports(&self, domain: &Domain) -> Reports {
        match self.ports.dns.txt(REPORTS_LABEL, domain).await {
            Ok(answer) => Reports::read(answer.get()),
            Err(NoAnswer::NoSuchName(_) | NoAnswer::NoRecords(_)) => Reports::Absent,
            Err(NoAnswer::Failed(why)) => Reports::Failed(why),
        }
    }
}

impl Reports {
    /// Reads all TXT records found at the name. Those of another version are not meant; of the others there must be one
    /// (RFC 8460 §3).
    pub fn read(records: &[Txt]) -> Reports {
        let ours = records
            .iter()
            .filter(|record| record.starts_with(REPORTS_VERSION.as_bytes()));
        let ours: Vec<&Txt> = ours.collect();
        let record = match ours.as_slice() {
            [] => return Reports::Absent,
            [one] => String::from_utf8_lossy(one),
            several => {
                return Reports::Unusable(
                    format!("{} records begin with {REPORTS_VERSION}", several.len()).into(),
                );
            }
        };
        let fields = record.split(';').skip(1).map(str::trim);
        let Some(places) = fields.filter_map(|field| field.strip_prefix("rua=")).next() else {
            return Reports::Unusable("it has no rua=".into());
        };
        let places: Vec<Box<str>> = places.split(',').map(|place| place.trim().into()).collect();
        match places
            .iter()
            .find(|place| !place.starts_with("mailto:") && !place.starts_with("https:"))
        {
            Some(odd) => Reports::Unusable(format!("{odd:?} is neither mailto: nor https:").into()),
            None => Reports::To(places),
        }
    }
}

impl StsFacts {
    /// What the policy says of a host.
    pub fn finding(&self, host: &mail::Host) -> sts::Finding {
        match (&self.discovered, &self.policy) {
            (Discovered::Published(id), Some(Ok(policy))) => sts::Finding::of(id, policy, host),
            (Discovered::Published(id), Some(Err(why))) => {
                sts::Finding::Absent(Some(format!("policy {id} could not be fetched: {why}").into()))
            }
            (Discovered::Failed(why), _) => sts::Finding::Absent(Some(why.clone())),
            (Discovered::Unusable(bad), _) => sts::Finding::Absent(Some(bad.to_string().into())),
            (Discovered::Absent | Discovered::Published(_), _) => sts::Finding::Absent(None),
        }
    }
}

/// The rows of what the domain publishes.
pub(super) fn rows(facts: &Facts) -> Vec<Row> {
    let mut rows = vec![policy_row(&facts.sts)];
    if let (Some(Ok(policy)), Ok(hosts)) = (&facts.sts.policy, &facts.hosts) {
        rows.extend(age_row(policy));
        rows.extend(idle_pattern(policy, hosts));
    }
    rows.push(reports_row(facts));
    rows
}

fn policy_row(sts: &StsFacts) -> Row {
    let row = |mark, finding: String| Row::new("MTA-STS", mark, finding);
    match (&sts.discovered, &sts.policy) {
        (Discovered::Absent, _) => row(Mark::Note, "no policy".to_owned()).fix("sealpost dns writes one"),
        (Discovered::Unusable(bad), _) => row(Mark::Fault, format!("the TXT record counts as nothing: {bad}"))
            .fix("publish exactly one record like v=STSv1; id=20260101;"),
        (Discovered::Failed(why), _) => row(Mark::Unknown, format!("the TXT record could not be looked up: {why}")),
        (Discovered::Published(id), Some(Err(why))) => row(Mark::Fault, format!("policy {id} cannot be had: {why}"))
            .fix("serve it at https://mta-sts.DOMAIN/.well-known/mta-sts.txt as text/plain, with a trusted certificate"),
        (Discovered::Published(id), Some(Ok(policy))) => match policy.mode {
            Mode::Enforce => row(Mark::Good, format!("policy {id} is in force")),
            Mode::Testing => row(Mark::Note, format!("policy {id} is only being tested: senders report, and send all the same"))
                .fix("set mode: enforce once the reports are clean, with a new id"),
            Mode::None => row(Mark::Note, format!("policy {id} says mode: none")).fix("set mode: testing, later enforce"),
        },
        (Discovered::Published(id), None) => row(Mark::Unknown, format!("policy {id} was not asked for")),
    }
}

/// RFC 8461 §10.2: a short life gives an attacker more chances to block the first fetch.
fn age_row(policy: &Policy) -> Option<Row> {
    let short = policy.mode != Mode::None && policy.max_age < SHORT_LIFE;
    let text = format!(
        "max_age is {} s: senders forget the policy soon",
        policy.max_age.as_secs()
    );
    short.then(|| Row::new("MTA-STS", Mark::Note, text).fix("use weeks: max_age: 2592000"))
}

fn idle_pattern(policy: &Policy, hosts: &[HostFacts]) -> Option<Row> {
    let used = |pattern: &sts::MxPattern| {
        hosts
            .iter()
            .any(|host| host.host.name().is_some_and(|name| pattern.fits(name)))
    };
    let idle: Vec<String> = policy
        .mx
        .iter()
        .filter(|pattern| !used(pattern))
        .map(ToString::to_string)
        .collect();
    let text = format!(
        "the policy lists {}, which is no mail exchanger now",
        idle.join(", ")
    );
    (!idle.is_empty()).then(|| Row::new("MTA-STS", Mark::Note, text))
}

fn reports_row(facts: &Facts) -> Row {
    let row = |mark, finding: String| Row::new("TLSRPT", mark, finding);
    match &facts.reports {
        Reports::To(places) => row(Mark::Good, format!("reports go to {}", places.join(", "))),
        Reports::Absent => row(
            Mark::Note,
            "no TLSRPT record: nobody tells of failed handshakes".to_owned(),
        )
        .fix(format!(
            "publish _smtp._tls.{}. IN TXT \"v=TLSRPTv1; rua=mailto:…\"",
            facts.domain
        )),
        Reports::Unusable(why) => row(Mark::Fault, format!("the TLSRPT record counts as nothing: {why}"))
            .fix("publish exactly one record like v=TLSRPTv1; rua=mailto:reports@DOMAIN"),
        Reports::Failed(why) => row(
            Mark::Unknown,
            format!("the TLSRPT record could not be looked up: {why}"),
        ),
    }
}

/// Where the TLSRPT record stands (RFC 8460 §3).
pub const REPORTS_LABEL: &str = "_smtp._tls";
const REPORTS_VERSION: &str = "v=TLSRPTv1;";
/// Less than this is short.
const SHORT_LIFE: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_with_places_to_report_to() {
        let read = |records: &[&str]| {
            let records: Vec<Txt> = records.iter().map(|text| text.as_bytes().into()).collect();
            Reports::read(&records)
        };
        assert_eq!(read(&[]), Reports::Absent);
        assert_eq!(read(&["v=spf1 -all"]), Reports::Absent);
        let places = |list: &[&str]| Reports::To(list.iter().map(|place| (*place).into()).collect());
        assert_eq!(
            read(&["v=TLSRPTv1; rua=mailto:a@b.example"]),
            places(&["mailto:a@b.example"])
        );
        assert_eq!(
            read(&["other", "v=TLSRPTv1;rua=https://b.example/r, mailto:a@b.example;"]),
            places(&["https://b.example/r", "mailto:a@b.example"])
        );
        for bad in [
            &["v=TLSRPTv1; rua=mailto:a@b", "v=TLSRPTv1; rua=mailto:a@b"][..],
            &["v=TLSRPTv1;"],
            &["v=TLSRPTv1; rua=ftp://b.example"],
        ] {
            assert!(matches!(read(bad), Reports::Unusable(_)), "{bad:?}");
        }
    }
}
