//! Real peers for Sealpost to talk to.
