//! What is equal in all rows of a study.

use serde::{Deserialize, Serialize};
use toml::Value;

use super::grid::Row;
use crate::exit::usage;
use crate::pretrain;

/// How long each row trains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Budget {
    /// As many epochs as its settings say: images are equal, if these are.
    #[default]
    Epochs,
    /// As many patches as the reference row sees: fewer epochs of longer sequences.
    Tokens,
    /// As many floating-point operations as the reference row takes.
    Flops,
}

impl Budget {
    /// Cost of an image in this currency.
    fn price(self, row: &Row) -> anyhow::Result<f64> {
        let cost = pretrain::shape(&row.settings).cost()?;
        Ok(match self {
            Self::Epochs => 1.0,
            Self::Tokens => cost.patches as f64,
            Self::Flops => cost.training_flops,
        })
    }

    /// Sets the epochs of all rows so that they cost what the reference row costs, times their own `schedule`.
    pub fn share(self, rows: &mut [Row], reference: Option<&str>) -> anyhow::Result<()> {
        let reference = match reference {
            None => 0,
            Some(name) => rows.iter().position(|row| row.name == name).ok_or_else(|| {
                let known: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
                crate::choice::unknown("reference", name, &known)
            })?,
        };
        if self != Self::Epochs {
            rows.iter().try_for_each(|row| self.check(row, &rows[reference]))?;
        }
        let price = self.price(&rows[reference])?;
        for row in rows {
            let factor = row.schedule * price / self.price(row)?;
            if factor == 1.0 {
                continue;
            }
            let common = &row.settings.common;
            let mut scaled = vec![("epochs", common.epochs)];
            scaled.extend(common.warmup_epochs.map(|warmup| ("warmup_epochs", warmup)));
            for (key, epochs) in scaled {
                row.table.insert(key.to_owned(), Value::Float(epochs * factor));
            }
            row.resolve()?;
        }
        Ok(())
    }

    /// What would make an epoch of a row another number of images than that of the reference, or cut the row short.
    fn check(self, row: &Row, reference: &Row) -> anyhow::Result<()> {
        let (name, unit) = (&row.name, self.unit());
        let [own, other] = [row, reference].map(|row| &row.settings.common);
        let differs = [
            ("epochs", own.epochs != other.epochs),
            ("warmup_epochs", own.warmup_epochs != other.warmup_epochs),
            ("data", own.data != other.data),
            ("repeat", own.repeat != other.repeat),
            ("aug_repeats", own.aug_repeats != other.aug_repeats),
        ];
        if let Some((key, _)) = differs.iter().find(|(_, differs)| *differs) {
            let reference = &reference.name;
            return Err(usage(format!(
                "row {name}: `{key}` differs from that of {reference}, but rows get equal {unit}: set it for all rows"
            )));
        }
        match own.max_steps {
            Some(_) => Err(usage(format!(
                "row {name}: max_steps would end it before it has spent equal {unit}: leave it away"
            ))),
            None => Ok(()),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Epochs => "epochs",
            Self::Tokens => "tokens",
            Self::Flops => "FLOP",
        }
    }
}
