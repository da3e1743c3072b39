//! `docs/configuration.md` says what the code says: each key with its default and the meaning from its own comment.
//! `BLESS=1 cargo test -p sealpost --test configuration` writes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sealpost::config::Config;

const INTRODUCTION: &str = "# Configuration, key by key

Made from the comments and defaults in `crates/sealpost/src/config/`; do not edit. `docs/manual.md` shows how the keys
work together; `sealpost config show` prints what a file amounts to, `sealpost config check` what is wrong with it.

The file is TOML. Relative paths are taken from its folder. A key that stands nowhere below is refused, with its line and the
nearest known name. Sizes are written `\"50MiB\"`, times `\"90s\"`, `\"5m\"`, `\"4h\"`, `\"5d\"`.
";

/// A struct or enum of the configuration, with what its comments say.
#[derive(Default)]
struct Described {
    about: String,
    rename_all: String,
    parts: Vec<Part>,
}

/// A field or variant.
struct Part {
    name: String,
    kind: String,
    said: String,
    is_default: bool,
}

impl Described {
    /// Whether it is a choice between words.
    fn is_choice(&self) -> bool {
        let words = self.parts.iter().all(|part| part.kind.is_empty());
        words
            && self
                .parts
                .iter()
                .all(|part| !part.name.starts_with(char::is_uppercase))
    }
}

fn crate_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Reads one file of `src/config/` line by line.
#[derive(Default)]
struct Reader {
    types: BTreeMap<String, Described>,
    /// The type whose braces are open.
    open: Option<String>,
    /// The comment and attributes above the next line.
    said: String,
    rename: Option<String>,
    rename_all: String,
    is_default: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let bare = line.trim();
        let type_name = line
            .strip_prefix("pub struct ")
            .or_else(|| line.strip_prefix("pub enum "));
        if let Some(comment) = bare.strip_prefix("///") {
            self.said = format!("{} {}", self.said, comment.trim()).trim().to_owned();
        } else if bare.starts_with("#[") {
            let value = |key| bare.split_once(key)?.1.split('"').next().map(str::to_owned);
            self.is_default |= bare == "#[default]" || bare.contains("(default");
            self.rename = value("(rename = \"").or(self.rename.take());
            self.rename_all = value("rename_all = \"").unwrap_or(std::mem::take(&mut self.rename_all));
        } else if let Some(name) = type_name {
            let name: String = name.chars().take_while(|c| c.is_alphanumeric()).collect();
            self.open = line.ends_with('{').then(|| name.clone());
            let described = Described {
                about: std::mem::take(&mut self.said),
                rename_all: std::mem::take(&mut self.rename_all),
                ..Described::default()
            };
            self.types.insert(name, described);
            self.is_default = false;
        } else {
            self.part(bare.strip_prefix("pub ").unwrap_or(bare).trim_end_matches(','));
            if line == "}" {
                self.open = None;
            }
        }
    }

    /// A field or a variant, if one is described here.
    fn part(&mut self, part: &str) {
        let (said, rename) = (std::mem::take(&mut self.said), self.rename.take());
        let is_default = std::mem::take(&mut self.is_default);
        let Some(described) = self
            .open
            .as_ref()
            .and_then(|open| self.types.get_mut(open))
            .filter(|_| !said.is_empty())
        else {
            return;
        };
        let (name, kind) = part.split_once(": ").unwrap_or((part, ""));
        let name = rename.unwrap_or_else(|| written(name, &described.rename_all));
        described.parts.push(Part {
            name,
            kind: kind.to_owned(),
            said,
            is_default,
        });
    }
}

