//! What a run is to do, made out of flags, `CLOUDIST_*` variables and `[tool.cloudist]`.
//!
//! Pure: whoever calls brings the texts. Nothing here reads a file or the environment.

mod ec2_settings;
mod environment;
mod error;
mod options;
mod settings;
mod values;
pub mod workers;

pub use ec2_settings::{Ec2Settings, Fallback};
pub use environment::EnvironmentChoice;
pub use error::SettingError;
pub use options::{Kind, OPTIONS, OptionInfo, Scope};
pub use settings::{Collect, ConfigFile, Flags, Mode, Peers, ProviderKind, Settings, Showing, Sources, View};
