//! Which requirement is proven by which test: reads the rows of `docs/requirements/`, collects the claims that tests
//! make, and writes `docs/requirements.md`.
//!
//! A claim is a comment `proves: ID ID` in or right above a test function, or anywhere in a file below a `tests/`
//! folder: `// proves:` in Rust, `# proves:` in transcripts and tables. What tests cannot prove yet stands in
//! `docs/requirements/open.tsv` with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::Source;
use crate::tree;

/// Where the rows are.
const ROWS: &str = "docs/requirements/";
/// Rows that are open, and why.
const OPEN: &str = "docs/requirements/open.tsv";
/// What is written.
const REPORT: &str = "docs/requirements.md";
/// The first line of each file of rows.
const HEADER: &str = "id\tlevel\tside\trequirement\thow_to_test\tsource";
const LEVELS: [&str; 6] = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "SEC"];
const SIDES: [&str; 6] = [
    "server",
    "client",
    "both",
    "sender-policy",
    "receiver",
    "reporter",
];

/// The RFCs of the journey. Each of their rows is proven or open for a stated reason; nothing is left undecided.
const DECIDED: [&str; 27] = [
    "1869", "1870", "2034", "2487", "2920", "3030", "3207", "3461", "3463", "3464", "3848", "5321", "6152",
    "6522", "6531", "6698", "7504", "7505", "7671", "7672", "7817", "8461", "8689", "8996", "8997", "9325",
    "9422",
];

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// `RFC-section-number`.
    pub id: String,
    level: String,
    side: String,
    requirement: String,
}

/// A test that says it proves a requirement.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Claim {
    /// The requirement.
    pub id: String,
    /// `path::function`, or the path of a transcript or table.
    pub test: String,
}

/// Everything known of the requirements, and everything that is wrong with it.
#[derive(Debug, Default)]
pub struct Ledger {
    rows: Vec<Row>,
    proofs: BTreeMap<String, BTreeSet<String>>,
    open: BTreeMap<String, String>,
    /// Lines for people, each naming a place and what to do.
    pub faults: Vec<String>,
    /// The same for rows that are listed as open and proven nevertheless: news, to be tidied up before a release.
    needless: Vec<String>,
}

/// What to do with the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// Write `docs/requirements.md`.
    Write,
    /// Fail if `docs/requirements.md` is not what would be written.
    Check,
}

