//! Standard output: whoever reads it may go away, which ends the printing and not the program.

use std::fmt::Display;
use std::io::Write;

/// Prints a line.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a line of an error or warning.
pub fn error_line(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
