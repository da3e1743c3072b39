//! A message's way through the spool, on a simulated disk without faults and on a real one.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::sync::Arc;

use common::*;
use mail::{DeliveryStatus, Envelope, MessageId, TlsWish};
use spool::simulated::SimulatedDisk;
use spool::{
    Disk, DiskError, Filter, Folder, Lane, Limits, Notices, OpenError, RecipientIndex, Spool, State,
};

fn open(disk: &SimulatedDisk) -> Arc<Spool> {
    Spool::open_without_threads(Arc::new(disk.clone()), small_limits(), by_domain)
        .unwrap()
        .0
}

#[test]
fn a_message_is_kept_leased_and_settled() {
    let disk = SimulatedDisk::new(1);
    let spool = open(&disk);
    let receipt = keep(&spool, 1, 1500, &["a@x.example", "b@y.example", "c@x.example"]).unwrap();
    assert_eq!(receipt.id(), id(1));
    let leased = take(&spool, 1).unwrap();
    assert_eq!(leased.lane(), &Lane::new("x.example"));
    let names: Vec<String> = leased
        .recipients()
        .map(|(_, recipient, _)| recipient.mailbox.to_string())
        .collect();
    assert_eq!(names, ["a@x.example", "c@x.example"]);
    leased
        .settle(
            at(2),
            vec![delivered(), deferred(60)],
            Vec::new(),
            Notices::default(),
        )
        .unwrap();
    let other = take(&spool, 2).unwrap();
    assert_eq!(other.lane(), &Lane::new("y.example"));
    assert!(take(&spool, 2).is_none());
    settle_all(other, &delivered()).unwrap();
    assert_eq!(spool.next_due(), Some(at(60)));
    let shown = spool.show(id(1)).unwrap();
    let states: Vec<State> = shown
        .recipients()
        .map(|(_, _, _, progress)| progress.state)
        .collect();
    assert_eq!(states, [State::Settled, State::Settled, State::Waiting]);
    let last = take(&spool, 60).unwrap();
    let (_, recipient, progress) = last.recipients().next().unwrap();
    assert_eq!(recipient.mailbox.to_string(), "c@x.example");
    assert_eq!(
        (progress.attempts, progress.last.as_ref().unwrap().text.as_ref()),
        (1, "not now")
    );
    settle_all(last, &delivered()).unwrap();
    assert!(spool.show(id(1)).is_none());
    assert_eq!(spool.next_due(), None);
}

#[test]
fn bodies_of_all_sizes_come_back_and_survive_a_restart() {
    let disk = SimulatedDisk::new(1);
    let spool = open(&disk);
    let sizes = [0, 1, 2000, 2001, 65_535, 65_536, 65_537, 200_000, 131_072];
    for (number, &bytes) in (1..).zip(&sizes) {
        keep(&spool, number, bytes, &["a@x.example"]).unwrap();
    }
    for round in 0..2 {
        let spool = if round == 0 {
            Arc::clone(&spool)
        } else {
            open(&disk.after_power_cut(7))
        };
        for (number, &bytes) in (1..).zip(&sizes) {
            assert_eq!(
                read_all(&spool, id(number)).unwrap(),
                body(number, bytes),
                "{bytes} octets"
            );
            let shown = spool.show(id(number)).unwrap();
            assert_eq!(shown.message.envelope, envelope(&["a@x.example"]));
            assert_eq!(shown.message.arrival, arrival(0));
        }
    }
}

