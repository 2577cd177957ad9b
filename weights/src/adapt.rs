//! What of a checkpoint must change for a model of another grid, patch size or number of channels.

use crate::adaptation::{Adaptation, Change, What};
use crate::fill::Prepared;
use crate::load::{Part, Settled, names_of};
use crate::{Checkpoint, Error, LoadOptions, ModelInfo, Result};
use candle_core::{Device, Tensor, Var};
use longmae_patching::{
    PatchGrid, PatchResample, Resample, adapt_channels, resize_patch_embed, resize_positions,
};

/// What a checkpoint is adapted to, and how.
///
/// Position embeddings, the decoder's too, are resized where the grid differs. They are the sin-cos of the file's grid
/// (or what was trained from it), and what the network has learned goes by them; so, as MAE does for a new grid, they are
/// resized and not computed anew. The patch embedding is resized and its channels are summed or repeated, as the
/// variables' shapes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapt {
    grid: [usize; 2],
    grid_of_file: Option<[usize; 2]>,
    positions: Resample,
    patches: PatchResample,
    leaves_prediction: bool,
    allows_partial: bool,
}

impl Adapt {
    /// To the grid of a model. If its patch size does not divide its image, no checkpoint fits.
    pub fn to_model(info: &ModelInfo) -> Self {
        Self::to_grid(info.grid().unwrap_or_default())
    }

    /// To a patch grid, `[rows, columns]`.
    pub fn to_grid(grid: [usize; 2]) -> Self {
        Self {
            grid,
            grid_of_file: None,
            positions: Resample::default(),
            patches: PatchResample::default(),
            leaves_prediction: false,
            allows_partial: false,
        }
    }

    /// The file's patch grid, `[rows, columns]`, instead of what its metadata says. Without either, positions that are
    /// not as many as the model's are taken for those of a square.
    #[must_use]
    pub fn grid_of_file(mut self, grid: [usize; 2]) -> Self {
        self.grid_of_file = Some(grid);
        self
    }

    /// How positions are resized: by MAE's bicubic if this is not called.
    #[must_use]
    pub fn positions(mut self, how: Resample) -> Self {
        self.positions = how;
        self
    }

    /// How the patch embedding is resized: by FlexiViT's pseudo-inverse if this is not called.
    #[must_use]
    pub fn patches(mut self, how: PatchResample) -> Self {
        self.patches = how;
        self
    }

    /// Leaves the prediction layer (`decoder_pred`) at its start where it has other outputs, which follow from patch size,
    /// channels and prediction downsampling. Without this, such a file is refused.
    #[must_use]
    pub fn leaving_prediction(mut self) -> Self {
        self.leaves_prediction = true;
        self
    }

    /// Loads what fits as it is or adapted, and leaves the rest; see [`LoadOptions::allow_partial`].
    #[must_use]
    pub fn allowing_partial(mut self) -> Self {
        self.allows_partial = true;
        self
    }
}

impl Checkpoint {
    /// What must change for the file to fit the variables, made ready but not loaded. Whatever cannot be adapted must fit
    /// as in [`Self::load_into`].
    ///
    /// # Errors
    /// As [`Self::load_into`]; [`Error::Adapt`] where a grid is unknown or contradicts the tensors, or channels have no
    /// counterpart. No variable is changed.
    pub fn adapt<'a>(&self, vars: &'a [(String, Var)], how: &Adapt) -> Result<Adaptation<'a>> {
        self.plan(vars, how, Part::Everything)
    }

    /// The same for an encoder's variables, from an encoder's file or the encoder's part of a full one, as
    /// [`Self::load_encoder_into`].
    ///
    /// # Errors
    /// As [`Self::adapt`].
    pub fn adapt_encoder<'a>(
        &self,
        vars: &'a [(String, Var)],
        how: &Adapt,
    ) -> Result<Adaptation<'a>> {
        self.plan(vars, how, Part::Encoder)
    }

    fn plan<'a>(
        &self,
        vars: &'a [(String, Var)],
        how: &Adapt,
        part: Part,
    ) -> Result<Adaptation<'a>> {
        let (file, key_biases) = self.with_key_bias_of(&names_of(vars))?;
        let mut mismatch = file.differences(vars, part)?;
        let plan = Plan { file: &file, vars, how };
        let adaptable: Vec<_> = vars
            .iter()
            .filter_map(|(name, var)| Some((name, var, plan.role(name, var)?)))
            .collect();
        mismatch.misfits.retain(|misfit| !adaptable.iter().any(|(name, ..)| **name == misfit.name));
        let options = LoadOptions { allow_partial: how.allows_partial };
        let settled = Settled { key_biases, ..file.settle(mismatch, vars, part, options)? };
        let mut prepared: Prepared =
            settled.initial.iter().map(|name| (name.clone(), None)).collect();
        let mut changes = Vec::new();
        for (name, var, role) in adaptable {
            if let Some((what, tensor)) = plan.change(name, var, role)? {
                changes.push(Change { name: name.clone(), what });
                prepared.insert(name.clone(), tensor);
            }
        }
        Ok(Adaptation { file, vars, part, changes, prepared, settled })
    }
}

/// What a tensor is to an adaptation, with the sizes that may differ, in file and model.
#[derive(Debug, Clone, Copy)]
enum Role {
    /// Rows: the class token and the patches.
    Positions([usize; 2]),
    PatchEmbed {
        channels: [usize; 2],
        patch: [usize; 2],
    },
    Prediction([usize; 2]),
}

