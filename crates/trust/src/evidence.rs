//! The record of one attempt.
