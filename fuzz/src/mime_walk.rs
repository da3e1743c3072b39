//! Stored messages: whatever was delivered can be listed, shown and saved, within bounds, and nothing in it reaches the
//! terminal or the folder that it is saved in.

use sealpost::mailbox::mime::{Bounds, Mime};
use sealpost::mailbox::{names, view};

/// Checks one message.
pub fn check(octets: &[u8]) {
    let mime = Mime::read(octets, Bounds::default());
    check_parts(&mime, octets.len());
    let narrow = Bounds {
        depth_max: 2,
        parts_max: 3,
    };
    let cut = Mime::read(octets, narrow);
    assert!(cut.parts.len() <= narrow.parts_max);

    let shown = view::shown("id", 0, octets, octets.len() as u64);
    let summary = &shown.summary;
    let lines = [
        &summary.sender,
        &summary.from,
        &summary.subject,
        &summary.date,
        &summary.travelled.summary,
    ];
    lines
        .into_iter()
        .chain(&summary.to)
        .chain(&summary.notes)
        .for_each(|line| check_line(line));
    shown.headers.iter().for_each(|header| {
        check_line(&header.name);
        check_line(&header.value);
    });
    shown.text.split('\n').for_each(check_line);
    for attachment in &summary.attachments {
        check_name(&attachment.name);
        check_line(attachment.name_as_sent.as_deref().unwrap_or_default());
        check_line(&attachment.media_type);
        let file = view::part("id", octets.to_vec(), &attachment.part).expect("what is listed can be saved");
        check_name(&file.name);
        assert_eq!(file.octets.len() as u64, attachment.size);
    }
}

fn check_parts(mime: &Mime<'_>, whole: usize) {
    let bounds = Bounds::default();
    assert!(!mime.parts.is_empty() && mime.parts.len() <= bounds.parts_max);
    for (index, part) in mime.parts.iter().enumerate() {
        assert!(part.depth <= bounds.depth_max, "{}", part.depth);
        assert!(
            part.parent.is_none_or(|parent| parent < index)
                && part.within.is_none_or(|within| within < index)
        );
        assert!(mime.content(part).len() <= whole && mime.file(part).len() <= whole);
        assert!(
            mime.parts[..index].iter().all(|other| other.path != part.path),
            "two parts at {}",
            part.path
        );
    }
}

/// A line cannot move the cursor, change colours or reorder itself.
fn check_line(line: &str) {
    let dangerous =
        |c: char| c.is_control() && c != '\t' || ('\u{202a}'..='\u{202e}').contains(&c) || c == '\u{2066}';
    assert!(!line.contains(dangerous), "{line:?}");
}

/// A name stays in its folder and is seen there.
fn check_name(name: &str) {
    assert!(!name.is_empty() && name.len() <= 255, "{name:?}");
    assert!(
        !name.contains(['/', '\\', '\0']) && !name.starts_with(['.', '-', '~']),
        "{name:?}"
    );
    assert!(!name.contains(char::is_control), "{name:?}");
    assert_eq!(names::safe(name).as_deref(), Some(name));
}
