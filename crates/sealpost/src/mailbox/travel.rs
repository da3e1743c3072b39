//! How a message travelled, as its topmost `Received:` field tells it: that one is this server's own word
//! (RFC 5321 §4.4, RFC 8314 §4.3); those below it are the word of the hosts before.

use serde::{Deserialize, Serialize};

use super::screen;

/// One hop.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Hop {
    /// Who handed it over, as it named itself and as it was seen.
    pub from: Option<String>,
    /// Who took it.
    pub by: Option<String>,
    /// `ESMTPS` and the like (RFC 3848).
    pub with: Option<String>,
    /// The `tls` clause: cipher suite and group; none means clear text.
    pub tls: Option<String>,
    /// The name the message had there.
    pub id: Option<String>,
    /// The date, as written.
    pub date: Option<String>,
}

/// What a hop went over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// TLS.
    Tls,
    /// A wire, in clear.
    Clear,
    /// No wire: a program on the machine itself handed it in, or the server wrote it.
    Local,
}

impl Hop {
    /// Reads an unfolded field. Clauses come as `name value`, comments belong to the clause before them. A value may be
    /// spelled like a name: a client may call itself `tls`, and that says nothing of how it came.
    pub fn parse(field: &str) -> Hop {
        let mut hop = Hop::default();
        let (clauses, date) = match field.rsplit_once(';') {
            Some((clauses, date)) => (clauses, Some(date.trim())),
            None => (field, None),
        };
        hop.date = date.filter(|date| !date.is_empty()).map(screen::line);
        let (mut name, mut awaited) = ("", Awaited::Name);
        for token in tokens(clauses) {
            let known = NAMES.iter().find(|known| known.eq_ignore_ascii_case(token));
            match (awaited, known) {
                (Awaited::Name, Some(known)) => (name, awaited) = (known, Awaited::Value),
                (Awaited::Name, None) => hop.add(name, token),
                (Awaited::Value, _) => {
                    hop.add(name, token);
                    if !token.starts_with('(') {
                        awaited = Awaited::Name;
                    }
                }
            }
        }
        hop
    }

    /// What it went over.
    pub fn way(&self) -> Way {
        match (self.is_encrypted(), &self.from, &self.with) {
            (true, _, _) => Way::Tls,
            (false, None, None) => Way::Local,
            (false, _, _) => Way::Clear,
        }
    }

    /// Whether the hop was inside TLS: a `tls` clause, or a protocol whose name ends in S or SA (RFC 3848).
    pub fn is_encrypted(&self) -> bool {
        let with = self.with.as_deref().unwrap_or_default();
        let word = with.split_whitespace().next().unwrap_or_default();
        self.tls.is_some()
            || matches!(
                word,
                "ESMTPS" | "ESMTPSA" | "LMTPS" | "LMTPSA" | "UTF8SMTPS" | "UTF8SMTPSA"
            )
    }

    fn add(&mut self, name: &str, token: &str) {
        let clause = match name {
            "from" => &mut self.from,
            "by" => &mut self.by,
            "with" => &mut self.with,
            "tls" => &mut self.tls,
            "id" => &mut self.id,
            _ => return, // via, for, and what stands before the first name
        };
        let text = screen::line(token);
        match clause {
            Some(clause) => {
                clause.push(' ');
                clause.push_str(&text);
            }
            None => *clause = Some(text),
        }
    }
}

/// One line for people.
impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let with = self.with.as_deref().unwrap_or("an unknown protocol");
        match (self.way(), &self.tls) {
            (Way::Local, _) => return f.write_str("over no wire: handed in on the machine itself"),
            (Way::Tls, Some(tls)) => write!(f, "{with}, {tls}")?,
            (Way::Tls, None) => write!(f, "{with}, encrypted")?,
            (Way::Clear, _) => write!(f, "{with}, clear text")?,
        }
        match &self.from {
            Some(from) => write!(f, ", from {from}"),
            None => Ok(()),
        }
    }
}

/// What the reading of a field stands before.
#[derive(Clone, Copy)]
enum Awaited {
    Name,
    Value,
}

/// Words, with what is quoted in them, and whole comments.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let (mut rest, mut left) = (text.trim_start(), TOKENS_MAX);
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        if rest.is_empty() {
            return None;
        }
        let end = match rest.starts_with('(') {
            true => comment_end(rest),
            false => word_end(rest),
        };
        let (token, after) = rest.split_at(end);
        rest = after.trim_start();
        Some(token)
    })
}

/// A quoted local part may hold blanks and parentheses.
fn word_end(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let end = text.find(|c: char| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        !quoted && (c.is_whitespace() || c == '(')
    });
    end.unwrap_or(text.len())
}

fn comment_end(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return at + 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

const NAMES: [&str; 7] = ["from", "by", "via", "with", "id", "for", "tls"];
const TOKENS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_and_comments() {
        let hop = Hop::parse(
            "from c.example (c.example [192.0.2.1]) by mx.example with ESMTPS tls TLS_AES_256_GCM_SHA384 \
             id 01ABC for <a@b>; Sat, 21 Nov 2026 10:00:00 +0000",
        );
        assert_eq!(hop.from.as_deref(), Some("c.example (c.example [192.0.2.1])"));
        assert_eq!(hop.tls.as_deref(), Some("TLS_AES_256_GCM_SHA384"));
        assert_eq!(hop.id.as_deref(), Some("01ABC"));
        assert!(hop.is_encrypted());
        assert!(!Hop::parse("from a by b with ESMTP; x").is_encrypted());
        for odd in [
            "",
            ";",
            "((((",
            "from",
            "with with with",
            "(a",
            "\u{1b}[2J by \u{202e}",
        ] {
            let text = Hop::parse(odd).to_string();
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{odd:?}");
        }
    }
    #[test]
    fn a_client_cannot_spell_its_way_under_lock() {
        let rows = [
            "from tls ([192.0.2.1]) by mx.example (Sealpost) with SMTP id 01ABC for <a@b>; x",
            "from a.example ([192.0.2.1]) by mx.example with ESMTP id 01ABC \
             for <\"x tls TLS_AES_256_GCM_SHA384 (\\\" with ESMTPS\"@b>; x",
            "from with ([192.0.2.1]) by mx.example (Sealpost) with SMTP id tls; x",
        ];
        for row in rows {
            let hop = Hop::parse(row);
            assert_eq!((hop.way(), hop.tls.as_deref()), (Way::Clear, None), "{row}");
            assert!(hop.to_string().contains("clear text"), "{hop}");
        }
    }

    #[test]
    fn what_came_by_no_wire_is_not_called_clear() {
        let hop = Hop::parse("by mx.example (Sealpost) id 01ABC for <a@b>; x");
        assert_eq!((hop.way(), Hop::default().way()), (Way::Local, Way::Local));
        assert!(!hop.is_encrypted());
        assert_eq!(hop.to_string(), "over no wire: handed in on the machine itself");
        assert_eq!(Hop::parse("from a by b with ESMTPS; x").way(), Way::Tls);
    }
}
