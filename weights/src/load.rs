//! Loading a checkpoint into a model's variables: what does not fit changes nothing, every difference is reported at once.

use crate::fill::Prepared;
use crate::mismatch::{Misfit, Mismatch};
use crate::{Checkpoint, Error, Result, hints, is_decoder, is_encoder};
use candle_core::{DType, Var};
use std::collections::BTreeSet;

/// What a successful loading did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// Variables set: all that were given, but for those that an adaptation leaves.
    pub loaded: usize,
    /// Numbers in them.
    pub parameters: usize,
    /// Names whose numbers were of another float type in the file, in the model's order.
    pub converted: Vec<String>,
    /// Names left in the file because they belong to the decoder and an encoder was asked for, sorted.
    pub skipped: Vec<String>,
}

/// The part of the file that the model's variables stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Everything,
    Encoder,
}

impl Checkpoint {
    /// Sets every variable from the tensor of its name. The file must hold exactly these names in these shapes; float
    /// numbers are converted to the variable's type and device.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with all missing, unexpected and misshapen names; [`Error::DuplicateName`] if `vars` gives a
    /// name twice: neither changes a variable. [`Error::Io`] and [`Error::Tensor`] where reading fails; since numbers are
    /// read to where they belong, some variables are then set and others not.
    pub fn load_into(&self, vars: &[(String, Var)]) -> Result<LoadReport> {
        self.load(vars, Part::Everything)
    }

    /// Sets the variables of an encoder from an encoder's file, or from the encoder's part of a full one, whose decoder
    /// is skipped. Otherwise as strict as [`Self::load_into`].
    ///
    /// # Errors
    /// As [`Self::load_into`].
    pub fn load_encoder_into(&self, vars: &[(String, Var)]) -> Result<LoadReport> {
        self.load(vars, Part::Encoder)
    }

    fn load(&self, vars: &[(String, Var)], part: Part) -> Result<LoadReport> {
        self.refuse(self.differences(vars, part)?, vars, part)?;
        self.load_checked(vars, part, &Prepared::new())
    }

    /// Loads what fits, with the tensors that were prepared in place of the file's.
    pub(crate) fn load_checked(
        &self,
        vars: &[(String, Var)],
        part: Part,
        prepared: &Prepared,
    ) -> Result<LoadReport> {
        self.fill_all(vars, prepared)?;
        let left = |name: &str| matches!(prepared.get(name), Some(None));
        let set = || vars.iter().filter(|(name, _)| !left(name));
        let report = LoadReport {
            loaded: set().count(),
            parameters: set().map(|(_, var)| var.elem_count()).sum(),
            converted: names_where(vars, |name, var| {
                !left(name) && self.dtype(name) != Some(var.dtype())
            }),
            skipped: self.names().filter(|name| skips(part, name)).map(str::to_owned).collect(),
        };
        tracing::debug!(path = %self.path().display(), ?part, loaded = report.loaded, "loaded checkpoint");
        Ok(report)
    }

    /// How the file's part and the variables differ, without hints.
    pub(crate) fn differences(&self, vars: &[(String, Var)], part: Part) -> Result<Mismatch> {
        let mut model = BTreeSet::new();
        for (name, _) in vars {
            if !model.insert(name.as_str()) {
                return Err(Error::DuplicateName {
                    path: self.path().to_owned(),
                    name: name.clone(),
                });
            }
        }
        let unexpected = self.names().filter(|name| !model.contains(name) && !skips(part, name));
        Ok(Mismatch {
            path: self.path().to_owned(),
            missing: names_where(vars, |name, _| self.shape(name).is_none()),
            unexpected: unexpected.map(str::to_owned).collect(),
            misfits: vars.iter().filter_map(|(name, var)| self.misfit(name, var)).collect(),
            hints: Vec::new(),
        })
    }

    /// Fails with the differences, if there are any.
    pub(crate) fn refuse(
        &self,
        mut mismatch: Mismatch,
        vars: &[(String, Var)],
        part: Part,
    ) -> Result<()> {
        if mismatch.is_empty() {
            return Ok(());
        }
        let model = vars.iter().map(|(name, var)| (name.as_str(), var)).collect();
        mismatch.hints = hints::hints(self, &mismatch, &model, part);
        Err(Error::Mismatch(Box::new(mismatch)))
    }

    fn misfit(&self, name: &str, var: &Var) -> Option<Misfit> {
        let (shape, dtype) = (self.shape(name)?, self.dtype(name)?);
        let misfit = |file, model| Some(Misfit { name: name.to_owned(), file, model });
        if shape != var.dims() {
            misfit(format!("{shape:?}"), format!("{:?}", var.dims()))
        } else if dtype != var.dtype() && !(dtype.is_float() && var.dtype().is_float()) {
            misfit(type_name(dtype), type_name(var.dtype()))
        } else {
            None
        }
    }
}

fn skips(part: Part, name: &str) -> bool {
    part == Part::Encoder && is_decoder(name) && !is_encoder(name)
}

fn names_where(vars: &[(String, Var)], condition: impl Fn(&str, &Var) -> bool) -> Vec<String> {
    vars.iter().filter(|(name, var)| condition(name, var)).map(|(name, _)| name.clone()).collect()
}

fn type_name(dtype: DType) -> String {
    dtype.as_str().to_uppercase()
}
