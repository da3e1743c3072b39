//! What must hold for the source as a whole: who may depend on whom, who may mint a proof, and in which files the
//! world (files, sockets, time, dice) may be touched.
//!
//! Each exception stands here by name with its reason.

use std::collections::BTreeSet;
use std::path::Path;

use crate::requirements::Ledger;
use crate::source::Source;
use crate::tree;

/// Words that may stand in a few files only.
struct Ban {
    /// Searched as whole words in the code, comments and literals left out.
    words: &'static [&'static str],
    /// The files it concerns, by the start of their path.
    within: &'static [&'static str],
    /// Files, or folders with a final `/`, where the words may stand, and why.
    rooms: &'static [(&'static str, &'static str)],
    /// The rule, for the one who broke it.
    rule: &'static str,
}

const PRODUCTION: &[&str] = &["crates/"];
const PURE: &[&str] = &["crates/mail/", "crates/smtp/", "crates/trust/"];

const BANS: &[Ban] = &[
    Ban {
        words: &["Receipt::mint"],
        within: PRODUCTION,
        rooms: &[(
            "crates/spool/src/journal.rs",
            "the record and its body are synced there",
        )],
        rule: "only the spool mints receipts, after the sync",
    },
    Ban {
        words: &["Secure::mint"],
        within: PRODUCTION,
        rooms: &[("crates/sealpost/src/real/dns.rs", "answers are validated there")],
        rule: "only the DNS port mints proofs of DNSSEC",
    },
    Ban {
        words: &["Permit::mint"],
        within: PRODUCTION,
        rooms: &[("crates/trust/src/", "judges channels")],
        rule: "only trust mints permits",
    },
    Ban {
        words: &["Certificates::stated"],
        within: PRODUCTION,
        rooms: &[],
        rule: "certificates are examined; only simulations and measurements state what they hold",
    },
    Ban {
        words: &["std::fs", "tokio::fs", "fs::", "OpenOptions"],
        within: PRODUCTION,
        rooms: &[
            ("crates/spool/src/disk.rs", "the real disk"),
            ("crates/sealpost/src/config.rs", "reads the configuration file"),
            (
                "crates/sealpost/src/tls/",
                "reads, and at the first start writes, key and certificate",
            ),
            (
                "crates/sealpost/src/real/net.rs",
                "reads from /proc which addresses this host has",
            ),
            (
                "crates/sealpost/src/system.rs",
                "reads who users are, and makes the data folder",
            ),
            ("crates/sealpost/src/local/maildir.rs", "writes Maildirs"),
            ("crates/sealpost/src/local.rs", "reads the file of aliases"),
            ("crates/sealpost/src/mailbox.rs", "reads Maildirs"),
            ("crates/sealpost/src/control.rs", "makes its socket private"),
            (
                "crates/sealpost/src/cli/here.rs",
                "looks who owns the socket it finds",
            ),
            ("crates/sealpost/src/sendmail.rs", "reads who the user is"),
            (
                "crates/sealpost/src/cli/evidence.rs",
                "reads exported evidence that a person names",
            ),
            (
                "crates/sealpost/src/mailbox/save.rs",
                "saves attachments where a person wants them",
            ),
        ],
        rule: "files are touched in the rooms meant for it",
    },
    Ban {
        words: &[
            "TcpListener",
            "TcpStream",
            "TcpSocket",
            "UdpSocket",
            "UnixListener",
            "UnixStream",
            "UnixDatagram",
        ],
        within: PRODUCTION,
        rooms: &[
            ("crates/sealpost/src/real/net.rs", "the network port"),
            ("crates/sealpost/src/control.rs", "the control socket"),
            ("crates/sealpost/src/real/dns/plain.rs", "questions to a resolver"),
        ],
        rule: "sockets are opened by the network port and the control socket alone",
    },
    Ban {
        words: &[
            "SystemTime::now",
            "Instant::now",
            "rand::",
            "getrandom",
            "OsRng",
            "thread_rng",
            "tokio::time",
        ],
        within: PRODUCTION,
        rooms: &[
            ("crates/sealpost/src/real/", "the clock port"),
            (
                "crates/spool/src/recover.rs",
                "says how long a start took; nothing is decided by it",
            ),
        ],
        rule: "time and dice come from the clock port, so that a run can be replayed",
    },
    Ban {
        words: &[
            "tokio",
            "tracing",
            "std::env",
            "std::process",
            "std::thread",
            "println!",
            "eprintln!",
        ],
        within: PURE,
        rooms: &[],
        rule: "pure crates know no runtime, log, thread or environment",
    },
    Ban {
        words: &[
            "tokio",
            "tracing",
            "std::env",
            "std::process",
            "println!",
            "eprintln!",
        ],
        within: &["crates/spool/"],
        rooms: &[],
        rule: "the spool blocks on its disk and knows no runtime, log or environment",
    },
    Ban {
        words: &["todo!", "unimplemented!", "#[ignore", "dbg!"],
        within: &["crates/", "interop/", "fuzz/"],
        rooms: &[],
        rule: "what is not done is not there",
    },
];

