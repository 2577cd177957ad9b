//! What colours and symbols mean.

use maud::{Markup, html};

use super::Run;
use crate::EventKind;
use crate::flag::corners;
use crate::palette::{colour, hex};

/// A short line in the colour of the `i`-th run.
pub fn swatch(i: usize) -> Markup {
    let (colour, round) = colour(i);
    html! {
        svg class="swatch" viewBox="0 0 28 10" width="28" height="10" aria-hidden="true" {
            line class={ "round-" (round) } x1="0" y1="5" x2="28" y2="5" stroke=(hex(colour)) stroke-width="3" {}
        }
    }
}

/// A run's name beside its colour.
pub fn name(i: usize, run: &Run) -> Markup {
    html! { span class="name" { (swatch(i)) " " span { (run.name) } } }
}

/// The runs' colours, and the symbols of the kinds of event that there are.
pub fn legend(runs: &[Run]) -> Markup {
    let kinds = [EventKind::Resume, EventKind::Rollback, EventKind::Skip];
    let kinds =
        kinds.into_iter().filter(|kind| runs.iter().any(|run| run.history.count(*kind) > 0));
    html! {
        ul class="legend" {
            @for (i, run) in runs.iter().enumerate() { li { (name(i, run)) } }
            @for kind in kinds { li { (symbol(kind)) " " (word(kind)) } }
        }
    }
}

/// What happened, in a word or two.
pub fn word(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Resume => "resumed",
        EventKind::Rollback => "rolled back",
        EventKind::Skip => "step skipped",
    }
}

fn symbol(kind: EventKind) -> Markup {
    let points: Vec<String> = corners(kind).iter().map(|(x, y)| format!("{x},{y}")).collect();
    html! {
        svg class="symbol" viewBox="-6 -6 12 12" width="12" height="12" aria-hidden="true" {
            polygon points=(points.join(" ")) {}
        }
    }
}
