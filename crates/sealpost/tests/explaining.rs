//! What `explain` says, against what delivery does in the same world.
#![allow(clippy::unwrap_used)] // a test may panic

mod outbound;

use outbound::{StartTls, Stub, World};
use sealpost::explain::{Explanation, Outlook, Story, Trial};

async fn outlook(world: &World, of: &str, wish: Option<&str>) -> Outlook {
    match world.explain(of, wish).await.unwrap() {
        Explanation::Destination(outlook) => *outlook,
        Explanation::Message(story) => panic!("{story:?}"),
    }
}

async fn story(world: &World, of: &str) -> Story {
    match world.explain(of, None).await.unwrap() {
        Explanation::Message(story) => *story,
        Explanation::Destination(outlook) => panic!("{outlook:?}"),
    }
}

fn trial<'a>(outlook: &'a Outlook, event: &str) -> &'a Trial {
    let host = &outlook.hosts[0];
    host.trials.iter().find(|trial| trial.event == event).unwrap()
}

fn ruled(demand: &str) -> World {
    let rule = format!("[[trust.rule]]\ndomain = \"a.example\"\ndemand = \"{demand}\"\n");
    let world = World::new(&rule);
    world.home();
    world
}

#[tokio::test(start_paused = true)]
async fn what_would_happen_without_starttls_is_what_happens() {
    for (demand, sent) in [("none", true), ("opportunistic", true), ("encrypted", false)] {
        let world = ruled(demand);
        let stub = world.exchanger(Stub::new("mx.a.example"));
        let told = outlook(&world, "x@a.example", None).await;
        let vanished = trial(&told, "starttls_vanished");
        assert_eq!(
            (vanished.sent, vanished.in_clear),
            (sent, sent),
            "{demand}: {vanished:?}"
        );
        assert_eq!(told.hosts[0].demand.as_deref(), Some(demand));
        assert_eq!(told.hosts[0].source, "policy");
        assert!(
            told.cause.iter().any(|cause| cause.contains("rule")),
            "{:?}",
            told.cause
        );
        // And so it is.
        world.send(&["x@a.example"]).await;
        let done = |world: &World| {
            !stub.messages().is_empty() || world.causes().iter().any(|why| why.contains("encrypted"))
        };
        world.until("an attempt", done).await;
        assert_eq!(!stub.messages().is_empty(), sent, "{demand}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_certificate_matters_where_proof_is_demanded() {
    for (demand, sent) in [("opportunistic", true), ("encrypted", true), ("verified", false)] {
        let world = ruled(demand);
        let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
        let told = outlook(&world, "a.example", None).await;
        // The stub's own certificate is a stranger's as well.
        assert_eq!(trial(&told, "certificate_changed").sent, sent, "{demand}");
        assert!(!trial(&told, "certificate_changed").in_clear);
        world.send(&["x@a.example"]).await;
        let done = |world: &World| !stub.messages().is_empty() || !world.causes().is_empty();
        world.until("an attempt", done).await;
        assert_eq!(!stub.messages().is_empty(), sent, "{demand}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_handshakes_let_mail_go_in_clear_later_only_where_nothing_demands_more() {
    let world = World::new("");
    world.exchanger(Stub::new("mx.a.example").tls(StartTls::Breaks));
    let told = outlook(&world, "a.example", None).await;
    let failed = trial(&told, "handshake_failed");
    assert!(
        failed.sent && failed.in_clear && failed.follows.contains("Nothing would go in that attempt"),
        "{failed:?}"
    );
    let told = outlook(&ruled_with_host(), "a.example", None).await;
    assert!(!trial(&told, "handshake_failed").sent);
}

fn ruled_with_host() -> World {
    let world = ruled("encrypted");
    world.exchanger(Stub::new("mx.a.example"));
    world
}

#[tokio::test(start_paused = true)]
async fn destinations_without_a_host_say_so() {
    let world = World::new("");
    let told = outlook(&world, "x@nowhere.example", None).await;
    assert!(
        told.finding.contains("back to its sender") && told.hosts.is_empty(),
        "{told:?}"
    );
    world.record("a.example MX fail");
    let told = outlook(&world, "a.example", None).await;
    assert!(
        told.finding.contains("would wait here") && told.routing.problem.is_some(),
        "{told:?}"
    );
    let told = outlook(&world, "x@own.example", None).await;
    assert!(told.finding.contains("stays here"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wish_of_the_message_is_part_of_the_plan() {
    let world = World::new("");
    world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
    let told = outlook(&world, "a.example", Some("requiretls")).await;
    let host = &told.hosts[0];
    assert!(
        host.avoided.is_some() && host.source == "message" && host.trials.is_empty(),
        "{host:?}"
    );
    assert!(told.finding.contains("none of its hosts"), "{}", told.finding);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_says_why_and_what_can_be_done() {
    let world = ruled("encrypted");
    world.exchanger(Stub::new("mx.a.example"));
    let id = world.send(&["x@a.example"]).await;
    world
        .until("an attempt", |world| !world.causes().is_empty())
        .await;
    let told = story(&world, &id.to_string()).await;
    assert_eq!(told.recipients.len(), 1);
    assert!(
        told.cause[0].contains("mx.a.example") && told.cause[0].contains("encrypted"),
        "{:?}",
        told.cause
    );
    let advice = told.advice.join("\n");
    for act in ["queue release", "queue return", "explain a.example"] {
        assert!(advice.contains(act), "{advice}");
    }
    assert!(world.explain("01ARZ3NDEKTSV4RRFFQ69G5FAV", None).await.is_err());
}

/// Every field that the description requires is there, and none that it does not name.
fn follow(all: &serde_json::Value, name: &str, answer: &serde_json::Value) {
    let schema = &all["components"]["schemas"][name];
    for required in schema["required"].as_array().unwrap() {
        assert!(
            answer.get(required.as_str().unwrap()).is_some(),
            "{name} lacks {required}"
        );
    }
    for (key, value) in answer.as_object().unwrap() {
        let part = &schema["properties"][key];
        assert!(part.is_object(), "{name}.{key} is not described");
        let below = part["$ref"].as_str().or(part["items"]["$ref"].as_str());
        let Some(below) = below.and_then(|below| below.rsplit('/').next()) else {
            continue;
        };
        match value.as_array() {
            Some(list) => list.iter().for_each(|one| follow(all, below, one)),
            None => follow(all, below, value),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn explanations_are_as_described() {
    let all: serde_json::Value = serde_json::from_str(sealpost::control::DESCRIPTION).unwrap();
    let world = ruled("encrypted");
    world.exchanger(Stub::new("mx.a.example"));
    let told = world.explain("a.example", None).await.unwrap();
    follow(
        &all,
        "ExplainedDestination",
        &serde_json::to_value(&told).unwrap(),
    );
    let id = world.send(&["x@a.example"]).await;
    let told = world.explain(&id.to_string(), None).await.unwrap();
    follow(&all, "ExplainedMessage", &serde_json::to_value(&told).unwrap());
}