// proves: 8689-4.1-1
#[test]
fn what_a_message_asks_of_channels_survives_a_restart() {
    let disk = SimulatedDisk::new(1);
    let spool = open(&disk);
    let wishes = [TlsWish::Usual, TlsWish::Required, TlsWish::Waived];
    for (number, wish) in (1..).zip(wishes) {
        let asking = Envelope {
            wish,
            ..envelope(&["a@x.example"])
        };
        let draft = filled(&spool, number, 10).unwrap();
        draft.keep(asking, arrival(0), content(10), |_| ());
    }
    spool.flush();
    let again = open(&disk.after_power_cut(3));
    for (number, wish) in (1..).zip(wishes) {
        assert_eq!(again.show(id(number)).unwrap().message.envelope.wish, wish);
        let leased = take(&again, 1).unwrap();
        assert_eq!(
            leased.message().envelope.wish,
            wishes[leased.message().id.to_bits() as usize - 1]
        );
        settle_all(leased, &delivered()).unwrap();
    }
}

// A person who deletes a message wants no report of it to leave.
#[test]
fn a_message_deleted_while_it_is_tried_leaves_nothing_behind() {
    let disk = SimulatedDisk::new(1);
    let spool = open(&disk);
    for bytes in [10, 100_000] {
        keep(&spool, 1, 10, &["a@x.example"]).unwrap();
        let leased = take(&spool, 1).unwrap();
        assert_eq!(spool.delete(id(1)).unwrap(), 1);
        let report =
            filled(&spool, 2, bytes)
                .unwrap()
                .seal(envelope(&["s@home.example"]), arrival(2), content(bytes));
        leased
            .settle(at(2), vec![delivered()], vec![report], Notices::default())
            .unwrap();
        assert!(spool.show(id(2)).is_none());
        assert!(take(&spool, 9).is_none());
        assert_eq!(spool.count(&Filter::default()).messages, 0);
    }
    assert_eq!(
        open(&disk.after_power_cut(1)).count(&Filter::default()).messages,
        0
    );
}

#[test]
fn what_is_remembered_of_a_recipient_stays_until_it_is_settled() {
    let disk = SimulatedDisk::new(1);
    let spool = open(&disk);
    keep(&spool, 1, 10, &["a@x.example", "b@x.example"]).unwrap();
    let first = take(&spool, 1).unwrap();
    let notices = Notices {
        delay: vec![RecipientIndex(0)],
        tls_failed: vec![RecipientIndex(1)],
    };
    first
        .settle(at(2), vec![deferred(3); 2], Vec::new(), notices)
        .unwrap();
    settle_all(take(&spool, 3).unwrap(), &deferred(60)).unwrap();
    let check = |spool: &Arc<Spool>| {
        let shown = spool.show(id(1)).unwrap();
        let marks = shown
            .recipients()
            .map(|(_, _, _, p)| (p.delay_notified, p.tls_failed));
        assert_eq!(marks.collect::<Vec<_>>(), [(true, false), (false, true)]);
    };
    check(&spool);
    check(&open(&disk.after_power_cut(1)));
    spool.close();
    drop(spool);
    check(&open(&disk)); // from the checkpoint
}

#[test]
fn a_lease_that_is_dropped_goes_back() {
    let spool = open(&SimulatedDisk::new(1));
    keep(&spool, 1, 10, &["a@x.example"]).unwrap();
    drop(take(&spool, 1).unwrap());
    assert!(take(&spool, 1).is_some());
}

#[test]
fn offspring_and_settlement_are_one_step() {
    let spool = open(&SimulatedDisk::new(1));
    keep(&spool, 1, 10, &["list@x.example"]).unwrap();
    let offspring = vec![
        sealed(&spool, 2, 1000, &["m@y.example"]).unwrap(),
        sealed(&spool, 3, 100_000, &["n@z.example"]).unwrap(),
        sealed(&spool, 4, 700, &["o@z.example"]).unwrap(),
    ];
    let leased = take(&spool, 1).unwrap();
    let expanded = DeliveryStatus::Expanded(cause("expanded"));
    leased
        .settle(at(1), vec![expanded], offspring, Notices::default())
        .unwrap();
    assert!(spool.show(id(1)).is_none());
    for (number, bytes) in [(2, 1000), (3, 100_000), (4, 700)] {
        assert_eq!(read_all(&spool, id(number)).unwrap(), body(number, bytes));
    }
}

