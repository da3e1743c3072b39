//! `[local]`: the domains whose mail stays here, and who has a mailbox.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use mail::Domain;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// `[local]`. [`crate::local::Directory::build`] parses what stands in it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Local {
    /// The domains whose mail stays here, besides this server's own name.
    pub domains: Domains,
    /// Who has a mailbox: `"any"`, a list of names, or a table of names and Maildir folders.
    pub mailboxes: Mailboxes,
    /// What parts a user from a detail in `user+detail@domain`; empty: nothing does.
    pub delimiter: String,
    /// `name` (at every local domain) or `name@domain` → one address, several, or a list with an owner.
    pub aliases: BTreeMap<String, Alias>,
    /// A file of further aliases in the form of `/etc/aliases`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_file: Option<PathBuf>,
    /// `domain` or `"*"` → where mail for unknown users of it goes.
    pub catch_all: BTreeMap<String, Alias>,
    /// Most addresses that one address may expand to.
    pub expansion_max: usize,
}

/// Which domains are local: a list of names, or `"*"` for every domain there is, so that nothing ever leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Domains {
    /// These.
    These(Vec<Domain>),
    /// All; nothing leaves.
    Every,
}

/// Who has a mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mailboxes {
    /// Every user name gets a Maildir with its first message. For trying out and for test machines.
    Any,
    /// These names, with `@domain` or for all local domains; the value is the Maildir, or none for the usual place.
    Named(BTreeMap<String, Option<PathBuf>>),
}

/// What an alias stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alias {
    /// Addresses; a name without `@` is a user of the alias's own domain.
    pub to: Vec<String>,
    /// For a mailing list: who gets its failure reports (RFC 5321 §3.9.2).
    pub owner: Option<String>,
}

impl Default for Local {
    fn default() -> Local {
        Local {
            domains: Domains::default(),
            mailboxes: Mailboxes::Named(BTreeMap::new()),
            delimiter: "+".into(),
            aliases: BTreeMap::new(),
            alias_file: None,
            catch_all: BTreeMap::new(),
            expansion_max: 1000,
        }
    }
}

impl Local {
    /// What holds without a configuration file: mail for any user of any domain is kept here.
    pub fn keep_everything() -> Local {
        Local {
            domains: Domains::Every,
            mailboxes: Mailboxes::Any,
            ..Local::default()
        }
    }

    /// The paths in the section, to be settled against the configuration's folder.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let folders = match &mut self.mailboxes {
            Mailboxes::Any => None,
            Mailboxes::Named(named) => Some(named.values_mut().flatten()),
        };
        self.alias_file.iter_mut().chain(folders.into_iter().flatten())
    }
}

impl Default for Domains {
    fn default() -> Domains {
        Domains::These(Vec::new())
    }
}

impl Serialize for Domains {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Domains::These(list) => serializer.collect_seq(list.iter().map(Domain::as_str)),
            Domains::Every => serializer.serialize_str("*"),
        }
    }
}

impl<'de> Deserialize<'de> for Domains {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Domains, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a list of domains, or \"*\" for every domain")]
        enum Written {
            Word(String),
            List(Vec<String>),
        }
        match Written::deserialize(deserializer)? {
            Written::Word(word) if word == "*" => Ok(Domains::Every),
            Written::Word(word) => Err(D::Error::custom(format_args!(
                "\"{word}\" is no list of domains; write [\"{word}\"]"
            ))),
            Written::List(names) => names
                .iter()
                .map(|name| {
                    Domain::parse(name)
                        .map_err(|bad| D::Error::custom(format_args!("\"{name}\" is no domain name: {bad}")))
                })
                .collect::<Result<_, _>>()
                .map(Domains::These),
        }
    }
}

impl<'de> Deserialize<'de> for Mailboxes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Mailboxes, D::Error> {
        from.deserialize_any(MailboxesVisitor)
    }
}

