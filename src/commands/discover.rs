//! `discover`: every proxy and virtual proxy of a site, as a table, as JSON, or as
//! a configuration that polls them. With `-c` it shows what is missing in that
//! configuration, and adds it.

mod ask;
mod completed;
mod found;
mod server;
mod yaml;

use self::ask::Inquiry;
use super::{CommandError, Exit, runtime};
use crate::{
    cli::{DiscoverArgs, DiscoverOutput},
    output::PatientStdout,
};

pub fn run(args: &DiscoverArgs) -> Result<Exit, CommandError> {
    let inquiry = Inquiry::new(args)?;
    let runtime = runtime()?;
    let found = runtime.block_on(inquiry.ask());
    // A name that is still being resolved must not keep the program from ending.
    runtime.shutdown_background();
    let found = found?;
    let mut stdout = PatientStdout::new();
    match args.output {
        DiscoverOutput::Table => found.write_table(&mut stdout)?,
        DiscoverOutput::Json => found.write_json(&mut stdout)?,
        DiscoverOutput::Yaml => return yaml::write(&mut stdout, &found),
    }
    Ok(Exit::Done)
}
