//! MTA-STS (RFC 8461) in a world in memory: what is looked up and fetched when, what is kept, and where mail goes.
#![allow(clippy::unwrap_used)] // a test may panic

mod outbound;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mail::Host;
use outbound::{Page, StartTls, Stub, World, domain};
use sealpost::ports::NotFetched;
use sealpost::sts::Policies;
use trust::sts::{Finding, Listed};

const URL: &str = "https://mta-sts.a.example/.well-known/mta-sts.txt";
const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

fn policy(mode: &str, mx: &str, max_age: u64) -> String {
    format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {max_age}\r\n")
}

fn enforce() -> String {
    policy("enforce", "mx.a.example", 604_800)
}

trait Sts {
    fn txt(&self, record: &str);
    fn txt_fails(&self);
    fn no_txt(&self);
    fn page(&self, page: Page);
    fn says(&self, policy: &str);
    fn fails(&self, why: NotFetched);
    fn fetched(&self) -> usize;
    fn txt_asked(&self) -> usize;
    fn set_clock(&self, seconds: i64);
}

impl Sts for World {
    fn txt(&self, record: &str) {
        let records = record.split('|').map(|text| text.as_bytes().into()).collect();
        self.wires
            .txt
            .lock()
            .unwrap()
            .insert("_mta-sts.a.example".into(), Ok(records));
    }
    fn txt_fails(&self) {
        let failed = Err(sealpost::ports::NoAnswer::Failed("SERVFAIL".into()));
        self.wires
            .txt
            .lock()
            .unwrap()
            .insert("_mta-sts.a.example".into(), failed);
    }
    fn no_txt(&self) {
        self.wires.txt.lock().unwrap().remove("_mta-sts.a.example");
    }
    fn page(&self, page: Page) {
        self.wires.pages.lock().unwrap().insert(URL.into(), page);
    }
    fn says(&self, policy: &str) {
        self.page(Page::Says(policy.to_owned()));
    }
    fn fails(&self, why: NotFetched) {
        self.page(Page::Fails(why));
    }
    fn fetched(&self) -> usize {
        self.wires.fetches.lock().unwrap().len()
    }
    fn txt_asked(&self) -> usize {
        let asked = self.wires.asked.lock().unwrap();
        asked
            .iter()
            .filter(|asked| **asked == "TXT _mta-sts.a.example")
            .count()
    }
    fn set_clock(&self, seconds: i64) {
        self.clock.skew_seconds.store(seconds, Ordering::Relaxed);
    }
}

/// `enforce 1 listed`, `testing 1 not listed`, `absent`, `absent: why`.
async fn asked(policies: &Policies, host: &str) -> String {
    let host = Host::parse(host).unwrap();
    match policies.finding(&domain("a.example"), &host).await {
        Finding::Absent(None) => "absent".into(),
        Finding::Absent(Some(why)) => format!("absent: {why}"),
        Finding::Testing(held) => format!("testing {} {}", held.id, held.listed),
        Finding::Enforced(held) => format!("enforce {} {}", held.id, held.listed),
    }
}

async fn found(world: &World) -> String {
    asked(&world.policies, "mx.a.example").await
}

/// A world that has fetched the policy `1`.
async fn knowing(policy: &str) -> World {
    let world = World::new("");
    world.txt("v=STSv1; id=1;");
    world.says(policy);
    found(&world).await;
    assert_eq!(world.fetched(), 1);
    world
}

// proves: 8461-3.2-1 8461-3.4-2
#[tokio::test(start_paused = true)]
async fn a_policy_is_found_fetched_and_held_against_hosts() {
    let world = knowing(&enforce()).await;
    assert_eq!(found(&world).await, "enforce 1 listed");
    assert_eq!(
        asked(&world.policies, "evil.example").await,
        "enforce 1 not listed"
    );
    assert_eq!(
        *world.wires.fetches.lock().unwrap(),
        [URL],
        "once for all of them"
    );
    let below = domain("sub.a.example");
    let finding = world
        .policies
        .finding(&below, &Host::parse("mx.a.example").unwrap())
        .await;
    assert_eq!(finding, Finding::Absent(None), "not the parent's");
    assert_eq!(world.fetched(), 1);
}

