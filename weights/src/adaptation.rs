//! What an adaptation changes, and the loading of it.

use crate::fill::Prepared;
use crate::load::{Part, Settled};
use crate::{Checkpoint, LoadReport, Result};
use candle_core::Var;
use longmae_patching::{PatchResample, Resample};
use std::fmt;

/// What becomes of a tensor that is not the model's as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// Positions are resized.
    Positions {
        /// The file's grid, `[rows, columns]`.
        from: [usize; 2],
        /// The model's grid.
        to: [usize; 2],
        /// How.
        how: Resample,
    },
    /// The patch embedding gets other channels, another size, or both.
    PatchEmbed {
        /// Channels in file and model.
        channels: [usize; 2],
        /// Side of a patch in file and model.
        patch: [usize; 2],
        /// How it is resized.
        how: PatchResample,
    },
    /// The variable keeps its value.
    Left {
        /// Outputs in file and model.
        outputs: [usize; 2],
    },
}

/// One tensor that is adapted. Displayed as a line: `pos_embed: 14 x 14 -> 28 x 28, bicubic`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The tensor.
    pub name: String,
    /// What becomes of it.
    pub what: What,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match &self.what {
            What::Positions { from: [rows, columns], to: [new_rows, new_columns], how } => {
                write!(f, "{rows} x {columns} -> {new_rows} x {new_columns}, {how}")
            }
            What::PatchEmbed { channels: [c, d], patch: [p, q], how } => {
                let way = if *d == 1 { "summed" } else { "repeated" };
                let channels = (c != d).then(|| format!("channels {c} -> {d}, {way}"));
                let patch = (p != q).then(|| format!("patch {p} -> {q}, {how}"));
                let parts: Vec<String> = [patch, channels].into_iter().flatten().collect();
                f.write_str(&parts.join("; "))
            }
            What::Left { outputs: [file, model] } => {
                write!(f, "{file} outputs in the file, {model} in the model: left at its start")
            }
        }
    }
}

/// A checkpoint made ready for a model that it does not fit as it is. Displayed as a line for each tensor that changes.
#[derive(Debug)]
#[must_use = "an adaptation changes no variable before it is loaded"]
pub struct Adaptation<'a> {
    pub(crate) file: Checkpoint,
    pub(crate) vars: &'a [(String, Var)],
    pub(crate) part: Part,
    pub(crate) changes: Vec<Change>,
    pub(crate) prepared: Prepared,
    pub(crate) settled: Settled,
}

impl Adaptation<'_> {
    /// The tensors that are adapted, in the model's order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether the file fits as it is.
    pub fn is_plain(&self) -> bool {
        self.changes.is_empty()
    }

    /// Variables that fit in no way and keep their value; none unless
    /// [`Adapt::allowing_partial`](crate::Adapt::allowing_partial) was asked for.
    pub fn initial(&self) -> &[String] {
        &self.settled.initial
    }

    /// Sets the variables.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) and [`Error::Tensor`](crate::Error::Tensor) where reading fails, which leaves some
    /// variables set and others not.
    pub fn load(&self) -> Result<LoadReport> {
        self.file.load_checked(self.vars, self.part, &self.prepared, &self.settled)
    }
}

impl fmt::Display for Adaptation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.changes.iter().map(Change::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
