//! The runs' settings, and what differs between them.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::{Run, legend};

/// The value of a setting.
fn value<'a>(run: &'a Run, key: &str) -> Option<&'a str> {
    run.recipe.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
}

/// The keys whose values are not the same in all runs, in alphabetical order.
fn differing(runs: &[Run]) -> Vec<&str> {
    let recipes = runs.iter().flat_map(|run| &run.recipe);
    let keys: BTreeSet<&str> = recipes.map(|(key, _)| key.as_str()).collect();
    let differs =
        |key: &&str| runs.windows(2).any(|two| value(&two[0], key) != value(&two[1], key));
    keys.into_iter().filter(differs).collect()
}

/// The settings that differ, a column for each run; none for a single run.
pub fn differences(runs: &[Run]) -> Option<Markup> {
    if runs.len() < 2 {
        return None;
    }
    let keys = differing(runs);
    if keys.is_empty() {
        return Some(html! { p { "The recipes are equal." } });
    }
    Some(html! {
        div class="wide" tabindex="0" role="group" aria-label="Differences" {
            table {
                thead { tr {
                    th {}
                    @for (i, run) in runs.iter().enumerate() { th scope="col" { (legend::name(i, run)) } }
                } }
                tbody {
                    @for key in keys {
                        tr {
                            th scope="row" { code { (key) } }
                            @for run in runs { td { (value(run, key).unwrap_or("-")) } }
                        }
                    }
                }
            }
        }
    })
}

/// Every run's settings, folded away.
pub fn whole(runs: &[Run]) -> Markup {
    html! {
        @for (i, run) in runs.iter().enumerate() {
            details {
                summary { (legend::name(i, run)) " (" (run.recipe.len()) " settings)" }
                div class="wide" tabindex="0" role="group" aria-label="Recipe" {
                    table {
                        tbody {
                            @for (key, value) in &run.recipe {
                                tr { th scope="row" { code { (key) } } td class="text" { (value) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
