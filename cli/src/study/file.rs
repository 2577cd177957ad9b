//! A study as it is written: TOML.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::budget::Budget;
use crate::exit::usage;
use crate::recipe;

/// The command that its recipes are for.
pub const COMMAND: &str = "study";

/// What a study's file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyFile {
    /// The recipe that all rows differ from, by name or path.
    pub recipe: Option<String>,
    /// What is equal in all rows: see [`Budget`].
    #[serde(default)]
    pub budget: Budget,
    /// The row that sets the budget; the first if this is left out.
    pub reference: Option<String>,
    /// A run a row and seed.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Settings of all rows.
    #[serde(default)]
    pub set: Table,
    /// Keys and the values that they take: every row with every combination.
    #[serde(default)]
    pub axes: Table,
    /// What is measured of the encoders, if anything.
    pub probe: Option<ProbeFile>,
    /// The rows; one that is called as the recipe is, if none is given.
    #[serde(default, rename = "row")]
    pub rows: Vec<RowFile>,
}

/// A row of a study.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RowFile {
    pub name: String,
    /// The row's own recipe.
    pub recipe: Option<String>,
    /// Rows of one series are joined by a line in the plots.
    pub series: Option<String>,
    /// How many times as long it trains as the budget says.
    pub schedule: Option<f64>,
    /// Images of the data, where a plan is made without it.
    pub images: Option<u64>,
    /// The row's settings.
    #[serde(flatten)]
    pub set: Table,
}

/// How encoders are probed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeFile {
    /// Images with classes to learn from; those of the training if this is left out.
    pub data: Option<String>,
    /// Images with classes to be tested on.
    pub val_data: Option<String>,
    /// `center` or `none`, as in `longmae knn`.
    pub crop: Option<String>,
    /// `class` or `mean`, as in `longmae knn`.
    pub pool: Option<String>,
    /// Neighbours that vote.
    pub k: Option<usize>,
    /// Inverse penalties that the linear probe tries, as `longmae linprobe --exact` does.
    pub c: Option<Vec<f64>>,
}

fn one_seed() -> Vec<u64> {
    vec![0]
}

impl StudyFile {
    /// Reads a study, built in by name or a file: its short name and what it says.
    pub fn load(reference: &str) -> anyhow::Result<(String, Self)> {
        let place = format!("study {reference}");
        if recipe::is_file(reference) {
            let name = std::path::Path::new(reference).file_stem().unwrap_or_default();
            let text = recipe::text(reference)?;
            return Ok((name.to_string_lossy().into_owned(), Self::parse(&place, &text)?));
        }
        let built_in = recipe::built_in(reference)?;
        recipe::check_command(&place, built_in.command, COMMAND)?;
        Ok((reference.to_owned(), Self::parse(&place, built_in.text)?))
    }

    /// Reads a study's text; `place` is where it stands, for messages.
    pub fn parse(place: &str, text: &str) -> anyhow::Result<Self> {
        let study: Self =
            toml::from_str(text).map_err(|e| usage(format!("{place}: {}", e.message())))?;
        if study.recipe.is_none() && study.rows.iter().any(|row| row.recipe.is_none()) {
            return Err(usage(format!("{place}: no `recipe` that its rows differ from")));
        }
        if study.recipe.is_none() && study.rows.is_empty() {
            return Err(usage(format!("{place}: neither a `recipe` nor a `[[row]]`")));
        }
        if study.seeds.is_empty() {
            return Err(usage(format!("{place}: `seeds` is empty: expected one at least")));
        }
        for row in &study.rows {
            if let Some(times) = row.schedule.filter(|times| !(*times > 0.0 && times.is_finite())) {
                let name = &row.name;
                return Err(usage(format!(
                    "{place}: row {name}: `schedule` is {times}: expected a number above 0"
                )));
            }
        }
        for (key, values) in &study.axes {
            if values.as_array().is_none_or(Vec::is_empty) {
                return Err(usage(format!("{place}: axis `{key}` is {values}: expected a list")));
            }
        }
        Ok(study)
    }

    /// All combinations of the axes' values; one without any if there are no axes.
    pub fn combinations(&self) -> Vec<Table> {
        self.axes.iter().fold(vec![Table::new()], |all, (key, values)| {
            let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
            let with = |table: &Table, value: &Value| {
                let mut table = table.clone();
                table.insert(key.clone(), value.clone());
                table
            };
            all.iter()
                .flat_map(|table| values.iter().map(move |value| with(table, value)))
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_give_every_combination() {
        let text = "recipe = \"demo\"\n[axes]\nmask_unit = [1, 2]\nmask_ratio = [0.5, 0.75, 0.9]\n";
        let study = StudyFile::parse("mine", text).unwrap();
        let all = study.combinations();
        assert_eq!(all.len(), 6);
        assert!(all.contains(&"mask_unit = 2\nmask_ratio = 0.9".parse().unwrap()));
        let none = StudyFile::parse("mine", "recipe = \"demo\"").unwrap();
        assert_eq!(none.combinations(), [Table::new()]);
        assert_eq!(none.seeds, [0]);
    }

    #[test]
    fn mistakes_name_their_place() {
        let error = |text: &str| StudyFile::parse("mine", text).unwrap_err().to_string();
        for (text, part) in [
            ("seed = [1]\nrecipe = \"demo\"", "unknown field `seed`"),
            ("seeds = []\nrecipe = \"demo\"", "`seeds` is empty"),
            ("seeds = [0]", "neither a `recipe` nor"),
            ("recipe = \"demo\"\n[axes]\nmask_unit = 2", "axis `mask_unit` is 2: expected a list"),
            ("recipe = \"demo\"\nbudget = \"time\"", "unknown variant `time`"),
            ("[[row]]\nname = \"a\"", "no `recipe`"),
        ] {
            let found = error(text);
            assert!(found.starts_with("mine: ") && found.contains(part), "{found}");
        }
    }
}
