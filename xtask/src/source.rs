//! A Rust file as the checks see it: its code without comments and literals, its comments, its functions, and which
//! lines exist only in tests.
//!
//! Knows enough of the language to tell code from comments and literals and to match braces; it does not parse.

use std::ops::Range;

/// A comment, without its slashes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comment {
    /// Where it begins, in octets from the start of the file.
    pub at: usize,
    /// What it says, trimmed.
    pub text: String,
}

/// A function with a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// From the end of the item before it to the end of its body: comments and attributes above belong to it.
    pub reach: Range<usize>,
    /// From `fn` to the brace that ends it.
    pub body: Range<usize>,
    /// Whether an attribute `#[test]` or `#[….::test…]` stands above it.
    pub is_test: bool,
}

/// One file, taken apart.
#[derive(Debug)]
pub struct Source {
    /// The text with comments and the insides of literals blanked, octet for octet as long as the original.
    pub code: String,
    /// Its comments in order.
    pub comments: Vec<Comment>,
    /// Its functions in order of their first octet.
    pub functions: Vec<Function>,
    /// The items under `#[cfg(test)]`.
    pub tests: Vec<Range<usize>>,
}

impl Source {
    /// Takes a file apart.
    pub fn read(text: &str) -> Source {
        let (code, comments) = blank(text);
        let functions = functions(&code);
        let tests = test_items(&code);
        Source {
            code,
            comments,
            functions,
            tests,
        }
    }

    /// The line number, from 1, of an octet.
    pub fn line(&self, at: usize) -> usize {
        1 + self.code.as_bytes()[..at]
            .iter()
            .filter(|&&octet| octet == b'\n')
            .count()
    }

    /// Whether an octet lies in an item under `#[cfg(test)]`.
    pub fn in_tests(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// How many lines the file has outside items under `#[cfg(test)]`.
    pub fn production_lines(&self) -> usize {
        let tests: usize = self
            .tests
            .iter()
            .map(|range| self.line(range.end) - self.line(range.start) + 1)
            .sum();
        self.code.lines().count().saturating_sub(tests)
    }

    /// Where `word` stands in the code with no identifier character right before or behind it.
    pub fn find<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        let code = self.code.as_bytes();
        self.code
            .match_indices(word)
            .map(|(at, _)| at)
            .filter(move |&at| {
                let before = at.checked_sub(1).map(|before| code[before]);
                let behind = code.get(at + word.len()).copied();
                let starts = !is_word(word.as_bytes()[0]) || !before.is_some_and(is_word);
                let ends = !is_word(word.as_bytes()[word.len() - 1]) || !behind.is_some_and(is_word);
                starts && ends
            })
    }

    /// The innermost test function whose reach holds an octet.
    pub fn test_around(&self, at: usize) -> Option<&Function> {
        let around = self
            .functions
            .iter()
            .filter(|function| function.reach.contains(&at) && function.is_test);
        around.min_by_key(|function| function.reach.len())
    }
}

/// Blanks comments and literals, and hands out the comments.
fn blank(text: &str) -> (String, Vec<Comment>) {
    let octets = text.as_bytes();
    let mut code = octets.to_vec();
    let mut comments = Vec::new();
    let mut at = 0;
    while at < octets.len() {
        let rest = &octets[at..];
        let word_before = at > 0 && is_word(octets[at - 1]);
        let end = if rest.starts_with(b"//") {
            at + line_length(rest)
        } else if rest.starts_with(b"/*") {
            at + block_length(rest)
        } else if let Some(length) = raw_string_length(rest).filter(|_| !word_before) {
            at + length
        } else if rest[0] == b'"' {
            at + quoted_length(rest)
        } else if rest[0] == b'\'' {
            at + char_length(rest)
        } else {
            at + 1
        };
        if rest.starts_with(b"//") || rest.starts_with(b"/*") {
            let said = text[at..end]
                .trim_start_matches(['/', '!', '*'])
                .trim_end_matches("*/")
                .trim();
            comments.push(Comment {
                at,
                text: said.to_owned(),
            });
        }
        if end > at + 1 {
            code[at..end]
                .iter_mut()
                .filter(|octet| **octet != b'\n')
                .for_each(|octet| *octet = b' ');
        }
        at = end;
    }
    let code = String::from_utf8_lossy(&code).into_owned();
    (code, comments)
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter()
        .position(|&octet| octet == b'\n')
        .unwrap_or(rest.len())
}

fn block_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of `r"…"`, `br#"…"#` and the like, if one begins here.
fn raw_string_length(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"br"[..], b"cr", b"r"]
        .into_iter()
        .find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..]
        .iter()
        .take_while(|&&octet| octet == b'#')
        .count();
    let open = prefix.len() + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let inside = &rest[open + 1..];
    let end = inside
        .windows(close.len())
        .position(|window| window == close)
        .unwrap_or(inside.len());
    Some((open + 1 + end + close.len()).min(rest.len()))
}

fn quoted_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a character literal; 1 for the quote of a lifetime.
fn char_length(rest: &[u8]) -> usize {
    match rest.get(1) {
        Some(b'\\') => rest
            .iter()
            .skip(3)
            .position(|&octet| octet == b'\'')
            .map_or(1, |end| end + 4),
        Some(&first) => {
            let width = match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            if rest.get(1 + width) == Some(&b'\'') {
                width + 2
            } else {
                1
            }
        }
        None => 1,
    }
}