#[test]
fn an_operator_holds_releases_retries_and_deletes() {
    let disk = SimulatedDisk::new(1);
    let mut spool = open(&disk);
    for number in 1..=6 {
        let to = if number % 2 == 0 {
            "a@x.example"
        } else {
            "a@y.example"
        };
        keep(&spool, number, 10, &[to]).unwrap();
    }
    let to_x = Filter {
        destination: Some(mail::Domain::parse("x.example").unwrap()),
        ..Filter::default()
    };
    assert_eq!(spool.hold(&to_x, cause("look at it")).unwrap(), 3);
    let held = Filter {
        state: Some(State::Held),
        ..Filter::default()
    };
    for _ in 0..2 {
        assert_eq!(spool.count(&held).messages, 3);
        let listed = spool.list(&held, None, 2);
        assert_eq!(
            listed
                .iter()
                .map(|waiting| waiting.message.id)
                .collect::<Vec<_>>(),
            [id(2), id(4)]
        );
        let last = listed[0].recipients().next().unwrap().3.last.clone();
        assert_eq!(last.unwrap().text.as_ref(), "look at it");
        assert_eq!(spool.list(&held, Some(id(4)), 9).len(), 1);
        drop(spool);
        spool = open(&disk);
    }
    assert_eq!(spool.delete(id(4)).unwrap(), 0);
    assert!(matches!(spool.delete(id(4)), Err(DiskError::Gone)));
    assert_eq!(spool.release(&to_x, at(3)).unwrap(), 2);
    assert_eq!(spool.count(&Filter::default()).waiting, 5);
    while let Some(leased) = take(&spool, 10) {
        settle_all(leased, &deferred(1000)).unwrap();
    }
    assert_eq!(spool.retry(&Filter::one(id(1)), at(11)).unwrap(), 1);
    let leased = take(&spool, 11).unwrap();
    assert_eq!(leased.message().id, id(1));
    assert!(take(&spool, 11).is_none());
}

#[test]
fn what_is_being_tried_is_held_afterwards() {
    let disk = SimulatedDisk::new(1);
    let spool = open(&disk);
    keep(&spool, 1, 10, &["a@x.example"]).unwrap();
    let leased = take(&spool, 1).unwrap();
    assert_eq!(spool.hold(&Filter::default(), cause("wait")).unwrap(), 1);
    settle_all(leased, &deferred(2)).unwrap();
    assert!(take(&spool, 100).is_none());
    drop(spool);
    assert!(take(&open(&disk), 100).is_none());
}

#[test]
fn lanes_follow_the_configuration() {
    let disk = SimulatedDisk::new(1);
    let spool = open(&disk);
    keep(&spool, 1, 10, &["a@x.example"]).unwrap();
    spool.relane(|_| Lane::new("smart:relay"));
    assert_eq!(take(&spool, 1).unwrap().lane(), &Lane::new("smart:relay"));
    // A start with another configuration, and a checkpoint that knows only the old lanes.
    spool.close();
    drop(spool);
    let spool = Spool::open_without_threads(Arc::new(disk), small_limits(), |_| Lane::new("local"))
        .unwrap()
        .0;
    assert_eq!(take(&spool, 1).unwrap().lane(), &Lane::new("local"));
}

#[test]
fn one_folder_serves_one_server() {
    let disk = SimulatedDisk::new(1);
    let _spool = open(&disk);
    let second = Spool::open_without_threads(Arc::new(disk), small_limits(), by_domain);
    assert!(matches!(second, Err(OpenError::Locked)));
    let folder = tempfile::tempdir().unwrap();
    let one = Folder::open(folder.path()).unwrap();
    let claim = one.lock().unwrap();
    let two = Folder::open(folder.path()).unwrap();
    assert_eq!(two.lock().err().unwrap().kind(), std::io::ErrorKind::WouldBlock);
    drop(claim);
    two.lock().unwrap();
}

