//! A page of text for people: at most 100 columns, colours only where they are seen.

use std::fmt::Write;

/// How a line begins: what it says at a glance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Not known.
    Unknown,
    /// Wrong.
    Bad,
    /// Nothing of the kind.
    Plain,
}

/// A page that is being written.
pub(super) struct Page {
    text: String,
    colours: bool,
}

impl Page {
    pub(super) fn new(colours: bool) -> Page {
        Page {
            text: String::new(),
            colours,
        }
    }

    /// The whole page.
    pub(super) fn text(self) -> String {
        self.text
    }

    /// A headline, after a blank line unless it is the first.
    pub(super) fn head(&mut self, text: &str) {
        self.gap();
        for line in wrap(text, WIDTH) {
            let line = match self.colours {
                true => format!("\x1b[1m{line}\x1b[0m"),
                false => line,
            };
            self.push(&line);
        }
    }

    /// A blank line, unless nothing stands above it.
    pub(super) fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// A line of a table: mark, label, text; the text goes on below itself.
    pub(super) fn row(&mut self, tone: Tone, label: &str, text: &str) {
        let mark = self.mark(tone);
        let mut lines = wrap(text, WIDTH - TEXT_COLUMN).into_iter();
        let first = lines.next().unwrap_or_default();
        self.push(format!("  {mark} {label:<LABEL_WIDTH$} {first}").trim_end());
        for line in lines {
            self.push(&format!("{:TEXT_COLUMN$}{line}", ""));
        }
    }

    /// What to do about the line above.
    pub(super) fn remedy(&mut self, text: &str) {
        for (place, line) in wrap(text, WIDTH - TEXT_COLUMN - 3).into_iter().enumerate() {
            let arrow = if place == 0 { "-> " } else { "   " };
            self.push(&format!("{:TEXT_COLUMN$}{arrow}{line}", ""));
        }
    }

    /// A line that is not broken, however long: a record to be copied.
    pub(super) fn verbatim(&mut self, text: &str) {
        self.push(text.trim_end());
    }

    /// A paragraph of remarks in a zone file.
    pub(super) fn remark(&mut self, text: &str) {
        for line in wrap(text, WIDTH - 2) {
            self.push(&format!("; {line}"));
        }
    }

    /// A paragraph.
    pub(super) fn say(&mut self, text: &str) {
        for line in wrap(text, WIDTH - 2) {
            self.push(&format!("  {line}"));
        }
    }

    fn mark(&self, tone: Tone) -> String {
        let (word, colour) = match tone {
            Tone::Good => ("ok   ", "32"),
            Tone::Note => ("note ", "33"),
            Tone::Unknown => ("?    ", "35"),
            Tone::Bad => ("FAULT", "31"),
            Tone::Plain => ("     ", ""),
        };
        match self.colours && !colour.is_empty() {
            true => format!("\x1b[{colour}m{word}\x1b[0m"),
            false => word.to_owned(),
        }
    }

    fn push(&mut self, line: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// Breaks at blanks; a word that is too long for a line gets one of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

const WIDTH: usize = 100;
const LABEL_WIDTH: usize = 14;
/// Two blanks, the mark, a blank, the label, a blank.
const TEXT_COLUMN: usize = 2 + 5 + 1 + LABEL_WIDTH + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wider_than_the_page() {
        let mut page = Page::new(false);
        let long = "some words that go on and on ".repeat(12);
        page.head(&long);
        page.row(Tone::Bad, "certificate", &long);
        page.remedy(&long);
        page.say(&long);
        let text = page.text();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("  FAULT certificate    some words"), "{text}");
        assert!(
            !text.contains('\x1b') && text.lines().all(|line| line.trim_end() == line),
            "{text}"
        );
    }
}
