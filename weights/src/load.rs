//! Loading a checkpoint into a model's variables: all of it or nothing, and every difference reported at once.

use crate::mismatch::{Misfit, Mismatch};
use crate::{Checkpoint, Error, Layout, Result, hints, is_classifier, is_decoder};
use candle_core::{DType, Tensor, Var};
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
    /// Names of variables left at their initial value, in the model's order; none unless
    /// [`LoadOptions::allow_partial`] was given.
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

impl Checkpoint {
    /// Sets every variable from the tensor of its name. The file must hold exactly these names in these shapes; float
    /// numbers are converted to the variable's type and device.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with all missing, unexpected and misshapen names; [`Error::DuplicateName`] if `vars` gives a
    /// name twice; [`Error::Io`] and [`Error::Tensor`] where reading fails. No variable is changed by a failed loading.
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
        let model: BTreeSet<&str> = vars.iter().map(|(name, _)| name.as_str()).collect();
        let (file, key_biases) = self.with_key_bias_of(&model)?;
        let mismatch = file.difference(vars, part)?;
        let fits = |name: &str| {
            let misfits = mismatch.misfits.iter().map(|misfit| &misfit.name);
            !misfits.chain(&mismatch.missing).any(|other| other == name)
        };
        let nothing = !vars.is_empty() && !vars.iter().any(|(name, _)| fits(name));
        if !mismatch.is_empty() && (nothing || !options.allow_partial) {
            return Err(file.refusal(mismatch, vars, part));
        }
        let (set, initial): (Vec<_>, Vec<_>) = vars.iter().partition(|(name, _)| fits(name));
        let tensors =
            set.iter().map(|(name, var)| file.tensor_for(name, var)).collect::<Result<Vec<_>>>()?;
        for ((name, var), tensor) in set.iter().zip(&tensors) {
            var.set(tensor).map_err(|reason| file.tensor_error(name, reason))?;
        }
        let unfit = mismatch.misfits.iter().map(|misfit| misfit.name.as_str());
        let skipped = file.names().filter(|name| skips(part, name) && !model.contains(name));
        let skipped = skipped.chain(mismatch.unexpected.iter().map(String::as_str)).chain(unfit);
        let report = LoadReport {
            layout: file.layout(),
            loaded: set.len(),
            parameters: set.iter().map(|(_, var)| var.elem_count()).sum(),
            converted: names_where(vars, |name, var| {
                fits(name) && file.dtype(name) != Some(var.dtype())
            }),
            skipped: skipped.map(str::to_owned).chain(file.left_out().to_vec()).collect(),
            initial: initial.iter().map(|(name, _)| name.clone()).collect(),
            key_biases,
        };
        tracing::debug!(path = %self.path().display(), ?part, loaded = report.loaded, "loaded checkpoint");
        Ok(report)
    }

    /// How the file's part and the variables differ, without hints.
    fn difference(&self, vars: &[(String, Var)], part: Part) -> Result<Mismatch> {
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

    fn tensor_for(&self, name: &str, var: &Var) -> Result<Tensor> {
        let tensor = self.tensor(name, var.device())?;
        tensor.to_dtype(var.dtype()).map_err(|reason| self.tensor_error(name, reason))
    }
}

fn skips(part: Part, name: &str) -> bool {
    part == Part::Encoder && (is_decoder(name) || is_classifier(name))
}

fn names_where(vars: &[(String, Var)], condition: impl Fn(&str, &Var) -> bool) -> Vec<String> {
    vars.iter().filter(|(name, var)| condition(name, var)).map(|(name, _)| name.clone()).collect()
}

fn type_name(dtype: DType) -> String {
    dtype.as_str().to_uppercase()
}
