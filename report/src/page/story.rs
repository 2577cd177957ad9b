//! What happened to the runs, as a list.

use maud::{Markup, html};

use super::numbers::whole;
use super::{Run, legend};

/// Events of a run that are listed.
const MOST_EVENTS: usize = 100;

/// A list for each run to which something happened; none if nothing did.
pub fn events(runs: &[Run]) -> Option<Markup> {
    let eventful = || runs.iter().enumerate().filter(|(_, run)| !run.history.events.is_empty());
    eventful().next()?;
    Some(html! {
        @for (i, run) in eventful() { (list(i, run)) }
    })
}

fn list(i: usize, run: &Run) -> Markup {
    let events = &run.history.events;
    let more = events.len().saturating_sub(MOST_EVENTS);
    html! {
        details open[events.len() <= 10] {
            summary { (legend::name(i, run)) " (" (events.len()) ")" }
            div class="wide" tabindex="0" role="group" aria-label="Events" {
                table {
                    tbody {
                        @for event in events.iter().take(MOST_EVENTS) {
                            tr {
                                th scope="row" { "step " (whole(event.step)) }
                                td { (legend::word(event.kind)) }
                                td class="text" { (event.note) }
                            }
                        }
                    }
                }
            }
            @if more > 0 { p class="note" { "and " (whole(more as u64)) " more in metrics.jsonl" } }
        }
    }
}
