//! Exit codes: 2 when arguments and recipe alone show the mistake, 1 once a disk or data had to be looked at.

use std::fmt;
use std::process::ExitCode;

use crate::output::error_line;

/// Exit code of a mistake in arguments or recipe.
pub const USAGE: u8 = 2;
const FAILURE: u8 = 1;

/// A mistake that arguments and recipe alone show.
#[derive(Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// A usage error with this message.
pub fn usage(message: impl fmt::Display) -> anyhow::Error {
    UsageError(message.to_string()).into()
}

/// Prints an error, if there is one, and gives the exit code.
pub fn code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    say(&error);
    ExitCode::from(if error.is::<UsageError>() { USAGE } else { FAILURE })
}

/// Prints an error.
pub fn say(error: &anyhow::Error) {
    error_line(format!("error: {}", describe(error)));
}

/// The chain of causes on one line; a cause whose text the one above it already holds is left out.
fn describe(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
