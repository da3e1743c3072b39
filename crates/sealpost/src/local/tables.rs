//! The tables of `[local]` and the alias file, parsed: names, members, and what is wrong with them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mail::{Host, LocalPart, Mailbox};

use crate::config::local::{self as config, Mailboxes};

/// What is wrong with the section, for the operator: one line that names the entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadLocal(pub String);

/// A folded name: the user in lower case, and the domain it is meant for, or all of ours.
pub(super) type Key = (String, Option<Host>);

#[derive(Clone, Debug)]
pub(super) enum Users {
    Any,
    Named(BTreeMap<Key, Option<PathBuf>>),
}

#[derive(Clone, Debug)]
pub(super) struct Alias {
    /// The members.
    pub(super) to: Vec<Target>,
    /// Who gets the failure reports of a list.
    pub(super) owner: Option<Target>,
}

/// A member: a full address, or a user at the domain of the address that is being expanded.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Full(Mailbox),
    User(LocalPart),
}

/// Local parts are equal here whatever their letter case (RFC 5321 §2.4 leaves it to us).
pub(crate) fn fold(local: &str) -> String {
    local.to_lowercase()
}

impl Target {
    fn parse(text: &str) -> Result<Target, String> {
        let problem = |why: mail::BadAddress| format!("\"{text}\" is no address: {why}");
        if text.starts_with(['/', '|']) || text.starts_with(":include:") {
            return Err(format!(
                "\"{text}\": files, programs and includes are not served; give addresses"
            ));
        }
        match Mailbox::parse(text) {
            Ok(mailbox) => Ok(Target::Full(mailbox)),
            Err(mail::BadAddress::NoHost) => LocalPart::parse(text).map(Target::User).map_err(problem),
            Err(why) => match LocalPart::parse(text) {
                Ok(user) => Ok(Target::User(user)),
                Err(_) => Err(problem(why)),
            },
        }
    }

    /// The member as an address, for an alias at `host`.
    pub(super) fn at(&self, host: &Host) -> Mailbox {
        match self {
            Target::Full(mailbox) => mailbox.clone(),
            Target::User(user) => Mailbox::new(user.clone(), host.clone()),
        }
    }
}

fn parse_host(text: &str, key: &str) -> Result<Host, BadLocal> {
    Host::parse(text).map_err(|why| BadLocal(format!("[local] {key}: \"{text}\" is no domain: {why}")))
}

pub(super) fn parse_users(mailboxes: &Mailboxes) -> Result<Users, BadLocal> {
    let Mailboxes::Named(named) = mailboxes else {
        return Ok(Users::Any);
    };
    let mut users = BTreeMap::new();
    for (name, path) in named {
        let key = parse_key(name, "mailboxes")?;
        users.insert(key, path.clone());
    }
    Ok(Users::Named(users))
}

pub(super) fn parse_aliases(
    written: &BTreeMap<String, config::Alias>,
) -> Result<BTreeMap<Key, Alias>, BadLocal> {
    let mut aliases = BTreeMap::new();
    for (name, alias) in written {
        aliases.insert(parse_key(name, "aliases")?, parse_alias(alias, "aliases", name)?);
    }
    Ok(aliases)
}

pub(super) fn parse_catch_alls(
    written: &BTreeMap<String, config::Alias>,
) -> Result<BTreeMap<Option<Host>, Alias>, BadLocal> {
    let mut catch_all = BTreeMap::new();
    for (domain, alias) in written {
        let host = match domain.as_str() {
            "*" => None,
            domain => Some(parse_host(domain, "catch_all")?),
        };
        catch_all.insert(host, parse_alias(alias, "catch_all", domain)?);
    }
    Ok(catch_all)
}

fn parse_alias(alias: &config::Alias, key: &str, name: &str) -> Result<Alias, BadLocal> {
    let problem = |why: String| BadLocal(format!("[local] {key}, \"{name}\": {why}"));
    if alias.to.is_empty() {
        return Err(problem("it stands for nobody; name at least one address".into()));
    }
    let to = alias.to.iter().map(|text| Target::parse(text));
    Ok(Alias {
        to: to.collect::<Result<_, _>>().map_err(problem)?,
        owner: alias
            .owner
            .as_deref()
            .map(Target::parse)
            .transpose()
            .map_err(problem)?,
    })
}

fn parse_key(name: &str, key: &str) -> Result<Key, BadLocal> {
    match Target::parse(name) {
        Ok(Target::Full(mailbox)) => Ok((fold(mailbox.local().as_str()), Some(mailbox.host().clone()))),
        Ok(Target::User(user)) => Ok((fold(user.as_str()), None)),
        Err(why) => Err(BadLocal(format!("[local] {key}: {why}"))),
    }
}

/// Reads the form of `/etc/aliases`: `name: address, address`, continued on indented lines, `#` comments. An entry
/// `owner-NAME` makes NAME a list owned by that address, as it is everywhere.
pub(super) fn read_alias_file(text: &str) -> Result<BTreeMap<Key, Alias>, BadLocal> {
    let mut entries: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let continued = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match entries.last_mut() {
            Some((_, entry)) if continued => {
                entry.push(' ');
                entry.push_str(line);
            }
            _ => entries.push((at + 1, line.to_owned())),
        }
    }
    let mut aliases = BTreeMap::new();
    for (line, entry) in entries {
        let (key, alias) =
            read_alias(&entry).map_err(|why| BadLocal(format!("alias_file, line {line}: {why}")))?;
        aliases.insert(key, alias);
    }
    own_lists(&mut aliases);
    Ok(aliases)
}

fn read_alias(entry: &str) -> Result<(Key, Alias), String> {
    let colon = outside_quotes(entry, ':')
        .next()
        .ok_or("no colon behind the name")?;
    let key = parse_key(entry[..colon].trim(), "alias_file").map_err(|BadLocal(why)| why)?;
    let members = &entry[colon + 1..];
    let mut to = Vec::new();
    let mut from = 0;
    for comma in outside_quotes(members, ',').chain([members.len()]) {
        let member = members[from..comma].trim();
        from = comma + 1;
        if !member.is_empty() {
            to.push(Target::parse(member)?);
        }
    }
    match to.is_empty() {
        true => Err("it stands for nobody; name at least one address".into()),
        false => Ok((key, Alias { to, owner: None })),
    }
}

/// Where `sign` stands outside quoted strings.
fn outside_quotes(text: &str, sign: char) -> impl Iterator<Item = usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices().filter_map(move |(at, c)| {
        if escaped {
            escaped = false;
            return None;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        (c == sign && !quoted).then_some(at)
    })
}

fn own_lists(aliases: &mut BTreeMap<Key, Alias>) {
    let owners: Vec<Key> = aliases
        .keys()
        .filter(|(name, _)| name.starts_with("owner-"))
        .cloned()
        .collect();
    for (owner, host) in owners {
        let list = (owner["owner-".len()..].to_owned(), host.clone());
        let target = match (&host, LocalPart::parse(&owner)) {
            (Some(host), Ok(user)) => Target::Full(Mailbox::new(user, host.clone())),
            (None, Ok(user)) => Target::User(user),
            (_, Err(_)) => continue, // a name that only quotes can hold names no list
        };
        if let Some(alias) = aliases.get_mut(&list) {
            alias.owner = Some(target);
        }
    }
}

impl std::fmt::Display for BadLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadLocal {}
