//! A bar for what comes from the Hub and goes to it.

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use longmae_data::OnProgress;
use longmae_hub::Progress;

/// Draws a bar on a terminal while files come or go.
pub fn bar() -> OnProgress {
    let bar = ProgressBar::no_length();
    let style = "{msg} {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    Arc::new(move |progress: Progress<'_>| {
        let total = progress.total.unwrap_or(progress.done);
        if bar.message() != progress.path {
            bar.reset();
            bar.set_message(progress.path.to_owned());
        }
        bar.set_length(total);
        bar.set_position(progress.done);
        if progress.done == total {
            bar.finish_and_clear();
        }
    })
}