/// Which of the workspace's crates each crate may depend on.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("mail", &[]),
    ("smtp", &["mail"]),
    ("trust", &["mail"]),
    ("spool", &["mail"]),
    ("sealpost", &["mail", "smtp", "trust", "spool"]),
];

/// What a pure crate may use from outside: libraries that themselves know no socket, file, clock or runtime.
const PURE_LIBRARIES: &[(&str, &[&str])] = &[
    ("mail", &["icu_properties", "idna", "memchr"]),
    ("smtp", &["memchr"]),
    (
        "trust",
        &[
            "aws-lc-rs",
            "x509-parser",
            "rustls-webpki",
            "rustls-pki-types",
            "time",
        ],
    ),
    ("spool", &["crc32fast", "memchr", "rustix"]),
];

/// Endings of names that say nothing.
const EMPTY_ENDINGS: [&str; 5] = ["Manager", "Helper", "Util", "Data", "Info"];

/// Longest file without its tests, in lines.
const FILE_LINES_MAX: usize = 500;
/// Files that are longer, how long they may be, and why.
const LONG_FILES: &[(&str, usize, &str)] = &[
    (
        "crates/spool/src/record.rs",
        660,
        "one format, writing and reading side by side; to be parted",
    ),
    ("crates/spool/src/recover.rs", 600, "one start; to be parted"),
    ("crates/spool/src/queue.rs", 600, "to be parted"),
    ("crates/spool/src/simulated.rs", 550, "for tests alone"),
];
/// Longest function, in lines.
const FUNCTION_LINES_MAX: usize = 60;
/// Where the dispatcher's events are declared.
const DISPATCH: &str = "crates/sealpost/src/dispatch.rs";
/// Longest ARCHITECTURE.md, in lines.
const ARCHITECTURE_LINES_MAX: usize = 150;

/// All breaches, one line each: where, what, which rule.
pub fn faults(top: &Path) -> Result<Vec<String>, String> {
    let files = tree::files(top)?;
    let mut faults = Ledger::read(top)?.faults;
    for path in &files {
        let Ok(text) = std::fs::read_to_string(top.join(path)) else {
            continue; // A picture or the like.
        };
        faults.extend(foreign_places(path, &text));
        if path.ends_with("Cargo.toml") {
            faults.extend(dependencies(path, &text));
        }
        if path == "ARCHITECTURE.md" && text.lines().count() > ARCHITECTURE_LINES_MAX {
            faults.push(format!("{path}: more than {ARCHITECTURE_LINES_MAX} lines"));
        }
    }
    faults.extend(untrue_pages(top, &files)?);
    let test_files = test_files(top, &files)?;
    for path in files
        .iter()
        .filter(|path| path.ends_with(".rs") && !path.starts_with("xtask/"))
    {
        let source = Source::read(&tree::read(top, path)?);
        let production = path.starts_with("crates/") && path.contains("/src/") && !test_files.contains(path);
        faults.extend(banned(path, &source, production));
        if production {
            faults.extend(shape(path, &source));
        }
    }
    Ok(faults)
}

