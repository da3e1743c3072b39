//! Foreign text made harmless for a terminal: nothing in it can move the cursor, change colours or reorder the line.

use super::names::is_hidden;

/// Text of several lines: line ends and tabs stay, CRLF becomes LF, every other hidden character is spelled out.
pub fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' if chars.peek() == Some(&'\n') => {}
            c => spell(c, &mut out),
        }
    }
    out
}

/// Text of one line.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            c => spell(c, &mut out),
        }
    }
    out
}

fn spell(c: char, out: &mut String) {
    match c {
        c if !is_hidden(c) || is_joiner(c) => out.push(c),
        c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
    }
}

/// Hidden, but harmless on a screen, and needed by some scripts and by emoji.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{ad}' | '\u{180b}'..='\u{180d}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_lose_their_power() {
        assert_eq!(lines("a\r\nb\tc\n"), "a\nb\tc\n");
        assert_eq!(
            lines("\u{1b}[2J\u{7}\u{9b}x\rgone"),
            "\\x1b[2J\\x07\\x9bx\\x0dgone"
        );
        assert_eq!(lines("\u{202e}evil\u{2066}"), "\\u{202e}evil\\u{2066}");
        assert_eq!(line("a\nb\tc"), "a\\x0ab c");
        assert_eq!(line("naïve 日本 👩‍👧"), "naïve 日本 👩‍👧");
    }
}
