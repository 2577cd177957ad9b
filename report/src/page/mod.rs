//! One self-contained HTML page about one or more runs.

mod charts;
mod legend;
mod numbers;
mod pictures;
mod recipes;
mod story;
mod summary;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{History, Result};

pub use pictures::{MOST_PICTURES, Picture, evenly_spaced};

/// What the browser may load for the page: nothing but what is in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// A run as the page shows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// Name, which should differ from the other runs'.
    pub name: String,
    /// What is worth knowing first, such as the model: name and value.
    pub facts: Vec<(String, String)>,
    /// Steps the run is to take in all, if known.
    pub planned_steps: Option<u64>,
    /// All settings: key and value.
    pub recipe: Vec<(String, String)>,
    /// What the metrics tell.
    pub history: History,
    /// Pictures, in order of steps. At most [`MOST_PICTURES`] are shown, evenly spaced.
    pub pictures: Vec<Picture>,
}

/// The text of an HTML file that shows `runs` side by side: a summary, curves, pictures, recipes
/// and what differs between them.
///
/// The file needs nothing beside it, no network and no script. Everything in `runs` is escaped.
/// Pictures that are large are made smaller, so that the file stays below a few megabytes.
///
/// # Errors
///
/// [`Error::Shape`](crate::Error::Shape) without a run, [`Error::Draw`](crate::Error::Draw) if a
/// chart cannot be drawn.
pub fn page(runs: &[Run]) -> Result<String> {
    let title = match runs {
        [] => return Err(crate::Error::Shape("a page about no run".to_owned())),
        [run] => run.name.clone(),
        runs => format!("{} runs", runs.len()),
    };
    let sections = [
        ("Summary", Some(summary::table(runs))),
        ("Differences", recipes::differences(runs)),
        ("Curves", Some(charts::grid(runs)?)),
        ("Reconstructions", pictures::strips(runs)),
        ("Events", story::events(runs)),
        ("Recipes", Some(recipes::whole(runs))),
    ];
    let sections = html! {
        @for (title, content) in sections {
            @if let Some(content) = content {
                section { h2 { (title) } (content) }
            }
        }
    };
    Ok(document(&title, &sections).into_string())
}

fn document(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) " - longmae" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header { h1 { (title) } }
                main { (content) }
                footer { "Written by longmae " (env!("CARGO_PKG_VERSION")) "." }
            }
        }
    }
}

#[cfg(test)]
mod tests;
