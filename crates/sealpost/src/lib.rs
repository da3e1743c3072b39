//! The running server: receive → admit → spool → route → trust → deliver → report.
//!
//! The only crate with sockets, DNS, tasks and a clock. Modules stand in the order of a message's way; behind them what carries them.

pub mod config;
pub mod receive;
pub mod received;
pub mod clients;
pub mod admit;
pub mod local;
pub mod route;
pub mod resolver;
pub mod promises;
pub mod sts;
pub mod ledger;
pub mod deliver;
pub mod report;
pub mod dispatch;
pub mod explain;
pub mod check;
pub mod publish;
pub mod mailbox;
pub mod spooling;
pub mod memory;
pub mod evidence;
pub mod alarm;
pub mod tally;
pub mod control;
pub mod cli;
pub mod sendmail;
pub mod ports;
pub mod real;
pub mod tls;
pub mod serve;
pub mod system;
pub mod daemon;
