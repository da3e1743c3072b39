//! MTA-STS (RFC 8461): what a domain's published policy demands of its hosts.

/// What is known of a domain's policy for one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// There is none, or its mode is `none`, and why nothing is known if it could not be found out.
    Absent(Option<Box<str>>),
    /// A policy that is only tried out: nothing is demanded, what would have failed is reported (§5).
    Testing(Held),
    /// A policy in force.
    Enforced(Held),
}

/// A valid policy as held against one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Its id.
    pub id: Box<str>,
    /// Whether the host is one of the policy's.
    pub listed: Listed,
}

/// Whether a policy lists a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listed {
    /// One of its `mx` patterns fits.
    Yes,
    /// None does: the host must not be used where the policy is in force (§5.1, §4.1).
    No,
}
