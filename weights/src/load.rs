//! Loading a checkpoint into a model's variables: what does not fit changes nothing, every difference is reported at once.

use crate::fill::Prepared;
use crate::mismatch::{Misfit, Mismatch};
use crate::{Checkpoint, Error, Layout, Result, hints, is_classifier, is_decoder};
use candle_core::{DType, Var};
use std::collections::{BTreeMap, BTreeSet};

/// What a successful loading did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// The file's layout; none if its names are no layout's.
    pub layout: Option<Layout>,
    /// Variables set: all that were given, but for [`initial`](Self::initial).
    pub loaded: usize,
    /// Numbers in them.
    pub parameters: usize,
    /// Names whose numbers were of another float type in the file, in the model's order.
    pub converted: Vec<String>,
    /// Names left in the file: the decoder's and a classifier's where an encoder was asked for; what no model here has
    /// ([`Checkpoint::left_out`]); with [`LoadOptions::allow_partial`] what this model has not, or in another shape.
    pub skipped: Vec<String>,
    /// Names of variables left at their initial value, in the model's order: what an adaptation leaves, and with
    /// [`LoadOptions::allow_partial`] whatever does not fit.
    pub initial: Vec<String>,
    /// Attention layers whose keys' bias of zeros was put in or left out, since file and model differ in having one.
    pub key_biases: usize,
}

/// How to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// Loads what fits, and leaves the rest of the variables at their initial value; the report names them. Something must
    /// fit.
    pub allow_partial: bool,
}

/// The part of the file that the model's variables stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Everything,
    Encoder,
}

/// What a loading leaves on each side.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Variables that keep their value.
    pub initial: Vec<String>,
    /// Tensors that the model has not, or in another shape.
    pub skipped: Vec<String>,
    /// See [`LoadReport::key_biases`].
    pub key_biases: usize,
}

impl Checkpoint {
    /// Sets every variable from the tensor of its name. The file must hold exactly these names in these shapes; float
    /// numbers are converted to the variable's type and device.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with all missing, unexpected and misshapen names; [`Error::KeyBias`] if the model's keys have no
    /// bias and the file's have one that is not zero; [`Error::DuplicateName`] if `vars` gives a name twice: none of these
    /// changes a variable. [`Error::Io`] and [`Error::Tensor`] where reading fails; since numbers are read to where they
    /// belong, some variables are then set and others not.
    pub fn load_into(&self, vars: &[(String, Var)]) -> Result<LoadReport> {
        self.load(vars, Part::Everything, LoadOptions::default())
    }

    /// As [`Self::load_into`], with options.
    ///
    /// # Errors
    /// As [`Self::load_into`].
    pub fn load_into_with(
        &self,
        vars: &[(String, Var)],
        options: LoadOptions,
    ) -> Result<LoadReport> {
        self.load(vars, Part::Everything, options)
    }

    /// Sets the variables of an encoder from an encoder's file, or from the encoder's part of a full one, whose decoder
    /// is skipped. Otherwise as strict as [`Self::load_into`].
    ///
    /// # Errors
    /// As [`Self::load_into`].
    pub fn load_encoder_into(&self, vars: &[(String, Var)]) -> Result<LoadReport> {
        self.load(vars, Part::Encoder, LoadOptions::default())
    }

    /// As [`Self::load_encoder_into`], with options.
    ///
    /// # Errors
    /// As [`Self::load_into`].
    pub fn load_encoder_into_with(
        &self,
        vars: &[(String, Var)],
        options: LoadOptions,
    ) -> Result<LoadReport> {
        self.load(vars, Part::Encoder, options)
    }

    fn load(&self, vars: &[(String, Var)], part: Part, options: LoadOptions) -> Result<LoadReport> {
        let (file, key_biases) = self.with_key_bias_of(&names_of(vars))?;
        let settled = file.settle(file.differences(vars, part)?, vars, part, options)?;
        let prepared = settled.initial.iter().map(|name| (name.clone(), None)).collect();
        file.load_checked(vars, part, &prepared, &Settled { key_biases, ..settled })
    }

    /// Loads what fits, with the tensors that were prepared in place of the file's.
    pub(crate) fn load_checked(
        &self,
        vars: &[(String, Var)],
        part: Part,
        prepared: &Prepared,
        settled: &Settled,
    ) -> Result<LoadReport> {
        self.fill_all(vars, prepared)?;
        let model = names_of(vars);
        let left = |name: &str| matches!(prepared.get(name), Some(None));
        let set = || vars.iter().filter(|(name, _)| !left(name));
        let skipped = self.names().filter(|name| skips(part, name) && !model.contains(name));
        let skipped = skipped.map(str::to_owned).chain(settled.skipped.iter().cloned());
        let report = LoadReport {
            layout: self.layout(),
            loaded: set().count(),
            parameters: set().map(|(_, var)| var.elem_count()).sum(),
            converted: names_where(vars, |name, var| {
                !left(name) && self.dtype(name) != Some(var.dtype())
            }),
            skipped: skipped.chain(self.left_out().iter().cloned()).collect(),
            initial: names_where(vars, |name, _| left(name)),
            key_biases: settled.key_biases,
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
            layout: self.layout(),
            missing: names_where(vars, |name, _| self.shape(name).is_none()),
            unexpected: unexpected.map(str::to_owned).collect(),
            misfits: vars.iter().filter_map(|(name, var)| self.misfit(name, var)).collect(),
            own_names: BTreeMap::new(),
            hints: Vec::new(),
        })
    }

    /// Fails with the differences, if there are any; or, if that is allowed, says what is left on each side.
    pub(crate) fn settle(
        &self,
        mismatch: Mismatch,
        vars: &[(String, Var)],
        part: Part,
        options: LoadOptions,
    ) -> Result<Settled> {
        let misfits = mismatch.misfits.iter().map(|misfit| &misfit.name);
        let initial: Vec<String> = misfits.clone().chain(&mismatch.missing).cloned().collect();
        let nothing = !vars.is_empty() && initial.len() == vars.len();
        if !mismatch.is_empty() && (nothing || !options.allow_partial) {
            return Err(self.refusal(mismatch, vars, part));
        }
        let skipped = mismatch.unexpected.iter().chain(misfits).cloned().collect();
        Ok(Settled { initial, skipped, key_biases: 0 })
    }

    /// The difference as an error, with the file's own names and with what it probably means.
    fn refusal(&self, mut mismatch: Mismatch, vars: &[(String, Var)], part: Part) -> Error {
        let model = vars.iter().map(|(name, var)| (name.as_str(), var)).collect();
        mismatch.hints = hints::hints(self, &mismatch, &model, part);
        let misfits = mismatch.misfits.iter().map(|misfit| &misfit.name);
        let named = misfits.chain(&mismatch.unexpected);
        mismatch.own_names =
            named.filter_map(|name| Some((name.clone(), self.own_name(name)?))).collect();
        Error::Mismatch(Box::new(mismatch))
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
    part == Part::Encoder && (is_decoder(name) || is_classifier(name))
}

pub(crate) fn names_of(vars: &[(String, Var)]) -> BTreeSet<&str> {
    vars.iter().map(|(name, _)| name.as_str()).collect()
}

fn names_where(vars: &[(String, Var)], condition: impl Fn(&str, &Var) -> bool) -> Vec<String> {
    vars.iter().filter(|(name, var)| condition(name, var)).map(|(name, _)| name.clone()).collect()
}

fn type_name(dtype: DType) -> String {
    dtype.as_str().to_uppercase()
}
