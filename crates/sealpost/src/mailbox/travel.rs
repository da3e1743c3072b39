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

impl Hop {
    /// Reads an unfolded field. Clauses come as `name value`, comments belong to the clause before them.
    pub fn parse(field: &str) -> Hop {
        let mut hop = Hop::default();
        let (clauses, date) = match field.rsplit_once(';') {
            Some((clauses, date)) => (clauses, Some(date.trim())),
            None => (field, None),
        };
        hop.date = date.filter(|date| !date.is_empty()).map(screen::line);
        let mut name = "";
        for token in tokens(clauses) {
            let is_name = NAMES.iter().find(|known| known.eq_ignore_ascii_case(token));
            match (is_name, name) {
                (Some(known), _) => name = known,
                (None, "") => {}
                (None, name) => hop.add(name, token),
            }
        }
        hop
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
            _ => return, // via, for
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
        write!(f, "{with}")?;
        match (&self.tls, self.is_encrypted()) {
            (Some(tls), _) => write!(f, ", {tls}")?,
            (None, true) => write!(f, ", encrypted")?,
            (None, false) => write!(f, ", clear text")?,
        }
        match &self.from {
            Some(from) => write!(f, ", from {from}"),
            None => Ok(()),
        }
    }
}

/// Words and whole comments.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let (mut rest, mut left) = (text.trim_start(), TOKENS_MAX);
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        if rest.is_empty() {
            return None;
        }
        let end = match rest.starts_with('(') {
            true => comment_end(rest),
            false => rest
                .find(|c: char| c.is_whitespace() || c == '(')
                .unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        rest = after.trim_start();
        Some(token)
    })
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
}