fn functions(code: &str) -> Vec<Function> {
    let octets = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && is_word(octets[at - 1]) {
            continue;
        }
        let name: String = code[at + 3..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let (Some(open), false) = (body_open(octets, at), name.is_empty()) else {
            continue;
        };
        let end = matching(octets, open);
        let (start, is_test) = item_start(code, at);
        found.push(Function {
            name,
            reach: end_of_code_before(octets, start)..end,
            body: at..end,
            is_test,
        });
    }
    found
}

/// The brace that opens the body of the item at `at`; none if a semicolon ends it first.
fn body_open(octets: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, octet) in octets.iter().enumerate().skip(at) {
        match octet {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.checked_sub(1)?,
            b'{' if depth == 0 => return Some(index),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// One past the brace that matches the one at `open`.
fn matching(octets: &[u8], open: usize) -> usize {
    let mut depth = 0usize;
    for (index, octet) in octets.iter().enumerate().skip(open) {
        match octet {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    octets.len()
}

/// Where the item whose `fn` stands at `at` begins, attributes and visibility included, and whether it is a test.
fn item_start(code: &str, at: usize) -> (usize, bool) {
    const BEFORE_FN: [&str; 7] = ["pub", "async", "unsafe", "extern", "const", "crate", "super"];
    let mut start = at;
    let mut is_test = false;
    loop {
        let before = code[..start].trim_end();
        let word = before
            .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default();
        if BEFORE_FN.contains(&word) {
            start = before.len() - word.len();
        } else if let Some(open) = before
            .rfind("pub(")
            .filter(|open| before[*open..].find(')') == Some(before.len() - open - 1))
        {
            start = open;
        } else if before.ends_with(']') {
            let Some(open) = attribute_open(before.as_bytes()) else {
                return (start, is_test);
            };
            let inside = before[open + 2..before.len() - 1].trim();
            let path = inside.split(['(', ' ']).next().unwrap_or_default();
            is_test |= path == "test" || path.ends_with("::test");
            start = open;
        } else {
            return (start, is_test);
        }
    }
}

/// Where the attribute that ends a text begins, if it is one.
fn attribute_open(octets: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    for index in (1..octets.len()).rev() {
        match octets[index] {
            b']' => depth += 1,
            b'[' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (octets[index - 1] == b'#').then_some(index - 1);
        }
    }
    None
}

fn end_of_code_before(octets: &[u8], at: usize) -> usize {
    octets[..at]
        .iter()
        .rposition(|octet| !octet.is_ascii_whitespace())
        .map_or(0, |last| last + 1)
}

/// The items that `#[cfg(test)]` stands above.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let octets = code.as_bytes();
    let mut items: Vec<Range<usize>> = Vec::new();
    for (at, attribute) in code.match_indices("#[cfg(test)]") {
        let behind = at + attribute.len();
        let end = match body_open(octets, behind) {
            Some(open) => matching(octets, open),
            None => code[behind..]
                .find(';')
                .map_or(code.len(), |end| behind + end + 1),
        };
        if items.last().is_none_or(|last| last.end <= at) {
            items.push(at..end);
        }
    }
    items
}

fn is_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'_'
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn comments_and_literals_are_not_code() {
        for text in [
            "let a = \"todo!() \\\" // no\";",
            "let a = r#\"todo!() \"quoted\" \"#;",
            "let a = b\"todo!()\"; // todo!()",
            "/* todo!() /* todo!() */ todo!() */ let a = 1;",
            "let a = '\"'; // todo!()",
            "fn f<'a>(x: &'a str) {} // todo!() isn't here",
            "let a = '\\''; /* todo!() */",
        ] {
            let source = Source::read(text);
            assert_eq!(source.find("todo!").count(), 0, "{text}");
            assert_eq!(source.code.len(), text.len(), "{text}");
        }
        let source = Source::read("let a = '\"'; todo!(); let b = '\"';");
        assert_eq!(source.find("todo!").count(), 1);
    }

    #[test]
    fn a_word_is_found_whole() {
        let source = Source::read("rand rand() strand rand_x x.rand");
        assert_eq!(source.find("rand").count(), 3);
        assert_eq!(source.find("rand()").count(), 1);
    }

    #[test]
    fn tests_and_their_reach() {
        let text = "fn plain() { 1 }\n\n/// says\n#[test]\npub(crate) fn one() { // inside\n}\n// above\n#[tokio::test(start_paused = true)]\nasync fn two() {}\n";
        let source = Source::read(text);
        let tests: Vec<_> = source
            .functions
            .iter()
            .filter(|f| f.is_test)
            .map(|f| f.name.as_str())
            .collect();
        assert_eq!(tests, ["one", "two"]);
        let name_at = |words: &str| {
            let at = text.find(words).expect("the words stand in the text");
            source.test_around(at).map(|f| f.name.as_str())
        };
        assert_eq!(name_at("plain"), None);
        assert_eq!(name_at("says"), Some("one"));
        assert_eq!(name_at("inside"), Some("one"));
        assert_eq!(name_at("above"), Some("two"));
    }

    #[test]
    fn a_function_without_body_is_none() {
        let source = Source::read("trait T { fn a(&self) -> [u8; 2]; fn b(&self) {} }");
        let names: Vec<_> = source.functions.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["b"]);
    }

    #[test]
    fn test_modules_do_not_count_as_production() {
        let source = Source::read("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
        assert_eq!(source.production_lines(), 1);
        assert!(source.in_tests(source.code.find("fn b").expect("b is there")));
        let source = Source::read("#[cfg(test)]\nmod sim;\nfn a() {}\n");
        assert_eq!(source.production_lines(), 1);
    }
}
