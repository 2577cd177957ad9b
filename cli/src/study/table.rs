//! Tables, in Markdown to read, in CSV and JSON to go on with.

use std::fmt::Write as _;
use std::path::Path;

use longmae_report::write_atomic;
use serde_json::{Map, Value, json};

use super::spread::Spread;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name in CSV and JSON.
    pub key: &'static str,
    /// Its name in Markdown.
    pub title: &'static str,
}

impl Column {
    pub const fn new(key: &'static str, title: &'static str) -> Self {
        Self { key, title }
    }
}

/// What stands in a place of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Text(String),
    Whole(u64),
    /// A number, with so many digits behind the point in Markdown; none where there is none yet.
    Number(Option<f64>, usize),
    /// A number over seeds, a share in percent.
    Spread {
        spread: Option<Spread>,
        share: bool,
    },
}

impl Entry {
    pub const fn number(value: f64, digits: usize) -> Self {
        Self::Number(Some(value), digits)
    }

    pub const fn maybe(value: Option<f64>, digits: usize) -> Self {
        Self::Number(value, digits)
    }

    fn markdown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Whole(number) => number.to_string(),
            Self::Number(Some(number), digits) => format!("{number:.digits$}"),
            Self::Spread { spread: Some(spread), share } => {
                let (scale, digits) = if *share { (100.0, 2) } else { (1.0, 4) };
                let std = spread.std.map(|std| format!(" ± {:.digits$}", scale * std));
                format!("{:.digits$}{}", scale * spread.mean, std.unwrap_or_default())
            }
            Self::Number(None, _) | Self::Spread { spread: None, .. } => String::new(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Whole(number) => json!(number),
            Self::Number(number, _) => json!(number),
            Self::Spread { spread, .. } => json!(spread),
        }
    }

    /// Its columns of CSV and what stands there.
    fn csv(&self, key: &str) -> Vec<(String, String)> {
        let text = |number: Option<f64>| number.map_or(String::new(), |number| number.to_string());
        match self {
            Self::Spread { spread, .. } => vec![
                (format!("{key}_mean"), text(spread.as_ref().map(|spread| spread.mean))),
                (format!("{key}_std"), text(spread.as_ref().and_then(|spread| spread.std))),
            ],
            Self::Text(text) => vec![(key.to_owned(), text.clone())],
            Self::Whole(number) => vec![(key.to_owned(), number.to_string())],
            Self::Number(number, _) => vec![(key.to_owned(), text(*number))],
        }
    }
}

/// Rows below columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Entry>>,
}

impl Table {
    /// Adds a row; all rows have the same columns.
    pub fn push(&mut self, columns: Vec<Column>, entries: Vec<Entry>) {
        debug_assert!(self.rows.is_empty() || self.columns == columns);
        self.columns = columns;
        self.rows.push(entries);
    }

    /// Writes `NAME.md`, `NAME.csv` and `NAME.json` into a folder.
    pub fn write(&self, folder: &Path, name: &str, title: &str) -> anyhow::Result<()> {
        let put = |extension: &str, text: &str| {
            write_atomic(folder.join(format!("{name}.{extension}")), text.as_bytes())
        };
        put("md", &format!("# {title}\n\n{}", self.markdown()))?;
        put("csv", &self.csv())?;
        put("json", &format!("{:#}\n", self.json()))?;
        Ok(())
    }

    /// The table as Markdown. Columns without any entry are left out.
    pub fn markdown(&self) -> String {
        let cells: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(Entry::markdown).collect()).collect();
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|&column| cells.iter().any(|row| !row[column].is_empty()))
            .collect();
        let line = |of: &dyn Fn(usize) -> String| {
            let parts: Vec<String> = shown.iter().map(|&column| of(column)).collect();
            format!("| {} |\n", parts.join(" | "))
        };
        let mut text = line(&|column| self.columns[column].title.to_owned());
        text += &line(&|column| if column == 0 { "---" } else { "---:" }.to_owned());
        for row in &cells {
            text += &line(&|column| row[column].clone());
        }
        text
    }

    fn csv(&self) -> String {
        let lines: Vec<Vec<(String, String)>> = self
            .rows
            .iter()
            .map(|row| self.columns.iter().zip(row).flat_map(|(c, e)| e.csv(c.key)).collect())
            .collect();
        let mut text = String::new();
        let join = |of: fn(&(String, String)) -> &String, line: &[(String, String)]| {
            line.iter().map(of).map(String::as_str).collect::<Vec<_>>().join(",")
        };
        // Names of rows have no comma.
        if let Some(first) = lines.first() {
            let _ = writeln!(text, "{}", join(|(key, _)| key, first));
        }
        for line in &lines {
            let _ = writeln!(text, "{}", join(|(_, value)| value, line));
        }
        text
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Entry>| {
            let pairs = self.columns.iter().zip(row);
            Value::Object(pairs.map(|(c, e)| (c.key.to_owned(), e.json())).collect::<Map<_, _>>())
        };
        Value::Array(self.rows.iter().map(object).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_in_three_ways() {
        let mut table = Table::default();
        let columns = || {
            vec![
                Column::new("row", "row"),
                Column::new("hours", "hours"),
                Column::new("top1", "top-1"),
            ]
        };
        let share =
            |values: &[f64]| Entry::Spread { spread: Spread::of(values.to_vec()), share: true };
        let first = vec![Entry::Text("a".to_owned()), Entry::maybe(None, 1), share(&[0.5, 0.75])];
        table.push(columns(), first);
        table.push(columns(), vec![Entry::Text("b".to_owned()), Entry::maybe(None, 1), share(&[])]);
        assert_eq!(
            table.markdown(),
            "| row | top-1 |\n| --- | ---: |\n| a | 62.50 ± 17.68 |\n| b |  |\n"
        );
        assert_eq!(
            table.csv(),
            "row,hours,top1_mean,top1_std\na,,0.625,0.1767766952966369\nb,,,\n"
        );
        assert_eq!(table.json()[0]["top1"]["values"], json!([0.5, 0.75]));
        assert_eq!(table.json()[1]["top1"], Value::Null);
    }
}
