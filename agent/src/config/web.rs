//! Who may ask the agent.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The `[web]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// A web configuration file: TLS, client certificates, users and tokens. Without one everyone is let in.
    pub config_file: Option<PathBuf>,
}
