//! `demo`: the real poller against the built-in simulated site.
//!
//! The site's certificates and a Butler SOS file for it are written to a
//! temporary folder, and from there on this is `stream`.

use super::{CommandError, Exit, stream};
use crate::{cli::DemoArgs, site::Site};

pub fn run(args: &DemoArgs) -> Result<Exit, CommandError> {
    let folder = tempfile::Builder::new().prefix("qlik-sessions-demo-").tempdir()?;
    let site = Site::demo(args.interval)?;
    if let Some(fault) = args.fault.clone() {
        site.set_fault("sense1", "/sales", Some(fault));
    }
    let config = site.write_config(folder.path(), args.interval)?;
    tracing::info!("a simulated site answers on this machine; stop with Ctrl-C");
    stream::run(&config)
}
