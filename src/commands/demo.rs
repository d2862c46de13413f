//! `demo`: the real poller against the built-in simulated site.
//!
//! It writes the site's certificates and a configuration with discovery to a temporary
//! folder; from there on this is `stream`. With `--record` it writes the events of days
//! that have passed, at once.

mod record;

use std::time::Duration;

use super::{CommandError, Exit, stream};
use crate::{cli::DemoArgs, site::Site};

/// Time between polls.
const INTERVAL: Duration = Duration::from_secs(2);
/// Lines of `sessionSource.discovery`. Nodes are dialled by address: a container may know
/// no names, not even `localhost`.
const DISCOVERY: &str = "      interval: 10000
      tags: {environment: demo}
      addresses: {localhost: 127.0.0.1}";

pub fn run(args: &DemoArgs) -> Result<Exit, CommandError> {
    match args.record {
        Some(days) => record::record(args, days),
        None => poll(args),
    }
}

fn poll(args: &DemoArgs) -> Result<Exit, CommandError> {
    let interval = args.interval.unwrap_or(INTERVAL);
    // A container that holds nothing but the program has no folder for temporary files.
    std::fs::create_dir_all(std::env::temp_dir())?;
    let folder = tempfile::Builder::new().prefix("qlik-sessions-demo-").tempdir()?;
    let site = Site::demo(interval)?;
    if let Some(fault) = args.fault.clone() {
        site.set_fault("sense1", "/sales", Some(fault));
    }
    let config = site.write_discovery_config(folder.path(), interval, DISCOVERY, "")?;
    tracing::info!("a simulated site answers on this machine; stop with Ctrl-C");
    stream::run(&config)
}
