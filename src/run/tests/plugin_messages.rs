//! What the local pytest says.

use super::{RunError, TestRun};
use crate::{protocol::bridge::FromPlugin, scheduler::Input};

impl TestRun<'_> {
    pub(super) fn on_plugin(&mut self, message: FromPlugin) -> Result<(), RunError> {
        match message {
            FromPlugin::Files { files } => {
                let count = files.len() as u32;
                self.book.add_files(files);
                let _ = self.input(Input::FilesFound(count));
                self.settle_collection();
            }
            FromPlugin::FilesEnd { errors } => {
                self.files_ended = true;
                let _ = self.input(Input::FilesEnd { errors });
                self.settle_collection();
            }
            FromPlugin::Stop { .. } => {
                // Before there is a scheduler nothing has begun.
                self.files_ended = true;
                self.settle_collection();
                let _ = self.input(Input::Stop);
            }
            FromPlugin::Hello(_) | FromPlugin::Bye => {
                return Err(RunError::Bridge { detail: "a message came out of turn".into() });
            }
        }
        Ok(())
    }
}
