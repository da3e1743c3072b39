//! The client's end of a session. See the briefing in `lib.rs`; mirrors `server.rs`.
