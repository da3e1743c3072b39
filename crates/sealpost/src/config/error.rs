//! What is wrong with a configuration, on one line: file, line, column, and the nearest known name.

use std::fmt;

/// A configuration that cannot be used. `Display` is one line for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    file: String,
    place: Option<(usize, usize)>,
    what: String,
}

impl ConfigError {
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> ConfigError {
        ConfigError::whole(file, &format!("cannot read this file: {error}"))
    }

    pub(super) fn whole(file: &str, what: &str) -> ConfigError {
        ConfigError {
            file: file.to_owned(),
            place: None,
            what: what.to_owned(),
        }
    }

    pub(super) fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
        let start = error.span().map(|span| span.start.min(text.len()));
        let section = start.and_then(|start| section_at(text, start));
        ConfigError {
            file: file.to_owned(),
            place: start.map(|start| line_and_column(text, start)),
            what: explain(error.message(), section),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Says serde's complaint in the operator's words.
fn explain(message: &str, section: Option<&str>) -> String {
    let place = section
        .map(|section| format!(" in {section}"))
        .unwrap_or_default();
    for (words, kind) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        let Some((name, rest)) = message.strip_prefix(words).and_then(|rest| rest.split_once('`')) else {
            continue;
        };
        let hint = match nearest(name, quoted(rest)) {
            Some(known) => format!("; did you mean \"{known}\"?"),
            None => String::new(),
        };
        return format!("unknown {kind} \"{name}\"{place}{hint}");
    }
    // One line, whatever the parser had to say.
    message.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// The known names that serde lists between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The known name that a slip of the keyboard most likely meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let tolerated = (name.chars().count() / 3).max(2);
    known
        .map(|known| (distance(name, known), known))
        .filter(|(d, _)| *d <= tolerated)
        .min()
        .map(|(_, known)| known)
}

/// Edits between two words: insert, delete, replace, or swap two neighbours, each counted once.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, other) | (other, 0) => other,
                (i, j) => {
                    let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    let best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    if swapped {
                        best.min(rows[i - 2][j - 2] + 1)
                    } else {
                        best
                    }
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

/// The header of the table that an offset lies in; none within a header or above the first.
fn section_at(text: &str, offset: usize) -> Option<&str> {
    let line_start = text[..offset].rfind('\n').map_or(0, |end| end + 1);
    if text[line_start..].trim_start().starts_with('[') {
        return None;
    }
    text[..line_start]
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| line.starts_with('[') && line.ends_with(']'))
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("listen", "lisen", 1),
            ("hots", "host", 1),
            ("mx", "tls", 3),
            ("", "abc", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