/// Pages that name files which are not there, and events of the dispatcher that ARCHITECTURE.md does not name.
fn untrue_pages(top: &Path, files: &[String]) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    let pages = files
        .iter()
        .filter(|path| path.ends_with(".md") && !path.starts_with("docs/requirements"));
    for page in pages {
        let text = tree::read(top, page)?;
        for (index, line) in text.lines().enumerate() {
            // Every second piece between backticks is code.
            for named in line.split('`').skip(1).step_by(2) {
                let is_path = ["crates/", "docs/", "xtask/", "fuzz/", "interop/"]
                    .iter()
                    .any(|start| named.starts_with(start));
                let plain = named
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
                let known = files.iter().any(|path| {
                    path == named || path.starts_with(&format!("{}/", named.trim_end_matches('/')))
                });
                if is_path && plain && !known && !named.contains("NNNN") {
                    faults.push(format!("{page}:{}: there is no {named}", index + 1));
                }
            }
        }
    }
    let architecture = tree::read(top, "ARCHITECTURE.md")?;
    for event in events(&tree::read(top, DISPATCH)?) {
        if !architecture.contains(&format!("| `{event}` |")) {
            faults.push(format!(
                "ARCHITECTURE.md: its table of events lacks `{event}` of {DISPATCH}"
            ));
        }
    }
    Ok(faults)
}

/// The variants of `Event`.
fn events(dispatch: &str) -> Vec<String> {
    let source = Source::read(dispatch);
    let Some((_, behind)) = source.code.split_once("pub enum Event {") else {
        return Vec::new();
    };
    let variants = behind
        .split('}')
        .next()
        .unwrap_or_default()
        .lines()
        .map(str::trim);
    let names = variants.map(|line| {
        line.chars()
            .take_while(|c| c.is_alphanumeric())
            .collect::<String>()
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// Files below a module that is declared under `#[cfg(test)]`.
fn test_files(top: &Path, files: &[String]) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    for path in files
        .iter()
        .filter(|path| path.ends_with(".rs") && path.contains("/src/"))
    {
        let source = Source::read(&tree::read(top, path)?);
        for range in &source.tests {
            let item = source.code[range.clone()].trim_start_matches("#[cfg(test)]");
            let Some(name) = item
                .trim()
                .trim_start_matches("pub(crate) ")
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(';'))
            else {
                continue;
            };
            let folder = module_folder(path);
            let (file, below) = (format!("{folder}/{name}.rs"), format!("{folder}/{name}/"));
            found.extend(
                files
                    .iter()
                    .filter(|path| **path == file || path.starts_with(&below))
                    .cloned(),
            );
        }
    }
    Ok(found)
}

/// Where the modules that a file declares lie.
fn module_folder(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

fn banned(path: &str, source: &Source, production: bool) -> Vec<String> {
    let mut faults = Vec::new();
    for ban in BANS {
        // Unfinished work counts in tests too; all else is about what is shipped.
        let everywhere = ban.words.contains(&"todo!");
        let concerned = ban.within.iter().any(|start| path.starts_with(start)) && (production || everywhere);
        let allowed = ban
            .rooms
            .iter()
            .any(|(room, _)| *room == path || room.ends_with('/') && path.starts_with(room));
        if !concerned || allowed {
            continue;
        }
        for word in ban.words {
            for at in source.find(word).filter(|&at| everywhere || !source.in_tests(at)) {
                faults.push(format!("{path}:{}: `{word}`: {}", source.line(at), ban.rule));
            }
        }
    }
    faults
}

/// The shape of one production file.
fn shape(path: &str, source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let opens = source
        .comments
        .first()
        .is_some_and(|comment| source.code[..comment.at].trim().is_empty());
    if !opens {
        faults.push(format!(
            "{path}:1: a file opens with `//!`: what it owns and what it never does"
        ));
    }
    let lines = source.production_lines();
    let allowed = LONG_FILES.iter().find(|(long, ..)| *long == path);
    let allowed = allowed.map_or(FILE_LINES_MAX, |(_, lines, _)| *lines);
    if lines > allowed {
        faults.push(format!(
            "{path}: {lines} lines without tests, more than {allowed}: it holds two questions"
        ));
    }
    for function in source
        .functions
        .iter()
        .filter(|function| !source.in_tests(function.body.start))
    {
        let (first, last) = (source.line(function.body.start), source.line(function.body.end));
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            faults.push(format!(
                "{path}:{first}: `{}` has {lines} lines, more than {FUNCTION_LINES_MAX}",
                function.name
            ));
        }
    }
    for keyword in ["struct", "enum", "trait", "type"] {
        for at in source.find(keyword).filter(|&at| !source.in_tests(at)) {
            let name: String = source.code[at + keyword.len()..]
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric())
                .collect();
            if EMPTY_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                faults.push(format!(
                    "{path}:{}: the name {name} says nothing",
                    source.line(at)
                ));
            }
        }
    }
    for at in source.find("select!").filter(|&at| !source.in_tests(at)) {
        let inside = source.code[at + "select!".len()..].trim_start_matches([' ', '{', '\n']);
        if !inside.starts_with("biased;") {
            faults.push(format!(
                "{path}:{}: `select!` is `biased;`, so that a run can be replayed",
                source.line(at)
            ));
        }
    }
    faults
}

