//! `who`.

use super::{CommandError, Exit};
use crate::cli::WhoArgs;

pub fn run(_args: &WhoArgs) -> Result<Exit, CommandError> {
    Err(CommandError::Usage("not there yet".to_owned()))
}