/// The command `cargo xtask requirements`.
pub fn run(top: &Path, report: Report) -> Result<(), String> {
    let ledger = Ledger::read(top)?;
    let mut faults = ledger.faults.clone();
    let undecided = ledger.undecided();
    let text = ledger.report();
    match report {
        Report::Write => {
            std::fs::write(top.join(REPORT), &text).map_err(|error| format!("{REPORT}: {error}"))?
        }
        Report::Check => {
            faults.extend_from_slice(&ledger.needless);
            if tree::read(top, REPORT).ok().as_deref() != Some(text.as_str()) {
                faults.push(format!(
                    "{REPORT} is stale: run `cargo xtask requirements` and commit it"
                ));
            }
            let said = |id: &String| format!("{id} is neither proven by a test nor listed in {OPEN}");
            faults.extend(undecided.iter().map(said));
        }
    }
    println!(
        "requirements: {} rows, {} proven, {} open with a reason; undecided in the RFCs of the journey: {}",
        ledger.rows.len(),
        ledger
            .rows
            .iter()
            .filter(|row| ledger.proofs.contains_key(&row.id))
            .count(),
        ledger
            .rows
            .iter()
            .filter(|row| ledger.why_open(row).is_some())
            .count(),
        undecided.len(),
    );
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

impl Ledger {
    /// Reads rows, claims and open rows from the repository at `top`.
    pub fn read(top: &Path) -> Result<Ledger, String> {
        let files = tree::files(top)?;
        let mut ledger = Ledger::default();
        for path in files
            .iter()
            .filter(|path| path.starts_with(ROWS) && path.ends_with(".tsv") && *path != OPEN)
        {
            ledger.add_rows(path, &tree::read(top, path)?);
        }
        for path in files.iter().filter(|path| may_claim(path)) {
            let text = tree::read(top, path)?;
            let found = if path.ends_with(".rs") {
                claims_in_rust(path, &text)
            } else {
                claims_in_lines(path, &text)
            };
            match found {
                Ok(claims) => claims.into_iter().for_each(|claim| ledger.add_claim(claim)),
                Err(fault) => ledger.faults.push(fault),
            }
        }
        if files.iter().any(|path| path == OPEN) {
            ledger.add_open(&tree::read(top, OPEN)?);
        }
        Ok(ledger)
    }

    fn add_rows(&mut self, path: &str, text: &str) {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            self.faults.push(format!(
                "{path}:1: the header is not `{}`",
                HEADER.replace('\t', " | ")
            ));
        }
        let rfc = path.trim_start_matches(ROWS).trim_end_matches(".tsv");
        for (index, line) in lines.enumerate() {
            match read_row(rfc, line) {
                Ok(row) if self.rows.iter().any(|other| other.id == row.id) => {
                    self.faults
                        .push(format!("{path}:{}: {} stands twice", index + 2, row.id));
                }
                Ok(row) => self.rows.push(row),
                Err(fault) => self.faults.push(format!("{path}:{}: {fault}", index + 2)),
            }
        }
    }

    fn add_claim(&mut self, claim: Claim) {
        if self.rows.iter().any(|row| row.id == claim.id) {
            self.proofs.entry(claim.id).or_default().insert(claim.test);
        } else {
            self.faults.push(format!(
                "{} claims to prove {}, which is no requirement",
                claim.test, claim.id
            ));
        }
    }

    fn add_open(&mut self, text: &str) {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let place = format!("{OPEN}:{}", index + 1);
            let Some((id, reason)) = line
                .split_once('\t')
                .filter(|(_, reason)| !reason.trim().is_empty())
            else {
                self.faults.push(format!("{place}: not `id<TAB>reason`"));
                continue;
            };
            let known = match id.strip_suffix("-*") {
                Some(rfc) => self.rows.iter().any(|row| rfc_of(&row.id) == rfc),
                None => self.rows.iter().any(|row| row.id == id),
            };
            if !known {
                self.faults.push(format!("{place}: {id} is no requirement"));
            } else if self
                .open
                .insert(id.to_owned(), reason.trim().to_owned())
                .is_some()
            {
                self.faults.push(format!("{place}: {id} stands twice"));
            } else if let Some(tests) = self.proofs.get(id) {
                let test = tests.first().map(String::as_str).unwrap_or_default();
                self.needless
                    .push(format!("{place}: {id} is proven by {test}: remove the line"));
            }
        }
    }

    fn why_open(&self, row: &Row) -> Option<&str> {
        if self.proofs.contains_key(&row.id) {
            return None;
        }
        let whole_rfc = format!("{}-*", rfc_of(&row.id));
        self.open
            .get(&row.id)
            .or_else(|| self.open.get(&whole_rfc))
            .map(String::as_str)
    }

    /// The rows of [`DECIDED`] that are neither proven nor open.
    fn undecided(&self) -> Vec<String> {
        let rows = self.rows.iter().filter(|row| DECIDED.contains(&rfc_of(&row.id)));
        let undecided = rows.filter(|row| !self.proofs.contains_key(&row.id) && self.why_open(row).is_none());
        undecided.map(|row| row.id.clone()).collect()
    }

    fn report(&self) -> String {
        let mut text = String::from(
            "# Requirements and their proofs\n\nWritten by `cargo xtask requirements`; do not edit. The rows come from \
             `docs/requirements/`, the proofs\nfrom the tests that name them, the reasons from `docs/requirements/open.tsv`.\n\n\
             | RFC | rows | proven | open, with reason | not yet |\n|---|---:|---:|---:|---:|\n",
        );
        let mut per_rfc: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        self.rows
            .iter()
            .for_each(|row| per_rfc.entry(rfc_of(&row.id)).or_default().push(row));
        for (rfc, rows) in &per_rfc {
            self.count(&mut text, rfc, rows);
        }
        self.count(&mut text, "all", &self.rows.iter().collect::<Vec<_>>());
        for (rfc, rows) in &per_rfc {
            text.push_str(&format!(
                "\n## RFC {rfc}\n\n| requirement | | state |\n|---|---|---|\n"
            ));
            for row in rows {
                let cell = format!("**{}** {} ({})", row.id, cell(&row.requirement), row.side);
                text.push_str(&format!("| {cell} | {} | {} |\n", row.level, self.state(row)));
            }
        }
        text
    }

    fn count(&self, text: &mut String, rfc: &str, rows: &[&Row]) {
        let proven = rows
            .iter()
            .filter(|row| self.proofs.contains_key(&row.id))
            .count();
        let open = rows.iter().filter(|row| self.why_open(row).is_some()).count();
        text.push_str(&format!(
            "| {rfc} | {} | {proven} | {open} | {} |\n",
            rows.len(),
            rows.len() - proven - open
        ));
    }

    fn state(&self, row: &Row) -> String {
        if let Some(tests) = self.proofs.get(&row.id) {
            return tests
                .iter()
                .map(|test| format!("`{test}`"))
                .collect::<Vec<_>>()
                .join("<br>");
        }
        match self.why_open(row) {
            Some(reason) => format!("open: {}", cell(reason)),
            None => "not yet".to_owned(),
        }
    }
}

