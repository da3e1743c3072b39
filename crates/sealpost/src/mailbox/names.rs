//! Names for saved files. What a sender suggests is hostile until shown otherwise (RFC 2183 §2.3, §5): a name made
//! here has one component, cannot hide, mislead a terminal or a person, meet a device, or be too long.

/// A safe name near the suggested one; none if nothing of it is left.
pub fn safe(suggested: &str) -> Option<String> {
    let last = suggested
        .rsplit(['/', '\\'])
        .find(|piece| !piece.trim().is_empty())?;
    let cleaned: String = last.chars().filter(|c| !is_hidden(*c)).map(plain).collect();
    // A leading dot hides, a leading dash looks like an option, a leading tilde like a home folder, a leading `@` like a
    // file to read.
    let name = cleaned
        .trim_start_matches(|c: char| matches!(c, '.' | '-' | '~' | '@') || c.is_whitespace())
        .trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    if name.is_empty() {
        return None;
    }
    let name = shortened(name);
    Some(match is_device(&name) {
        true => format!("_{name}"),
        false => name,
    })
}

/// `name` with a number before its extension: what a second file of the same name is called.
pub fn numbered(name: &str, number: usize) -> String {
    let (stem, extension) = split_extension(name);
    format!("{stem} ({number}){extension}")
}

/// The extension for a media type, for parts without a name.
pub fn extension_for(media_type: &str) -> &'static str {
    match media_type {
        "text/plain" => "txt",
        "text/html" => "html",
        "text/csv" => "csv",
        "text/calendar" => "ics",
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "message/rfc822" | "message/global" => "eml",
        "application/ms-tnef" | "application/vnd.ms-tnef" => "dat",
        _ if media_type.starts_with("multipart/") => "eml",
        _ if media_type.starts_with("text/") || media_type.starts_with("message/") => "txt",
        _ => "bin",
    }
}

/// Characters that people cannot see, or that reorder what they see: control characters, Unicode's format characters
/// (bidirectional marks, zero widths, tags), line and paragraph separators, variation selectors.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Signs that a shell, a device or another file system takes for something else.
fn plain(c: char) -> char {
    match c {
        '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\'' | '`' | '$' | '&' | ';' | '%' | '\u{2044}'
        | '\u{2215}' | '\u{29f8}' | '\u{ff0f}' | '\u{ff3c}' | '\u{2024}' | '\u{ff0e}' => '_',
        c if c.is_whitespace() => ' ',
        c => c,
    }
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim().to_ascii_uppercase();
    let numbered = |port: &str| {
        stem.strip_prefix(port).is_some_and(|rest| {
            matches!(
                rest,
                "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"
            )
        })
    };
    matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CONIN_" | "CONOUT_" | "CLOCK_"
    ) || numbered("COM")
        || numbered("LPT")
}

fn shortened(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let (stem, extension) = split_extension(name);
    let room = stem.floor_char_boundary(NAME_BYTES_MAX - extension.len());
    format!("{}{extension}", stem[..room].trim_end())
}

/// The stem, and the extension with its dot if it is one.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= EXTENSION_BYTES_MAX => name.split_at(dot),
        _ => (name, ""),
    }
}

/// Leaves room for a number and for tools that append to names.
const NAME_BYTES_MAX: usize = 180;
const EXTENSION_BYTES_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    // proves: 2183-2.3-1 2183-2.3-2 2183-5-1
    #[test]
    fn names_are_made_safe() {
        for (suggested, expected) in [
            ("a.txt", Some("a.txt")),
            ("naïve – über.pdf", Some("naïve – über.pdf")),
            ("a/../b", Some("b")),
            ("..\\..\\etc/passwd", Some("passwd")),
            ("/etc/passwd", Some("passwd")),
            ("C:\\temp\\x.txt", Some("x.txt")),
            ("dir/", Some("dir")),
            ("..", None),
            (".", None),
            ("", None),
            ("///", None),
            ("...", None),
            ("\u{0}\u{1b}", None),
            (".bashrc", Some("bashrc")),
            ("-rf", Some("rf")),
            ("~root", Some("root")),
            ("@README.md", Some("README.md")),
            ("CON", Some("_CON")),
            ("nul.txt", Some("_nul.txt")),
            ("Com1.tar.gz", Some("_Com1.tar.gz")),
            ("console", Some("console")),
            ("a\u{0}b\u{1b}[31m.txt", Some("ab[31m.txt")),
            ("invoice\u{202e}fdp.exe", Some("invoicefdp.exe")),
            ("a\r\nb", Some("ab")),
            ("a:b|c?.txt", Some("a_b_c_.txt")),
            ("$(x)`y`;z", Some("_(x)_y__z")),
            ("x. . ", Some("x")),
            ("a\u{a0}b", Some("a b")),
            ("a\u{ff0f}b", Some("a_b")),
        ] {
            assert_eq!(safe(suggested).as_deref(), expected, "{suggested:?}");
        }
        let long = safe(&format!("{}.tar.gz", "ä".repeat(300))).unwrap();
        assert!(long.len() <= NAME_BYTES_MAX && long.ends_with(".gz"), "{long}");
        assert!(safe(&format!("a.{}", "b".repeat(300))).unwrap().len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn numbers_stand_before_the_extension() {
        assert_eq!(numbered("a.txt", 2), "a (2).txt");
        assert_eq!(numbered("a", 3), "a (3)");
    }
}
