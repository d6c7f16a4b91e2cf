//! What is said of a run's machines when they have been given back, or could not all be.
//!
//! Nothing may stay behind in silence. The run's own outcome stands.

use super::recording::say;
use crate::{provider::ProviderError, run::Listener, text};

pub fn tell(finished: Result<Option<String>, ProviderError>, listener: &Listener) {
    match finished {
        Ok(None) => {}
        Ok(Some(stays)) => say(listener, &format!("cloudist: {stays}")),
        Err(error) => {
            say(listener, &format!("cloudist: not everything could be given back: {}", text::chain(&error)));
            say(listener, "help: run `cloudist sweep`; machines that are no longer spoken to end by themselves");
        }
    }
}