/// The dependency rule, read from one manifest.
fn dependencies(path: &str, text: &str) -> Vec<String> {
    let Some(name) = path
        .strip_prefix("crates/")
        .and_then(|rest| rest.strip_suffix("/Cargo.toml"))
    else {
        return Vec::new();
    };
    let Some((_, siblings)) = DEPENDENCIES.iter().find(|(of, _)| *of == name) else {
        return vec![format!(
            "{path}: a new crate needs a rule: say in xtask/src/tidy.rs what it may depend on"
        )];
    };
    let libraries = PURE_LIBRARIES
        .iter()
        .find(|(of, _)| *of == name)
        .map(|(_, libraries)| *libraries);
    let mut faults = Vec::new();
    let mut section = "";
    for (index, line) in text.lines().enumerate().map(|(index, line)| (index, line.trim())) {
        if line.starts_with('[') {
            section = line;
        }
        if section != "[dependencies]" && section != "[build-dependencies]" || line.starts_with(['[', '#']) {
            continue;
        }
        let used = line.split(['.', '=', ' ']).next().unwrap_or_default();
        let ours = DEPENDENCIES.iter().any(|(of, _)| *of == used) || used == "xtask" || used == "interop";
        let allowed = if ours {
            siblings.contains(&used)
        } else {
            libraries.is_none_or(|known| known.contains(&used))
        };
        if !used.is_empty() && !allowed {
            faults.push(format!("{path}:{}: {name} must not depend on {used}", index + 1));
        }
    }
    faults
}

