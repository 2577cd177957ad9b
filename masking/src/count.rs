use std::str::FromStr;

use crate::{Error, MaskUnits, Result};

/// How many patches stay visible at a mask ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaskCount {
    /// `floor(patches * (1 - ratio))`, as the published code counts. It can cut one unit in two.
    #[default]
    Published,
    /// `round((1 - ratio) * units)` whole units; refused where units are ragged.
    Units,
}

impl MaskCount {
    /// The number of visible patches of every sample.
    ///
    /// # Errors
    /// When the ratio is not inside (0, 1), when nothing would be visible or nothing hidden, or when whole
    /// units are asked for and some are ragged.
    pub fn kept(self, units: &MaskUnits, ratio: f64) -> Result<usize> {
        if !(ratio > 0.0 && ratio < 1.0) {
            return Err(Error::Ratio(ratio));
        }
        let patches = units.grid().len();
        let kept = match self {
            MaskCount::Published => (patches as f64 * (1.0 - ratio)) as usize,
            MaskCount::Units => whole_units(units, ratio)?,
        };
        if kept == 0 || kept == patches {
            return Err(Error::Degenerate { ratio, kept, patches });
        }
        Ok(kept)
    }
}

fn whole_units(units: &MaskUnits, ratio: f64) -> Result<usize> {
    if units.ragged() {
        let grid = units.grid();
        let (rows, cols) = (grid.rows(), grid.cols());
        return Err(Error::RaggedUnits { unit: units.unit(), rows, cols });
    }
    let kept_units = ((1.0 - ratio) * units.len() as f64).round() as usize;
    Ok(kept_units * units.unit() * units.unit())
}

impl FromStr for MaskCount {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "published" => Ok(Self::Published),
            "units" => Ok(Self::Units),
            _ => Err(Error::UnknownName {
                what: "mask count",
                found: name.to_owned(),
                expected: "published, units",
            }),
        }
    }
}
