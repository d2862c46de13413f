//! `check`.

use super::{CommandError, Exit};
use crate::cli::CheckArgs;

pub fn run(_args: &CheckArgs) -> Result<Exit, CommandError> {
    Err(CommandError::Usage("not there yet".to_owned()))
}