/// Places that exist on one machine only, or that a clone must not depend on.
fn foreign_places(path: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not hold what it looks for.
    let folders = ["work", "root"].map(|folder| format!("/{folder}/"));
    let hosts = [
        "index.crates",
        "static.crates",
        "deb.debian",
        "registry.npmjs",
        "files.pythonhosted",
        "proxy.golang",
    ]
    .map(|host| format!("{host}."));
    if path == "Cargo.lock" || path == "fuzz/Cargo.lock" {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let folder = folders.iter().find(|folder| {
            line.match_indices(folder.as_str())
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || ".}$*-_/".contains(c)))
        });
        if let Some(place) = folder.or_else(|| hosts.iter().find(|host| line.contains(host.as_str()))) {
            faults.push(format!(
                "{path}:{}: `{place}` is a place of one machine or network",
                index + 1
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::{banned, dependencies, events, foreign_places, shape};
    use crate::source::Source;

    fn faults(path: &str, text: &str) -> Vec<String> {
        let source = Source::read(text);
        let mut faults = banned(path, &source, true);
        faults.extend(shape(path, &source));
        faults
    }

    #[test]
    fn each_rule_has_a_breach() {
        for (path, text, fault) in [
            (
                "crates/sealpost/src/deliver.rs",
                "//! a\nfn f() { Permit::mint(host) }",
                "only trust mints",
            ),
            (
                "crates/spool/src/schedule.rs",
                "//! a\nfn f() { Receipt::mint(id) }",
                "only the spool mints",
            ),
            (
                "crates/sealpost/src/route.rs",
                "//! a\nuse mail::Secure;\nfn f() { Secure::mint(1) }",
                "only the DNS port",
            ),
            (
                "crates/spool/src/segment.rs",
                "//! a\nuse std::fs::File;",
                "rooms meant for it",
            ),
            (
                "crates/sealpost/src/receive.rs",
                "//! a\nuse tokio::net::TcpStream;",
                "sockets are opened",
            ),
            (
                "crates/sealpost/src/dispatch.rs",
                "//! a\nfn f() { SystemTime::now(); }",
                "clock port",
            ),
            (
                "crates/smtp/src/wire.rs",
                "//! a\nuse tokio::io::AsyncRead;",
                "pure crates",
            ),
            ("crates/trust/src/lib.rs", "//! a\nfn f() { todo!() }", "not done"),
            (
                "crates/trust/src/lib.rs",
                "//! a\n#[test]\n#[ignore]\nfn f() {}",
                "not done",
            ),
            ("crates/trust/src/lib.rs", "fn f() {}", "opens with"),
            (
                "crates/trust/src/lib.rs",
                "//! a\nstruct HostInfo;",
                "says nothing",
            ),
            (
                "crates/sealpost/src/receive.rs",
                "//! a\nfn f() { tokio::select! { a = b => {} } }",
                "biased",
            ),
        ] {
            let found = faults(path, text);
            assert!(found.iter().any(|said| said.contains(fault)), "{text}: {found:?}");
        }
        let long = format!("//! a\nfn f() {{\n{}}}\n", "    x();\n".repeat(60));
        assert!(faults("crates/trust/src/lib.rs", &long)[0].contains("`f` has 62 lines"));
        let longer = format!("//! a\n{}", "struct A;\n".repeat(500));
        assert!(faults("crates/trust/src/lib.rs", &longer)[0].contains("501 lines"));
    }

    #[test]
    fn what_is_allowed_passes() {
        for (path, text) in [
            ("crates/trust/src/lib.rs", "//! a\nfn f() { Permit::mint(host) }"),
            ("crates/spool/src/disk.rs", "//! a\nuse std::fs::File;"),
            (
                "crates/sealpost/src/real/clock.rs",
                "//! a\nfn f() { SystemTime::now(); }",
            ),
            (
                "crates/trust/src/lib.rs",
                "//! todo!() std::fs\nfn f() { g(\"todo!()\") }",
            ),
            (
                "crates/spool/src/lib.rs",
                "//! a\n#[cfg(test)]\nmod tests { use std::fs; }",
            ),
            (
                "crates/sealpost/src/receive.rs",
                "//! a\nfn f() { select! { biased; a = b => {} } }",
            ),
        ] {
            assert_eq!(faults(path, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn siblings_do_not_import_each_other() {
        let manifest = "[dependencies]\nmail.workspace = true\ntrust.workspace = true\nregex = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n";
        let said = dependencies("crates/smtp/Cargo.toml", manifest);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("must not depend on trust") && said[1].contains("must not depend on regex"));
        assert_eq!(dependencies("crates/sealpost/Cargo.toml", manifest).len(), 0);
        assert_eq!(dependencies("crates/new/Cargo.toml", "[package]\n").len(), 1);
    }

    #[test]
    fn events_are_read_from_their_enum() {
        let text =
            "/// All.\npub enum Event {\n    /// A.\n    Due,\n    Reached(Lane),\n}\nenum Other { No }\n";
        assert_eq!(events(text), ["Due", "Reached"]);
    }

    #[test]
    fn places_of_one_machine_are_refused() {
        let place = format!("cd /{}/main", "work");
        assert_eq!(foreign_places("README.md", &place).len(), 1);
        assert_eq!(foreign_places("README.md", "target/work/x $HOME/work/y").len(), 0);
    }
}