// proves: 8461-3.1-5 8461-3.3-10 8461-5-3
#[tokio::test(start_paused = true)]
async fn without_one_usable_record_nothing_is_fetched() {
    let rows = [
        ("v=spf1 -all", "absent", 0),
        ("id=1; v=STSv1;", "absent", 0),
        (
            "v=STSv1; id=1;|v=STSv1; id=2;",
            "absent: TXT record not usable: 2 records begin with v=STSv1;",
            0,
        ),
        (
            "v=STSv1; id=a-b",
            "absent: TXT record not usable: it has no id of 1 to 32 letters or digits",
            0,
        ),
        ("v=STSv1; id=1;|v=spf1 -all", "enforce 1 listed", 1),
    ];
    for (record, expected, fetched) in rows {
        let world = World::new("");
        world.says(&enforce());
        world.txt(record);
        assert_eq!(found(&world).await, expected, "{record}");
        assert_eq!(world.fetched(), fetched, "{record}");
    }
    let world = World::new("");
    world.txt_fails();
    assert_eq!(
        found(&world).await,
        "absent: the TXT record could not be looked up: SERVFAIL"
    );
    let world = knowing(&policy("none", "mx.a.example", 604_800)).await;
    assert_eq!(found(&world).await, "absent");
}

// proves: 8461-3.2-2 8461-3.2-4 8461-3.3-4 8461-3.3-8 8461-3.3-10
#[tokio::test(start_paused = true)]
async fn a_failed_fetch_brings_no_policy_and_says_why() {
    let fetch = |why| Page::Fails(why);
    let rows = [
        (fetch(NotFetched::Status(404)), "HTTP status 404"),
        (
            fetch(NotFetched::Status(302)),
            "HTTP status 302, and redirects are not followed",
        ),
        (
            fetch(NotFetched::MediaType("text/html".into())),
            "media type \"text/html\"",
        ),
        (fetch(NotFetched::TooLong), "the answer is too long"),
        (
            fetch(NotFetched::Certificate("no trusted root signed it".into())),
            "certificate: no trusted root signed it",
        ),
        (
            Page::Takes(Duration::from_secs(90), enforce()),
            "it took too long",
        ),
        (
            Page::Says(policy("Enforce", "mx.a.example", 1)),
            "it is no policy: its mode makes no sense",
        ),
        (
            Page::Says(enforce().replace("STSv1", "STSv2")),
            "it is no policy: its version makes no sense",
        ),
    ];
    for (page, why) in rows {
        let world = World::new("[mta_sts]\nmessage_wait = \"2m\"\n");
        world.txt("v=STSv1; id=1;");
        world.page(page);
        assert_eq!(
            found(&world).await,
            format!("absent: policy 1 could not be fetched: {why}")
        );
        assert!(world.restarted_policies().list().is_empty());
    }
}

// proves: 8461-3.3-7
#[tokio::test(start_paused = true)]
async fn a_failed_fetch_is_not_repeated_for_five_minutes() {
    let world = World::new("[mta_sts]\nlook_up_every = \"1s\"\n");
    world.txt("v=STSv1; id=1;");
    world.fails(NotFetched::Status(500));
    for _ in 0..10 {
        assert!(found(&world).await.contains("HTTP status 500"));
        world.pass(Duration::from_secs(6)).await;
    }
    assert_eq!(world.fetched(), 1);
    world.txt("v=STSv1; id=2;");
    found(&world).await;
    assert_eq!(world.fetched(), 2, "another id is another matter");
    world.says(&enforce());
    world.pass(MINUTE * 4).await;
    assert!(found(&world).await.starts_with("absent"));
    world.pass(MINUTE * 2).await;
    assert_eq!(found(&world).await, "enforce 2 listed");
    assert_eq!(world.fetched(), 3);
}

