//! The integration tests, in one binary so that they link once.

mod simulation;
mod ssh_embedded;
mod ssh_openssh;
mod support;
mod tidy;