impl Serialize for Mailboxes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Mailboxes::Any => to.serialize_str("any"),
            Mailboxes::Named(named) if named.values().all(Option::is_none) => to.collect_seq(named.keys()),
            Mailboxes::Named(named) => to.collect_map(
                named
                    .iter()
                    .map(|(name, path)| (name, path.clone().unwrap_or_default())),
            ),
        }
    }
}

struct MailboxesVisitor;

impl<'de> Visitor<'de> for MailboxesVisitor {
    type Value = Mailboxes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"any\", a list of names, or a table of names and Maildir folders")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Mailboxes, E> {
        match text {
            "any" => Ok(Mailboxes::Any),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Mailboxes, A::Error> {
        let mut named = BTreeMap::new();
        while let Some(name) = names.next_element::<String>()? {
            named.insert(name, None);
        }
        Ok(Mailboxes::Named(named))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Mailboxes, A::Error> {
        let mut named = BTreeMap::new();
        while let Some((name, path)) = entries.next_entry::<String, PathBuf>()? {
            named.insert(name, (!path.as_os_str().is_empty()).then_some(path));
        }
        Ok(Mailboxes::Named(named))
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ListTable {
    to: Vec<String>,
    owner: Option<String>,
}

impl<'de> Deserialize<'de> for Alias {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Alias, D::Error> {
        from.deserialize_any(AliasVisitor)
    }
}

impl Serialize for Alias {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.owner {
            None => self.to.serialize(to),
            Some(_) => ListTable {
                to: self.to.clone(),
                owner: self.owner.clone(),
            }
            .serialize(to),
        }
    }
}

struct AliasVisitor;

impl<'de> Visitor<'de> for AliasVisitor {
    type Value = Alias;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, a list of addresses, or { to = [addresses], owner = address }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Alias, E> {
        Ok(Alias {
            to: vec![text.into()],
            owner: None,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut addresses: A) -> Result<Alias, A::Error> {
        let mut to = Vec::new();
        while let Some(address) = addresses.next_element::<String>()? {
            to.push(address);
        }
        Ok(Alias { to, owner: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Alias, A::Error> {
        let table = ListTable::deserialize(de::value::MapAccessDeserializer::new(entries))?;
        Ok(Alias {
            to: table.to,
            owner: table.owner,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Local {
        let local: Local = toml::from_str(text).unwrap();
        let again: Local = toml::from_str(&toml::to_string(&local).unwrap()).unwrap();
        assert_eq!(local, again, "what is shown is read again as the same");
        local
    }

    #[test]
    fn each_form_of_mailboxes_and_aliases() {
        assert_eq!(check(""), Local::default());
        assert_eq!(check("mailboxes = \"any\"").mailboxes, Mailboxes::Any);
        let named = check("mailboxes = [\"ann\", \"bob@x.example\"]").mailboxes;
        assert!(matches!(named, Mailboxes::Named(names) if names.len() == 2));
        let table = check("mailboxes = { ann = \"/srv/ann/Maildir\", bob = \"\" }").mailboxes;
        assert!(matches!(table, Mailboxes::Named(names) if names["ann"].is_some() && names["bob"].is_none()));
        let local = check(
            "[aliases]\ninfo = \"ann\"\nall = [\"ann\", \"bob\"]\nteam = { to = [\"ann\"], owner = \"bob\" }\n",
        );
        assert_eq!(local.aliases["info"].to, ["ann"]);
        assert_eq!(local.aliases["all"].to.len(), 2);
        assert_eq!(local.aliases["team"].owner.as_deref(), Some("bob"));
    }

    #[test]
    fn wrong_forms_are_refused() {
        for text in [
            "mailboxes = \"every\"",
            "mailbox = []",
            "[aliases]\nteam = { to = [\"a\"], ownr = \"b\" }",
            "[aliases]\nteam = 3",
        ] {
            assert!(toml::from_str::<Local>(text).is_err(), "{text}");
        }
    }
}