// proves: 8461-3.1-6 8461-3.3-11 8461-3.2-6
#[tokio::test(start_paused = true)]
async fn a_valid_policy_outlives_whatever_happens_to_record_and_host() {
    let world = knowing(&enforce()).await;
    world.fails(NotFetched::NotConnected("refused".into()));
    for change in [
        &(|| world.no_txt()) as &dyn Fn(),
        &|| world.txt_fails(),
        &|| world.txt("v=STSv1; id=1;|v=STSv1; id=2;"),
        &|| world.txt("v=STSv1; id=new;"),
    ] {
        change();
        world.pass(MINUTE * 6).await;
        assert_eq!(found(&world).await, "enforce 1 listed");
        assert_eq!(
            asked(&world.policies, "evil.example").await,
            "enforce 1 not listed"
        );
        let restarted = world.restarted_policies();
        assert_eq!(
            asked(&restarted, "mx.a.example").await,
            "enforce 1 listed",
            "in a new process"
        );
    }
    world.pass(DAY * 7).await;
    assert!(found(&world).await.starts_with("absent"), "max_age is over");
    assert!(
        asked(&world.restarted_policies(), "mx.a.example")
            .await
            .starts_with("absent")
    );
}

// proves: 8461-3.2-6
#[tokio::test(start_paused = true)]
async fn a_short_life_is_kept_to_the_second() {
    let world = knowing(&policy("enforce", "mx.a.example", 3)).await;
    world.fails(NotFetched::TimedOut);
    world.no_txt();
    world.pass(Duration::from_secs(2)).await;
    assert_eq!(found(&world).await, "enforce 1 listed");
    world.pass(Duration::from_secs(2)).await;
    assert!(found(&world).await.starts_with("absent"));
    // Fetched for this very question, it counts for it.
    world.txt("v=STSv1; id=2;");
    world.says(&policy("enforce", "mx.a.example", 0));
    world.pass(MINUTE).await;
    assert_eq!(found(&world).await, "enforce 2 listed");
}

// proves: 8461-3.3-6 8461-10.3-1 8461-8.3-1 8461-3.1-3
#[tokio::test(start_paused = true)]
async fn a_new_id_is_fetched_at_once_and_counts() {
    let world = knowing(&policy("enforce", "evil.example", 31_557_600)).await;
    world.says(&enforce());
    world.txt("v=STSv1; id=0;");
    world.pass(MINUTE).await;
    assert_eq!(found(&world).await, "enforce 0 listed");
    assert_eq!(world.fetched(), 2);
    world.says(&policy("none", "mx.a.example", 86_400));
    world.txt("v=STSv1; id=out;");
    world.pass(MINUTE).await;
    assert_eq!(asked(&world.policies, "anything.example").await, "absent");
    assert_eq!(
        asked(&world.restarted_policies(), "anything.example").await,
        "absent"
    );
}

// proves: 8461-5-4
#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_listed_has_the_record_looked_up_at_once() {
    let world = knowing(&enforce()).await;
    world.txt("v=STSv1; id=2;");
    world.says(&policy("enforce", "new.a.example", 604_800));
    assert_eq!(
        found(&world).await,
        "enforce 1 listed",
        "looked up less than a minute ago"
    );
    assert_eq!(asked(&world.policies, "new.a.example").await, "enforce 2 listed");
    assert!(!world.policies.look_again(&domain("a.example")).await);
    world.txt("v=STSv1; id=3;");
    assert!(world.policies.look_again(&domain("a.example")).await);
}

