//! What the integration tests share.

pub mod sshd;
pub mod streams;
