//! The world of files, as the spool sees it.