fn read_row(rfc: &str, line: &str) -> Result<Row, String> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [id, level, side, requirement, how_to_test, _source] = cells[..] else {
        return Err(format!("{} columns instead of 6", cells.len()));
    };
    if rfc_of(id) != rfc || id.matches('-').count() < 2 {
        return Err(format!("the id {id} is not {rfc}-section-number"));
    }
    if !LEVELS.contains(&level) || !SIDES.contains(&side) {
        return Err(format!("unknown level or side: {level}, {side}"));
    }
    if requirement.trim().is_empty() || how_to_test.trim().is_empty() {
        return Err("an empty requirement or test".to_owned());
    }
    Ok(Row {
        id: id.to_owned(),
        level: level.to_owned(),
        side: side.to_owned(),
        requirement: requirement.to_owned(),
    })
}

fn rfc_of(id: &str) -> &str {
    id.split('-').next().unwrap_or_default()
}

/// A text that cannot end its table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Files that hold tests.
fn may_claim(path: &str) -> bool {
    let rust = path.ends_with(".rs") && !path.starts_with("xtask/");
    let table = [".txt", ".toml", ".py", ".sh"]
        .iter()
        .any(|end| path.ends_with(end))
        && in_tests_folder(path);
    rust || table
}

fn in_tests_folder(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/")
}

/// The claims of a Rust file; a claim that belongs to no test is a fault.
pub fn claims_in_rust(path: &str, text: &str) -> Result<Vec<Claim>, String> {
    let source = Source::read(text);
    let mut claims = Vec::new();
    for comment in &source.comments {
        let Some(ids) = comment.text.strip_prefix("proves:") else {
            continue;
        };
        let test = match source.test_around(comment.at) {
            Some(function) => format!("{path}::{}", function.name),
            None if in_tests_folder(path) => path.to_owned(),
            None => {
                return Err(format!(
                    "{path}:{}: `proves:` stands in no test",
                    source.line(comment.at)
                ));
            }
        };
        claims.extend(claims_of(ids, &test));
    }
    Ok(claims)
}

fn claims_in_lines(path: &str, text: &str) -> Result<Vec<Claim>, String> {
    let said = text.lines().filter_map(|line| {
        line.trim_start()
            .strip_prefix('#')?
            .trim_start()
            .strip_prefix("proves:")
    });
    Ok(said.flat_map(|ids| claims_of(ids, path)).collect())
}

