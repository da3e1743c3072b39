//! What the operator's rules demand of other hosts, on the wire: what is said before the demand is met, and what becomes of
//! mail that it keeps back.

#![allow(clippy::unwrap_used)] // these are tests, helpers included

mod outbound;

use std::time::Duration;

use outbound::World;
use outbound::stub::{StartTls, Stub};

const MINUTE: Duration = Duration::from_secs(60);

fn ruled(rule: &str) -> World {
    World::new(&format!("[[trust.rule]]\ndomain = \"a.example\"\n{rule}\n"))
}

/// Waits for the first attempt, which keeps the message back.
async fn kept(world: &World) -> String {
    world.send(&["u@a.example"]).await;
    world.until("kept back", |world| !world.causes().is_empty()).await;
    world.causes().remove(0)
}

// Not one octet of envelope or message in clear, however TLS is taken away.
// proves: 3207-6-6 2487-5.1-1 3207-4.1-1 9325-3.2-2
#[tokio::test(start_paused = true)]
async fn where_encryption_is_demanded_nothing_of_a_message_goes_in_clear() {
    let refusing = |line: &str| {
        line.starts_with("STARTTLS")
            .then(|| "454 4.7.0 not now".to_owned())
    };
    let stubs = [
        Stub::new("mx.a.example"),
        Stub::new("mx.a.example")
            .tls(StartTls::Works)
            .says(move |_, line| refusing(line)),
        Stub::new("mx.a.example").tls(StartTls::Breaks),
        Stub::new("mx.a.example").tls(StartTls::Injects),
    ];
    for stub in stubs {
        let world = ruled("demand = \"encrypted\"");
        let stub = world.exchanger(stub);
        let cause = kept(&world).await;
        assert!(cause.starts_with("4.7.5 "), "{cause}");
        // Longer than any wait after which mail may go in clear where nothing demands more.
        world.pass(24 * 60 * MINUTE).await;
        let sessions = stub.sessions();
        assert!(sessions.len() > 5, "it is tried again");
        let lines = sessions.iter().flat_map(|session| &session.lines);
        for (channel, line) in lines {
            let known = ["EHLO mail.own.example", "STARTTLS", "QUIT"].contains(&line.as_str());
            assert!(*channel == "clear" && known, "{channel}: {line}");
        }
        assert_eq!(world.waiting().len(), 1, "kept, not returned");
    }
}

// The other side of the same rule.
#[tokio::test(start_paused = true)]
async fn any_certificate_is_enough_where_only_encryption_is_demanded() {
    let world = ruled("demand = \"encrypted\"");
    let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
    world.send(&["u@a.example"]).await;
    world.until("sent", |world| world.waiting().is_empty()).await;
    assert_eq!(stub.messages().len(), 1);
}

// The stub's certificate is signed by nobody that the world trusts.
// proves: 2487-5.1-3 3207-4.1-3 2487-5.1-6 3207-4.1-6
#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_prove_itself_hears_quit_and_nothing_else() {
    let pin = "00".repeat(32);
    let rules = [
        "demand = \"verified\"\nnames = [\"mx.a.example\"]".to_owned(),
        "demand = \"verified\"\nproof = \"chain\"".to_owned(),
        format!("demand = \"verified\"\nproof = \"pin\"\npins = [\"{pin}\"]"),
    ];
    for rule in &rules {
        let world = ruled(rule);
        let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
        let cause = kept(&world).await;
        assert!(
            cause.starts_with("4.7.5 mx.a.example showed too little"),
            "{cause}"
        );
        let session = stub.sessions().remove(0);
        let inside = session.lines.iter().filter(|(channel, _)| *channel == "tls");
        let inside: Vec<&str> = inside.map(|(_, line)| line.as_str()).collect();
        assert_eq!(inside, ["QUIT"], "{rule}");
        assert!(session.quit);
    }
}

// One rule file, one host: the same certificate is believed or not as the operator says, and a reload changes it.
// proves: 2487-5.1-5 3207-4.1-5
#[tokio::test(start_paused = true)]
async fn the_operator_says_which_key_is_believed() {
    let wrong = "00".repeat(32);
    let mut world = ruled(&format!(
        "demand = \"verified\"\nproof = \"pin\"\npins = [\"{wrong}\"]"
    ));
    let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
    kept(&world).await;
    let right = world.wires.key_print();
    world
        .reload(|config| config.trust.rule[0].pins = vec![right])
        .await;
    world.until("sent", |world| world.waiting().is_empty()).await;
    assert_eq!(stub.messages().len(), 1);
}

// proves: 3207-6-10
#[tokio::test(start_paused = true)]
async fn what_never_meets_the_demand_goes_back_when_it_is_too_old() {
    let world = ruled("demand = \"encrypted\"");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    let home = world.home();
    kept(&world).await;
    world.pass(4 * 24 * 60 * MINUTE).await;
    assert_eq!(world.waiting().len(), 1);
    world.until("returned", |world| world.waiting().is_empty()).await;
    assert!(world.clock_minutes() >= 5 * 24 * 60);
    let reports = home.messages();
    let report = String::from_utf8_lossy(reports.last().unwrap()).into_owned();
    assert!(report.contains("Action: failed"), "{report}");
    let report = report.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    assert!(report.contains("the channel is not encrypted"), "{report}");
    assert!(stub.lines_of("MAIL").is_empty());
}

// A session that was enough for one message is judged anew for the next.
#[tokio::test(start_paused = true)]
async fn an_idle_session_is_used_only_for_mail_that_it_is_enough_for() {
    let mut world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    world.send(&["u@a.example"]).await;
    world
        .until("sent in clear", |world| world.waiting().is_empty())
        .await;
    let rule = toml::from_str("rule = [{ domain = \"a.example\", demand = \"encrypted\" }]").unwrap();
    world.reload(|config| config.trust = rule).await;
    kept(&world).await;
    assert_eq!(stub.messages().len(), 1);
}