#[tokio::test(start_paused = true)]
async fn many_wait_for_one_fetch() {
    let world = World::new("");
    world.txt("v=STSv1; id=1;");
    world.page(Page::Takes(Duration::from_secs(20), enforce()));
    let all = (0..50).map(|_| Box::pin(found(&world)) as sealpost::ports::Later<'_, String>);
    let all = sealpost::ports::together(all.collect()).await;
    assert!(all.iter().all(|one| one == "enforce 1 listed"), "{all:?}");
    assert_eq!(world.fetched(), 1);
}

// proves: 8461-5.1-1
#[tokio::test(start_paused = true)]
async fn a_message_waits_no_longer_than_configured_and_the_fetch_goes_on() {
    let world = World::new("[mta_sts]\nmessage_wait = \"0s\"\n");
    world.txt("v=STSv1; id=1;");
    world.page(Page::Takes(Duration::from_secs(50), enforce()));
    let before = tokio::time::Instant::now();
    assert_eq!(found(&world).await, "absent: policy 1 is still being fetched");
    assert!(before.elapsed() < Duration::from_secs(1));
    world.pass(Duration::from_secs(51)).await;
    assert_eq!(found(&world).await, "enforce 1 listed");
    world.txt("v=STSv1; id=2;");
    world.pass(MINUTE).await;
    assert_eq!(
        found(&world).await,
        "enforce 1 listed",
        "the old one counts meanwhile"
    );
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.fetched(), 2);
}

// proves: 8461-3.2-6
#[tokio::test(start_paused = true)]
async fn no_step_of_the_clock_ends_a_policy() {
    let world = knowing(&enforce()).await;
    world.no_txt();
    for skew in [0, 400 * 86_400, -400 * 86_400, 0] {
        world.set_clock(skew);
        assert_eq!(found(&world).await, "enforce 1 listed", "{skew}");
    }
    // A machine that starts with its clock far behind, or ahead and then set right.
    world.set_clock(-400 * 86_400);
    assert_eq!(
        asked(&world.restarted_policies(), "mx.a.example").await,
        "enforce 1 listed"
    );
    world.set_clock(20 * 86_400);
    let early = world.restarted_policies();
    assert_eq!(asked(&early, "mx.a.example").await, "absent");
    world.set_clock(0);
    assert_eq!(asked(&early, "mx.a.example").await, "enforce 1 listed");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_counts_as_absent() {
    use sealpost::memory::{Change, Shelf};
    let world = knowing(&enforce()).await;
    let put = |key: &str, value: &str| Change::put(Shelf::Policies, key.as_bytes(), value.as_bytes());
    world
        .memory
        .keep(vec![
            put("b.example", "{"),
            put("\u{1}", "{}"),
            put("c.example", "{\"version\":9}"),
        ])
        .await
        .unwrap();
    let all: Vec<String> = world
        .restarted_policies()
        .list()
        .iter()
        .map(|told| told.domain.to_string())
        .collect();
    assert_eq!(all, ["a.example"]);
}

/// Lets the policies be refreshed as in a running server.
fn refreshing(world: &World) -> tokio::sync::watch::Sender<sealpost::receive::Phase> {
    let (phase, phases) = tokio::sync::watch::channel(sealpost::receive::Phase::Serving);
    tokio::spawn(world.policies.clone().keep_fresh(phases));
    phase
}

// proves: 8461-3.3-12 8461-10.2-2
#[tokio::test(start_paused = true)]
async fn policies_are_refreshed_daily_without_mail_and_without_a_record() {
    let world = knowing(&enforce()).await;
    let _serving = refreshing(&world);
    world.pass(Duration::from_secs(25 * 3600)).await;
    assert_eq!(world.fetched(), 2);
    world.no_txt();
    world.says(&policy("enforce", "mx.a.example", 1_209_600));
    world.pass(DAY * 10).await;
    assert!(world.fetched() >= 12);
    let told = world.policies.list();
    assert_eq!(told[0].policy.max_age, DAY * 14, "a new body under the old id");
    assert_eq!(
        found(&world).await,
        "enforce 1 listed",
        "long past the first one's end"
    );
    world.txt("v=STSv1; id=2;");
    world.pass(DAY).await;
    assert_eq!(world.policies.list()[0].id.as_str(), "2");
}

/// What is logged by this thread meanwhile.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl io::Write for Heard {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Heard {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let heard = self.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || heard.clone());
        tracing::subscriber::set_default(log.finish())
    }

    fn lines(&self, level: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let ours = |line: &&str| line.contains("domain=a.example") && line.contains("not refreshed");
        text.lines()
            .filter(ours)
            .filter(|line| line.contains(level))
            .count()
    }
}

