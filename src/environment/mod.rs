//! The Python environment that machines are to have: what is installed here, what decides it, what differs there.
//!
//! `lock` and `differences` are pure; `description` asks the local interpreter, `wheelhouse` its pip. Nothing here
//! talks to a machine: `templates/remote/environment*.py` are there.

mod choice;
mod description;
mod differences;
mod error;
mod index;
mod lock;
mod requirements;
mod wheelhouse;

pub use choice::{Carried, Request, Wish, choose};
pub use description::{Description, Distribution, describe};
pub use differences::differences;
pub use error::EnvironmentError;
pub use wheelhouse::{File, MachineTags, collect};