fn described(file: &str) -> BTreeMap<String, Described> {
    let path = crate_folder().join("src/config").join(format!("{file}.rs"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = Reader::default();
    text.lines().for_each(|line| reader.line(line));
    reader.types
}

/// A name as serde writes it.
fn written(name: &str, rename_all: &str) -> String {
    let name = name.split(['(', ' ']).next().unwrap_or_default();
    let parted = |by: char| {
        let parted: String = name
            .chars()
            .flat_map(|c| c.is_uppercase().then_some(by).into_iter().chain([c]))
            .collect();
        parted.trim_start_matches(by).to_lowercase()
    };
    match rename_all {
        "lowercase" => name.to_lowercase(),
        "kebab-case" => parted('-'),
        "snake_case" => parted('_'),
        _ => name.to_owned(),
    }
}

fn reference() -> String {
    let defaults = toml::Value::try_from(Config::default()).expect("defaults can be written");
    let loopback = toml::Value::try_from(Config::default_loopback()).expect("defaults can be written");
    let mut text = INTRODUCTION.to_owned();
    let order = [
        "server", "listen", "tls", "limits", "dns", "mta_sts", "route", "trust", "retry", "ledger", "local",
        "control", "evidence", "alarm",
    ];
    for section in order {
        let types = described(section);
        let main = types
            .values()
            .find(|described| described.about.contains(&format!("[{section}]")));
        let main =
            main.unwrap_or_else(|| panic!("no type of config/{section}.rs says that it is `[{section}]`"));
        let heading = if section == "listen" {
            "[[listen]]".to_owned()
        } else {
            format!("[{section}]")
        };
        let values = defaults.get(section);
        // An entry of a list shows its defaults in the entries that exist without a configuration.
        let values = values
            .filter(|value| value.is_table())
            .or_else(|| loopback.get(section)?.get(0));
        table(&mut text, &heading, main, values, &types);
        for described in types.values() {
            let part = described.about.split_once(&format!("`[{section}."));
            if let Some((name, _)) = part.and_then(|(_, rest)| rest.split_once("]`")) {
                let values = values.and_then(|values| values.get(name));
                table(
                    &mut text,
                    &format!("[{section}.{name}]"),
                    described,
                    values,
                    &types,
                );
            }
        }
        for (name, described) in &types {
            let Some((_, rest)) = described.about.split_once("`[[").filter(|_| section != "listen") else {
                continue;
            };
            let heading = rest
                .split_once("]]`")
                .unwrap_or_else(|| panic!("{name}: no closing ]]`"))
                .0;
            table(&mut text, &format!("[[{heading}]]"), described, None, &types);
        }
    }
    text
}

fn table(
    text: &mut String,
    heading: &str,
    of: &Described,
    values: Option<&toml::Value>,
    types: &BTreeMap<String, Described>,
) {
    text.push_str(&format!("\n## {heading}\n"));
    let about = of
        .about
        .trim_start_matches("One ")
        .replace(&format!("`{heading}`"), "");
    // What a comment tells a programmer is left out.
    let about = about
        .split("[`crate")
        .next()
        .unwrap_or_default()
        .trim_matches(['.', ':', ' ']);
    if !about.is_empty() {
        text.push_str(&format!("{about}.\n"));
    }
    text.push_str("\n| key | default | meaning |\n|---|---|---|\n");
    for Part {
        name,
        kind,
        said,
        is_default,
    } in &of.parts
    {
        let bare = kind
            .trim_start_matches("Option<")
            .trim_start_matches("Vec<")
            .trim_end_matches('>');
        let choice = types.get(bare).filter(|described| described.is_choice());
        let usual = choice.and_then(|choice| choice.parts.iter().find(|part| part.is_default));
        let default = match (values.and_then(|values| values.get(name)), usual) {
            (Some(toml::Value::Table(_)), _) if choice.is_none() && types.contains_key(bare) => {
                "its own table".to_owned()
            }
            (Some(value), _) => format!("`{value}`"),
            (None, _) if bare != kind => "—".to_owned(),
            (None, Some(usual)) if *is_default => format!("`\"{}\"`", usual.name),
            (None, _) if *is_default => "—".to_owned(),
            (None, _) => "required".to_owned(),
        };
        let choices = choice.map_or(&[][..], |choice| &choice.parts).iter();
        let choices: String = choices
            .map(|part| format!("<br>`\"{}\"`: {}", part.name, part.said))
            .collect();
        let row =
            [format!("`{name}`"), default, format!("{said}{choices}")].map(|cell| cell.replace('|', "\\|"));
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
}

#[test]
fn each_key_is_described() {
    let path = crate_folder().join("../../docs/configuration.md");
    let text = reference();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &text).expect("docs/configuration.md can be written");
    }
    let stands = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stands == text,
        "docs/configuration.md is stale: BLESS=1 cargo test -p sealpost --test configuration"
    );
}

/// No key is left out because its comment or type is written in a way that `reference` does not read.
#[test]
fn no_key_is_forgotten() {
    let text = reference();
    let defaults = toml::Value::try_from(Config::default_loopback()).expect("defaults can be written");
    for (section, value) in defaults.as_table().expect("a table") {
        assert!(text.contains(&format!("[{section}]")), "[{section}]");
        for key in value.as_table().into_iter().flat_map(|table| table.keys()) {
            assert!(text.contains(&format!("| `{key}` |")), "[{section}] {key}");
        }
    }
}

#[test]
fn the_examples_in_the_documentation_are_sound() {
    let mut examples = 0;
    for page in ["README.md", "docs/manual.md", "docs/commands.md"] {
        let text = fs::read_to_string(crate_folder().join("../..").join(page)).unwrap_or_default();
        for example in text.split("```toml\n").skip(1) {
            let example = example.split("```").next().unwrap_or_default();
            if let Err(error) = Config::parse(example, page) {
                panic!("{error}\n{example}");
            }
            examples += 1;
        }
    }
    assert!(examples >= 3, "only {examples} examples were found");
}