// proves: 8461-3.3-13 8461-10.2-3
#[tokio::test(start_paused = true)]
async fn failed_refreshes_are_repeated_and_told_and_end_nothing() {
    let (heard, none) = (Heard::default(), Heard::default());
    let told = heard.listen();
    let world = knowing(&policy("enforce", "mx.a.example", 2_592_000)).await;
    let serving = refreshing(&world);
    world.fails(NotFetched::TimedOut);
    world.pass(DAY).await;
    assert!(heard.lines("WARN") >= 1 && heard.lines("ERROR") == 0);
    world.pass(DAY * 2).await;
    assert!(heard.lines("ERROR") >= 1, "with 27 days left");
    let kept = world.policies.list();
    let (failures, words) = kept[0].trouble.clone().unwrap();
    assert!((3..30).contains(&failures), "{failures}");
    assert_eq!(&*words, "it took too long");
    assert_eq!(found(&world).await, "enforce 1 listed");
    world.says(&enforce());
    world.pass(DAY).await;
    assert_eq!(world.policies.list()[0].trouble, None);
    drop((serving, told));

    let _told = none.listen();
    let world = knowing(&policy("none", "mx.a.example", 2_592_000)).await;
    let _serving = refreshing(&world);
    world.fails(NotFetched::TimedOut);
    world.pass(DAY * 3).await;
    assert!(world.fetched() > 3);
    assert_eq!((none.lines("WARN"), none.lines("ERROR")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_uses_is_not_refreshed_for_ever_and_is_forgotten_at_last() {
    let world = World::new("[mta_sts]\nrefresh_unused_for = \"3d\"\n");
    world.txt("v=STSv1; id=1;");
    world.says(&policy("enforce", "mx.a.example", 864_000));
    found(&world).await;
    let _serving = refreshing(&world);
    world.pass(DAY * 8).await;
    let fetched = world.fetched();
    assert!((3..=7).contains(&fetched), "{fetched}");
    assert_eq!(found(&world).await, "enforce 1 listed");
    world.pass(MINUTE).await;
    assert_eq!(world.fetched(), fetched + 1, "used again, it is refreshed again");
    world.pass(DAY * 60).await;
    let kept = world
        .memory
        .get(sealpost::memory::Shelf::Policies, b"a.example")
        .unwrap();
    assert_eq!(kept, None);
}

// proves: 8461-3.4-1 8461-3.4-3
#[tokio::test(start_paused = true)]
async fn the_policy_domain_is_the_smart_hosts_and_addresses_have_none() {
    let world = World::new("[[route.rule]]\ndestination = \"b.example\"\nvia = \"mx.a.example\"\n");
    let smart = world.host("mx.a.example", "192.0.2.1", Stub::new("mx.a.example"));
    let literal = Stub::new("literal");
    world.put("192.0.2.9", Some(outbound::Reachable::Stub(literal.clone())));
    world.send(&["x@b.example"]).await;
    world.send(&["x@[192.0.2.9]"]).await;
    world
        .until("taken", |_| {
            smart.messages().len() + literal.messages().len() == 2
        })
        .await;
    let asked = world.wires.asked.lock().unwrap();
    let txt: Vec<_> = asked.iter().filter(|asked| asked.starts_with("TXT")).collect();
    assert_eq!(txt, ["TXT _mta-sts.mx.a.example"]);
}

/// `a.example` with an enforced policy, and hosts that show a certificate for `mx.a.example` and `mx2.a.example`.
fn sending(policy: &str) -> World {
    let world = World::certified("", &["mx.a.example", "mx2.a.example"]);
    world.txt("v=STSv1; id=1;");
    world.says(policy);
    world.home();
    world
}

fn assert_unheard(stub: &Stub) {
    assert_eq!(stub.lines_of("MAIL"), [] as [String; 0], "{:?}", stub.sessions());
}

// proves: 8461-4-1 8461-5-1 8461-5-5 8461-4.2-3 8461-4.2-2
#[tokio::test(start_paused = true)]
async fn under_enforce_only_a_listed_host_with_its_own_certificate_gets_mail() {
    let tls = |name: &str| Stub::new(name).tls(StartTls::Works);
    let rows = [
        ("mx.a.example", tls("mx.a.example"), true),
        // Not listed, though its certificate is good.
        ("mx2.a.example", tls("mx2.a.example"), false),
        // Listed, without TLS, or with a certificate for others only.
        ("mx.a.example", Stub::new("mx.a.example"), false),
        ("mx.a.example", tls("mx.a.example").tls(StartTls::Breaks), false),
        ("mx3.a.example", tls("mx3.a.example"), false),
    ];
    for (name, stub, expected) in rows {
        let list = if name == "mx2.a.example" {
            "mx.a.example"
        } else {
            name
        };
        let world = sending(&policy("enforce", list, 604_800));
        world.record(&format!("a.example MX 10 {name}"));
        world.host(name, "192.0.2.1", stub.clone());
        world.send(&["x@a.example"]).await;
        if expected {
            world.until("taken", |_| stub.messages().len() == 1).await;
        } else {
            world.until("put off", |world| !world.causes().is_empty()).await;
            assert!(world.causes()[0].starts_with("4."), "{:?}", world.causes());
            world.pass(DAY).await;
            assert_unheard(&stub);
            assert_eq!(world.waiting().len(), 1, "{name}");
        }
    }
}

// proves: 8461-5.1-2 8461-8.4-1 8461-5-1
#[tokio::test(start_paused = true)]
async fn a_host_that_fails_is_passed_over_for_the_next() {
    let world = sending(&policy("enforce", "mx2.a.example", 604_800));
    world.record("a.example MX 10 mx.a.example, 20 mx2.a.example");
    let first = world.host(
        "mx.a.example",
        "192.0.2.1",
        Stub::new("mx.a.example").tls(StartTls::Works),
    );
    let second = world.host(
        "mx2.a.example",
        "192.0.2.2",
        Stub::new("mx2.a.example").tls(StartTls::Works),
    );
    world.send(&["x@a.example"]).await;
    world.until("taken", |_| second.messages().len() == 1).await;
    assert_unheard(&first);
}

// proves: 8461-5-3
#[tokio::test(start_paused = true)]
async fn testing_and_none_let_mail_go() {
    for mode in ["testing", "none"] {
        let world = sending(&policy(mode, "mx.elsewhere.example", 604_800));
        let stub = world.exchanger(Stub::new("mx.a.example"));
        world.send(&["x@a.example"]).await;
        world.until("taken", |_| stub.messages().len() == 1).await;
        assert_eq!(world.fetched(), 1);
    }
}

// Hosts behind our own preference are not tried, whatever the policy makes of those before it.
// proves: 8461-8.4-1
#[tokio::test(start_paused = true)]
async fn the_policy_shortens_no_list_of_hosts() {
    let world = sending(&policy("enforce", "mx2.a.example", 604_800));
    world.record("a.example MX 10 mx.a.example, 20 mail.own.example, 30 mx2.a.example");
    let first = world.host(
        "mx.a.example",
        "192.0.2.1",
        Stub::new("mx.a.example").tls(StartTls::Works),
    );
    let last = world.host(
        "mx2.a.example",
        "192.0.2.2",
        Stub::new("mx2.a.example").tls(StartTls::Works),
    );
    world.send(&["x@a.example"]).await;
    world.until("put off", |world| !world.causes().is_empty()).await;
    assert!(world.causes()[0].starts_with("4."), "{:?}", world.causes());
    world.pass(DAY).await;
    assert_unheard(&first);
    assert_unheard(&last);
}

/// A certificate that satisfies the policy, beside TLSA records that it does not fit.
// proves: 8461-2-1 8461-10.1-1
#[tokio::test(start_paused = true)]
async fn a_policy_rescues_nothing_that_fails_dane() {
    for association in [None, Some([7; 32])] {
        let world = sending(&enforce());
        let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
        if let Some(association) = association {
            world.sign(&["a.example"]);
            let record = trust::dane::Tlsa {
                usage: 3,
                selector: 1,
                matching: 1,
                association: association.into(),
            };
            world.tlsa("_25._tcp.mx.a.example", Ok(vec![record]));
        }
        world.send(&["x@a.example"]).await;
        if association.is_none() {
            world.until("taken", |_| stub.messages().len() == 1).await;
            continue;
        }
        world.until("put off", |world| !world.causes().is_empty()).await;
        assert!(world.causes()[0].starts_with("4."), "{:?}", world.causes());
        world.pass(DAY).await;
        assert_unheard(&stub);
        assert_eq!(world.waiting().len(), 1);
    }
}

// proves: 8461-4.2-1
#[tokio::test(start_paused = true)]
async fn an_expired_certificate_does_not_validate() {
    let world = World::certified_until("", &["mx.a.example"], 2021);
    world.txt("v=STSv1; id=1;");
    world.says(&enforce());
    let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
    world.send(&["x@a.example"]).await;
    world.until("put off", |world| !world.causes().is_empty()).await;
    assert_unheard(&stub);
    assert!(world.causes()[0].contains("out of date"), "{:?}", world.causes());
}

// proves: 8461-3.3-10
#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_fetched_for_the_first_time_keeps_no_mail_back() {
    let world = sending("");
    world.fails(NotFetched::NotConnected("refused".into()));
    let stub = world.exchanger(Stub::new("mx.a.example"));
    world.send(&["x@a.example"]).await;
    world.until("taken", |_| stub.messages().len() == 1).await;
}

// proves: 8461-5-4
#[tokio::test(start_paused = true)]
async fn before_mail_is_given_up_a_newer_policy_is_looked_for() {
    let world = sending(&policy("enforce", "old.a.example", 31_557_600));
    let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
    world.send(&["x@a.example"]).await;
    world.until("put off", |world| !world.causes().is_empty()).await;
    let mut asked = world.txt_asked();
    for _ in 0..4 {
        world.pass(DAY).await;
        assert!(world.txt_asked() > asked, "each attempt looks");
        asked = world.txt_asked();
    }
    assert_unheard(&stub);
    world.txt("v=STSv1; id=2;");
    world.says(&enforce());
    world.until("taken", |_| stub.messages().len() == 1).await;
}

// proves: 8461-5-4
#[tokio::test(start_paused = true)]
async fn the_record_is_looked_up_shortly_before_a_failure_is_reported() {
    let world = World::certified("", &["mx.a.example"]);
    world.txt("v=STSv1; id=1;");
    world.says(&policy("enforce", "old.a.example", 31_557_600));
    let home = world.home();
    let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
    world.send(&["x@a.example"]).await;
    let counts = std::cell::RefCell::new(Vec::new());
    let failed = |octets: &Vec<u8>| String::from_utf8_lossy(octets).contains("Action: failed");
    world
        .until("returned", |world| {
            counts.borrow_mut().push(world.txt_asked());
            home.messages().iter().any(failed)
        })
        .await;
    let counts = counts.into_inner();
    assert!(
        counts[counts.len() - 1] > counts[counts.len() - 4],
        "in the last quarter of an hour"
    );
    assert_unheard(&stub);
}

#[tokio::test(start_paused = true)]
async fn switched_off_nothing_is_asked() {
    let mut world = knowing(&enforce()).await;
    world.reload(|config| config.mta_sts.enabled = false).await;
    assert_eq!(found(&world).await, "absent");
    world.reload(|config| config.mta_sts.enabled = true).await;
    assert_eq!(found(&world).await, "enforce 1 listed");
    assert_eq!(world.fetched(), 1);
    let _serving = refreshing(&world);
    world.reload(|config| config.mta_sts.enabled = false).await;
    world.pass(DAY * 2).await;
    assert_eq!(world.fetched(), 1);
    world.reload(|config| config.mta_sts.enabled = true).await;
    world.pass(DAY).await;
    assert_eq!(world.fetched(), 2, "refreshed again without being asked for");
}

#[test]
fn listed_or_not_has_words() {
    assert_eq!(Listed::Yes.to_string(), "listed");
    assert_eq!(Listed::No.to_string(), "not listed");
}
