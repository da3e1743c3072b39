//! The MTA-STS policy of the domain that a hop takes mail for (RFC 8461).

use mail::{Domain, Host};
use trust::sts::Finding;

use crate::sts::Policies;

/// Asks for the policy of the domain that the way leads to: the recipients' or a smart host's (§3.4). An address has
/// none.
pub(super) async fn look_up(policies: &Policies, domain: Option<&Domain>, host: &Host) -> Finding {
    match domain {
        Some(domain) => policies.finding(domain, host).await,
        None => Finding::Absent(None),
    }
}
