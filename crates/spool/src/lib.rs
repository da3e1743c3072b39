//! Kept until settled: the messages this server has promised to deliver.
//!
//! Owns the files that hold them and the schedule of what is due. Blocks on the disk and knows no async; never looks
//! at a message's meaning beyond its envelope.

pub mod disk;