struct Plan<'a> {
    file: &'a Checkpoint,
    vars: &'a [(String, Var)],
    how: &'a Adapt,
}

impl Plan<'_> {
    /// The role of a tensor of floats whose other sizes are equal.
    fn role(&self, name: &str, var: &Var) -> Option<Role> {
        let floats = self.file.dtype(name)?.is_float() && var.dtype().is_float();
        match (name, self.file.shape(name)?, var.dims()) {
            _ if !floats => None,
            ("pos_embed" | "decoder_pos_embed", &[1, file, a], &[1, model, b])
                if a == b && file > 0 && model > 0 =>
            {
                Some(Role::Positions([file, model]))
            }
            ("patch_embed.proj.weight", &[a, c, p, p2], &[b, d, q, q2])
                if a == b && p == p2 && q == q2 =>
            {
                Some(Role::PatchEmbed { channels: [c, d], patch: [p, q] })
            }
            ("decoder_pred.weight", &[file, a], &[model, b])
                if a == b && self.how.leaves_prediction =>
            {
                Some(Role::Prediction([file, model]))
            }
            ("decoder_pred.bias", &[file], &[model]) if self.how.leaves_prediction => {
                Some(Role::Prediction([file, model]))
            }
            _ => None,
        }
    }

    /// What becomes of the tensor, and its new numbers; none if it stays as it is.
    fn change(&self, name: &str, var: &Var, role: Role) -> Result<Option<(What, Option<Tensor>)>> {
        let failed = |reason: longmae_patching::Error| self.cannot(name, reason.to_string());
        match role {
            Role::Prediction([file, model]) => {
                Ok((file != model).then_some((What::Left { outputs: [file, model] }, None)))
            }
            Role::PatchEmbed { channels, patch } => {
                if channels[0] == channels[1] && patch[0] == patch[1] {
                    return Ok(None);
                }
                let how = self.how.patches;
                let tensor = adapt_channels(&self.tensor(name, var)?, channels[1])
                    .and_then(|tensor| resize_patch_embed(&tensor, patch[1], how))
                    .map_err(failed)?;
                Ok(Some((What::PatchEmbed { channels, patch, how }, Some(tensor))))
            }
            Role::Positions(rows) => {
                let Some([from, to]) = self.grids(name, rows)? else { return Ok(None) };
                let how = self.how.positions;
                let grid = |[rows, columns]: [usize; 2]| PatchGrid::new((rows, columns), 1);
                let tensor = self.tensor(name, var)?;
                let tensor = grid(from)
                    .and_then(|from| resize_positions(&tensor, from, grid(to)?, how))
                    .map_err(failed)?;
                Ok(Some((What::Positions { from, to, how }, Some(tensor))))
            }
        }
    }

    /// The grids of positions with these rows in file and model; none if nothing is to be resized.
    fn grids(&self, name: &str, [file, model]: [usize; 2]) -> Result<Option<[[usize; 2]; 2]>> {
        let [by_file, by_model] =
            if name == "decoder_pos_embed" { self.downsampling() } else { [1; 2] };
        let to = self.how.grid.map(|side| side / by_model);
        if !fits(to, model) {
            let [rows, columns] = to;
            let positions = model - 1;
            return Err(self.cannot(
                name,
                format!("the model has {positions} positions, asked for are {rows} x {columns}"),
            ));
        }
        let metadata = self.file.metadata().and_then(|metadata| metadata.info.grid());
        let from = match self.how.grid_of_file.or(metadata) {
            Some(grid) => grid.map(|side| side / by_file),
            None if file == model => return Ok(None),
            None => [(file - 1).isqrt(); 2],
        };
        if !fits(from, file) {
            return Err(self.cannot(name, self.wrong_grid(from, file - 1, metadata.is_some())));
        }
        Ok((from != to).then_some([from, to]))
    }

    fn wrong_grid(&self, [rows, columns]: [usize; 2], positions: usize, said: bool) -> String {
        let grid = match self.how.grid_of_file {
            Some(_) => format!("the file's grid was given as {rows} x {columns} there"),
            None if said => format!("by its metadata the file's grid is {rows} x {columns} there"),
            None => "no square, and the file does not say of which grid".to_owned(),
        };
        format!("it holds {positions} positions: {grid}")
    }

    /// How much coarser the decoder's grid is than the patches', in file and model.
    fn downsampling(&self) -> [usize; 2] {
        const NAME: &str = "decoder_downsample.weight";
        let side =
            |shape: Option<&[usize]>| shape.and_then(<[usize]>::last).map_or(1, |k| *k.max(&1));
        let var = self.vars.iter().find(|(name, _)| name == NAME).map(|(_, var)| var.dims());
        [side(self.file.shape(NAME)), side(var)]
    }

    /// The file's tensor as the variable keeps it.
    fn tensor(&self, name: &str, var: &Var) -> Result<Tensor> {
        self.file
            .tensor(name, &Device::Cpu)?
            .to_dtype(var.dtype())
            .map_err(|reason| self.file.tensor_error(name, reason))
    }

    fn cannot(&self, name: &str, reason: String) -> Error {
        Error::Adapt { path: self.file.path().to_owned(), name: name.to_owned(), reason }
    }
}

/// Whether a grid has as many patches as there are rows, but for the class token's.
fn fits([rows, columns]: [usize; 2], positions: usize) -> bool {
    rows.checked_mul(columns) == positions.checked_sub(1)
}
