//! What the local pytest says.

use super::{RunError, TestRun};
use crate::{
    model::FileId,
    protocol::{bridge::FromPlugin, runner::FileSpec},
    scheduler::{Forecast, Input},
};

impl TestRun<'_> {
    pub(super) fn on_plugin(&mut self, message: FromPlugin) -> Result<(), RunError> {
        match message {
            FromPlugin::Files { files } => {
                let count = files.len() as u32 * self.copies.count();
                let forecasts = self.forecasts(&files);
                self.book.add_files(files, self.copies.count());
                if !forecasts.is_empty() {
                    let _ = self.input(Input::Forecast(forecasts));
                }
                let _ = self.input(Input::FilesFound(count));
                self.settle_collection();
            }
            FromPlugin::FilesEnd { errors } => {
                self.files_ended = true;
                let _ = self.input(Input::FilesEnd { errors });
                self.settle_collection();
            }
            FromPlugin::Stop { .. } => {
                // What pytest says to that is to be seen.
                self.fleet.watch().end();
                // Before there is a scheduler nothing has begun.
                self.files_ended = true;
                self.settle_collection();
                let _ = self.input(Input::Stop);
            }
            FromPlugin::Printed { stream, data } => self.fleet.recorder().printed(stream, data),
            FromPlugin::OnScreen { moved: true } => self.fleet.watch().look(),
            FromPlugin::OnScreen { moved: false } => self.fleet.watch().end(),
            FromPlugin::Hello(_) | FromPlugin::Bye => {
                return Err(RunError::Bridge { detail: "a message came out of turn".into() });
            }
        }
        Ok(())
    }

    /// What earlier runs say of files that are about to be numbered.
    fn forecasts(&self, files: &[FileSpec]) -> Vec<(FileId, Forecast)> {
        if self.copies.count() > 1 {
            return Vec::new();
        }
        let numbered = (self.book.files()..).map(FileId).zip(files);
        numbered.filter_map(|(file, spec)| Some((file, self.memory.forecast(spec)?))).collect()
    }
}