fn claims_of(ids: &str, test: &str) -> Vec<Claim> {
    let claim = |id: &str| Claim {
        id: id.to_owned(),
        test: test.to_owned(),
    };
    ids.split_whitespace().map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::{Ledger, OPEN, claims_in_lines, claims_in_rust};

    const ROWS: &str = "id\tlevel\tside\trequirement\thow_to_test\tsource\n\
        9999-1-1\tMUST\tserver\tA.\tB.\ttext\n9999-1-2\tMAY\tclient\tC | D.\tE.\ttext\n9999-2-1\tMAY\tclient\tF.\tG.\ttext\n";

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.add_rows("docs/requirements/9999.tsv", ROWS);
        assert_eq!(ledger.faults, Vec::<String>::new());
        ledger
    }

    #[test]
    fn rows_are_checked() {
        for (line, fault) in [
            ("9999-1-1\tMUST\tserver\tA.\tB.\ttext", "stands twice"),
            (
                "8888-1-1\tMUST\tserver\tA.\tB.\ttext",
                "is not 9999-section-number",
            ),
            ("9999-1-9\tMIGHT\tserver\tA.\tB.\ttext", "unknown level"),
            ("9999-1-9\tMUST\tnobody\tA.\tB.\ttext", "unknown level or side"),
            ("9999-1-9\tMUST\tserver\tA.\ttext", "5 columns"),
            ("9999-1-9\tMUST\tserver\t\tB.\ttext", "empty"),
        ] {
            let mut ledger = ledger();
            ledger.add_rows(
                "docs/requirements/9999.tsv",
                &format!("{}\n{line}\n", super::HEADER),
            );
            assert!(
                ledger.faults.iter().any(|said| said.contains(fault)),
                "{line}: {:?}",
                ledger.faults
            );
        }
    }

    #[test]
    fn a_claim_belongs_to_a_test() {
        let text = "// proves: 9999-1-1 9999-1-2\n#[test]\nfn one() {}\n\n#[test]\nfn two() {\n    // proves: 9999-2-1\n}\n";
        let claims = claims_in_rust("crates/a/src/b.rs", text).expect("all stand in tests");
        let said: Vec<_> = claims
            .iter()
            .map(|claim| format!("{} {}", claim.id, claim.test))
            .collect();
        assert_eq!(
            said,
            [
                "9999-1-1 crates/a/src/b.rs::one",
                "9999-1-2 crates/a/src/b.rs::one",
                "9999-2-1 crates/a/src/b.rs::two"
            ]
        );
        let adrift = "// proves: 9999-1-1\nfn plain() {}\n";
        let fault = claims_in_rust("crates/a/src/b.rs", adrift).expect_err("no test is near");
        assert!(fault.contains("b.rs:1"), "{fault}");
        let table = claims_in_rust("crates/a/tests/b.rs", adrift).expect("the file is a test");
        assert_eq!(table[0].test, "crates/a/tests/b.rs");
        let transcript =
            claims_in_lines("crates/a/tests/t.txt", "C: EHLO\n# proves: 9999-1-1\n").expect("plain lines");
        assert_eq!(transcript[0].test, "crates/a/tests/t.txt");
    }

    #[test]
    fn unknown_ids_and_needless_reasons_are_faults() {
        let mut ledger = ledger();
        for claim in claims_in_lines("tests/t.txt", "# proves: 9999-1-1 9999-7-7\n").expect("plain lines") {
            ledger.add_claim(claim);
        }
        ledger.add_open("9999-1-1\tlater\n9999-8-8\tlater\n9999-1-2\t\n9999-2-1\tlater\n");
        assert!(
            ledger.needless[0].contains("9999-1-1 is proven by tests/t.txt"),
            "{:?}",
            ledger.needless
        );
        let faults = ledger.faults.join("\n");
        for expected in [
            "9999-7-7, which is no requirement",
            &format!("{OPEN}:2: 9999-8-8 is no requirement"),
            &format!("{OPEN}:3: not `id<TAB>reason`"),
        ] {
            assert!(faults.contains(expected), "{expected} in {faults}");
        }
        assert_eq!(ledger.faults.len(), 3);
    }

    #[test]
    fn the_report_counts_and_names() {
        let mut ledger = ledger();
        for claim in claims_in_lines("tests/t.txt", "# proves: 9999-1-1\n").expect("plain lines") {
            ledger.add_claim(claim);
        }
        ledger.add_open("9999-1-2\tno accounts yet\n");
        let report = ledger.report();
        assert!(report.contains("| 9999 | 3 | 1 | 1 | 1 |"), "{report}");
        assert!(
            report.contains("| **9999-1-1** A. (server) | MUST | `tests/t.txt` |"),
            "{report}"
        );
        assert!(
            report.contains("| **9999-1-2** C \\| D. (client) | MAY | open: no accounts yet |"),
            "{report}"
        );
        assert!(
            report.contains("| **9999-2-1** F. (client) | MAY | not yet |"),
            "{report}"
        );
    }
}