#[test]
fn the_real_disk_keeps_what_many_threads_hand_over() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        file_bytes_max: 1 << 20,
        checkpoint_after_bytes: 20_000,
        ..Limits::default()
    };
    let open = || {
        let disk = Arc::new(Folder::open(folder.path()).unwrap());
        Spool::open(disk, limits.clone(), by_domain).unwrap()
    };
    let (spool, _) = open();
    let ids: Vec<MessageId> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u64)
            .map(|thread| {
                let spool = Arc::clone(&spool);
                scope.spawn(move || {
                    (0..20)
                        .map(|count| {
                            let number = thread * 1000 + count;
                            let bytes = if count % 7 == 0 { 150_000 } else { 3000 };
                            let answered = keep_later(&spool, number, bytes, &["a@x.example"]);
                            let receipt = answered.recv().unwrap().unwrap();
                            assert!(
                                count % 3 != 0
                                    || take(&spool, 1)
                                        .is_some_and(|leased| settle_all(leased, &delivered()).is_ok())
                            );
                            receipt.id()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let before: Vec<MessageId> = waiting(&spool);
    assert_eq!(before.len(), 8 * 13);
    drop(spool);
    let (spool, recovery) = open();
    assert_eq!(recovery.messages, 8 * 13);
    assert_eq!((recovery.torn_bytes, recovery.damaged.len()), (0, 0));
    assert_eq!(waiting(&spool), before);
    for id in before {
        assert!(ids.contains(&id));
        let shown = spool.show(id).unwrap();
        let octets = read_all(&spool, id).unwrap();
        assert_eq!(octets.len() as u64, shown.message.content.bytes);
        assert_eq!(octets, body(number_of(id), octets.len()));
    }
    while let Some(leased) = take(&spool, 1) {
        settle_all(leased, &delivered()).unwrap();
    }
    assert_eq!(spool.count(&Filter::default()).messages, 0);
}

fn number_of(id: MessageId) -> u64 {
    (id.to_bits() & ((1 << 80) - 1)) as u64
}

fn waiting(spool: &Spool) -> Vec<MessageId> {
    let all = spool.list(&Filter::default(), None, usize::MAX);
    all.into_iter().map(|waiting| waiting.message.id).collect()
}

#[test]
fn a_person_can_end_a_message_whatever_it_waits_for() {
    let disk = SimulatedDisk::new(1);
    let spool = open(&disk);
    keep(&spool, 1, 100, &["a@x.example", "b@y.example", "c@x.example"]).unwrap();
    keep(&spool, 2, 100, &["d@x.example"]).unwrap();
    let tried = take(&spool, 1).unwrap();
    settle_all(tried, &deferred(500)).unwrap();
    spool.hold(&Filter::one(id(1)), cause("look first")).unwrap();
    let state_of = |number| {
        let shown = spool.show(id(1)).unwrap();
        let states: Vec<State> = shown
            .recipients()
            .map(|(_, _, _, progress)| progress.state)
            .collect();
        states[number]
    };
    // Dropped, everything is as before.
    let leased = spool.take_message(id(1)).unwrap().unwrap();
    assert_eq!((leased.recipients().len(), state_of(0)), (2, State::Leased));
    drop(leased);
    assert_eq!((state_of(0), state_of(1)), (State::Held, State::Held));
    let leased = spool.take_message(id(1)).unwrap().unwrap();
    settle_all(leased, &delivered()).unwrap();
    let leased = spool.take_message(id(1)).unwrap().unwrap();
    assert_eq!(leased.lane(), &Lane::new("y.example"));
    assert!(
        spool.take_message(id(1)).unwrap().is_none(),
        "what is being tried is left alone"
    );
    settle_all(leased, &delivered()).unwrap();
    assert!(spool.show(id(1)).is_none());
    assert!(spool.take_message(id(1)).unwrap().is_none());
    assert!(take(&spool, 2).is_some(), "the others go on");
}
