//! `[local]`: mail that stays here.

use mail::Domain;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// `[local]`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Local {
    /// The domains whose mail stays here.
    pub domains: Domains,
}

/// Which domains are local: a list of names, or `"*"` for every domain there is, so that nothing ever leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Domains {
    /// These.
    These(Vec<Domain>),
    /// All; nothing leaves.
    Every,
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
