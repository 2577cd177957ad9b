//! Choosing and ordering tokens: what MAE does around its encoder and decoder.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail,
};

use crate::buffer::unset;
use crate::matrix::SharedMut;
use crate::numbers::{Numbers, slice};
use crate::parallel::parallel;
use crate::{Compute, reference};

/// Picks tokens by position, a different choice for every sample.
///
/// # Shapes
/// `tokens` `[batch, tokens, dim]`, `ids` `[batch, picked]` (u32, each below `tokens`); the result is
/// `[batch, picked, dim]`. Gradients reach `tokens`; a token that is picked twice gets the sum.
///
/// # Errors
/// When the shapes do not fit or an id lies outside the sequence; on a GPU, where ids are not read back to be looked at, such
/// an id gives a row of NaN here and in the operations beside this one.
pub fn gather_tokens(tokens: &Tensor, ids: &Tensor, compute: Compute) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if compute.fused_on_gpu(tokens.device()) {
        return crate::cuda::gather_tokens(tokens, ids);
    }
    if !compute.fused(tokens.device()) {
        return reference::gather_tokens(tokens, ids);
    }
    let (batch, length, dim) = tokens.dims3()?;
    let (picked, ids) = check_ids(ids, batch, length)?;
    tokens.contiguous()?.apply_op1(Gather { batch, length, picked, dim, ids })
}

/// Number of ids a sample, and all ids in one list.
pub(crate) fn check_ids(ids: &Tensor, batch: usize, length: usize) -> Result<(usize, Vec<u32>)> {
    let (rows, picked) = ids.dims2()?;
    if rows != batch {
        bail!("ids for {rows} samples, expected {batch}");
    }
    let ids = ids.flatten_all()?.to_vec1::<u32>()?;
    if let Some(id) = ids.iter().find(|id| **id as usize >= length) {
        bail!("token {id} is out of range: the sequence has {length}");
    }
    Ok((picked, ids))
}

struct Gather {
    batch: usize,
    length: usize,
    picked: usize,
    dim: usize,
    ids: Vec<u32>,
}

impl Gather {
    fn ids(&self, sample: usize) -> impl Iterator<Item = usize> {
        self.ids[sample * self.picked..][..self.picked].iter().map(|id| *id as usize)
    }
}

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        "gather-tokens"
    }

    fn cpu_fwd(&self, tokens: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, dim) = (slice(tokens, layout)?, self.dim);
        let mut out = Vec::with_capacity(self.ids.len() * dim);
        for sample in 0..self.batch {
            for id in self.ids(sample) {
                out.extend_from_slice(&tokens[(sample * self.length + id) * dim..][..dim]);
            }
        }
        Ok((CpuStorage::F32(out), (self.batch, self.picked, dim).into()))
    }

    fn bwd(&self, tokens: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let gradient = Numbers::of(&gradient)?;
        let dim = self.dim;
        let mut out = vec![0.0; self.batch * self.length * dim];
        for sample in 0..self.batch {
            for (i, id) in self.ids(sample).enumerate() {
                let from = &gradient[(sample * self.picked + i) * dim..][..dim];
                let to = &mut out[(sample * self.length + id) * dim..][..dim];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        }
        Ok(Some(Tensor::from_vec(out, tokens.shape(), tokens.device())?))
    }
}

/// The encoder's input: patch tokens with their positions, the class token with its own in front.
///
/// # Shapes
/// `patches` `[batch, kept, dim]`, `class` `[1, 1, dim]`, `positions` `[1, 1 + patches, dim]`, `ids` `[batch, kept]`
/// (u32) or none if all patches are there in order; the result is `[batch, 1 + kept, dim]`. Gradients reach the first
/// three; positions that are no variables cost nothing.
///
/// # Errors
/// When the shapes do not fit or an id lies outside the sequence.
pub fn prepend_class(
    patches: &Tensor,
    class: &Tensor,
    positions: &Tensor,
    ids: Option<&Tensor>,
    compute: Compute,
) -> Result<Tensor> {
    let on_gpu = compute.fused_on_gpu(patches.device());
    if !compute.fused(patches.device()) && !on_gpu {
        return reference::prepend_class(patches, class, positions, ids);
    }
    let (batch, kept, dim) = patches.dims3()?;
    let (_, rows, width) = positions.dims3()?;
    if dim == 0
        || class.elem_count() != dim
        || width != dim
        || rows == 0
        || ids.is_none() && kept + 1 != rows
    {
        let (class, positions) = (class.dims(), positions.dims());
        bail!("{kept} patches of {dim} with class token {class:?} and positions {positions:?}");
    }
    #[cfg(feature = "cuda")]
    if on_gpu {
        return crate::cuda::prepend_class(patches, class, positions, ids);
    }
    let ids = match ids {
        Some(ids) => check_ids(ids, batch, rows - 1)?.1,
        None => (0..batch).flat_map(|_| 0..kept as u32).collect(),
    };
    if ids.len() != batch * kept {
        bail!("{} ids for {kept} patches of {batch} samples", ids.len());
    }
    let op = Prepend { batch, kept, dim, ids };
    patches.contiguous()?.apply_op3(&class.contiguous()?, &positions.contiguous()?, op)
}

struct Prepend {
    batch: usize,
    kept: usize,
    dim: usize,
    ids: Vec<u32>,
}

impl Prepend {
    /// The gradient of positions `[rows, dim]` that all samples share: the sum of what each sample's rows got.
    fn of_positions(&self, gradient: &[f32], rows: usize) -> Vec<f32> {
        let dim = self.dim;
        let mut out = vec![0.0_f32; rows * dim];
        for (sample, ids) in gradient.chunks_exact((self.kept + 1) * dim).zip(self.sample_ids()) {
            let rows = std::iter::once(0).chain(ids.iter().map(|id| 1 + *id as usize));
            for (from, row) in sample.chunks_exact(dim).zip(rows) {
                let to = &mut out[row * dim..][..dim];
                to.iter_mut().zip(from).for_each(|(to, x)| *to += x);
            }
        }
        out
    }

    /// The ids of each sample; also where a sample has none.
    fn sample_ids(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.batch).map(|sample| &self.ids[sample * self.kept..][..self.kept])
    }
}

impl CustomOp3 for Prepend {
    fn name(&self) -> &'static str {
        "prepend-class"
    }

    fn cpu_fwd(
        &self,
        patches: &CpuStorage,
        layout: &Layout,
        class: &CpuStorage,
        class_layout: &Layout,
        positions: &CpuStorage,
        positions_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (patches, class) = (slice(patches, layout)?, slice(class, class_layout)?);
        let positions = slice(positions, positions_layout)?;
        let dim = self.dim;
        let mut out = Vec::with_capacity(self.batch * (self.kept + 1) * dim);
        for sample in 0..self.batch {
            out.extend(class.iter().zip(&positions[..dim]).map(|(x, position)| x + position));
            for patch in sample * self.kept..(sample + 1) * self.kept {
                let position = &positions[(1 + self.ids[patch] as usize) * dim..][..dim];
                out.extend(patches[patch * dim..][..dim].iter().zip(position).map(|(x, p)| x + p));
            }
        }
        Ok((CpuStorage::F32(out), (self.batch, self.kept + 1, dim).into()))
    }

    fn bwd(
        &self,
        patches: &Tensor,
        class: &Tensor,
        positions: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let gradient = Numbers::of(&gradient)?;
        let dim = self.dim;
        let mut own = Vec::with_capacity(self.batch * self.kept * dim);
        let mut sum = vec![0.0_f32; dim];
        for sample in gradient.chunks_exact((self.kept + 1) * dim) {
            sum.iter_mut().zip(&sample[..dim]).for_each(|(sum, x)| *sum += x);
            own.extend_from_slice(&sample[dim..]);
        }
        let of_positions = positions.track_op().then(|| {
            let values = self.of_positions(&gradient, positions.dim(1)?);
            Tensor::from_vec(values, positions.shape(), positions.device())
        });
        Ok((
            Some(Tensor::from_vec(own, patches.shape(), patches.device())?),
            Some(Tensor::from_vec(sum, class.shape(), class.device())?),
            of_positions.transpose()?,
        ))
    }
}

/// The decoder's input: visible tokens and mask tokens in the image's order behind the class token, with positions.
///
/// # Shapes
/// `visible` `[batch, 1 + kept, dim]`, class token first; `mask_token` `[1, 1, dim]`; `restore` `[batch, patches]`
/// (u32): the place of each patch in the shuffled order, of which the first `kept` are visible; `positions`
/// `[1, 1 + patches, dim]` (fixed: it gets no gradient). The result is `[batch, 1 + patches, dim]`.
///
/// # Errors
/// When the shapes do not fit or an id lies outside the sequence.
pub fn restore_tokens(
    visible: &Tensor,
    mask_token: &Tensor,
    restore: &Tensor,
    positions: Option<&Tensor>,
    compute: Compute,
) -> Result<Tensor> {
    let on_gpu = compute.fused_on_gpu(visible.device());
    let fused = compute.fused(visible.device()) || on_gpu;
    if !fused || positions.is_some_and(|tensor| tensor.track_op()) {
        return reference::restore_tokens(visible, mask_token, restore, positions);
    }
    let (batch, rows, dim) = visible.dims3()?;
    let patches = restore.dim(1)?;
    if dim == 0 || rows == 0 || rows > patches + 1 || mask_token.elem_count() != dim {
        bail!("{rows} visible tokens of {dim} with mask token {:?}", mask_token.dims());
    }
    if let Some(positions) = positions.filter(|p| p.elem_count() != (patches + 1) * dim) {
        bail!("positions {:?} for {} tokens of {dim}", positions.dims(), patches + 1);
    }
    #[cfg(feature = "cuda")]
    if on_gpu {
        return crate::cuda::restore_tokens(visible, mask_token, restore, positions);
    }
    let (_, ids) = check_ids(restore, batch, patches)?;
    let positions = positions.map(Tensor::contiguous).transpose()?;
    let op = Restore { batch, kept: rows - 1, patches, dim, positions, ids };
    visible.contiguous()?.apply_op2(&mask_token.contiguous()?, op)
}

struct Restore {
    batch: usize,
    kept: usize,
    patches: usize,
    dim: usize,
    positions: Option<Tensor>,
    ids: Vec<u32>,
}

impl Restore {
    /// For each row of a sample's result, the visible row that it shows, or none for a mask token.
    fn sources(&self, sample: usize) -> impl Iterator<Item = Option<usize>> {
        let ids = &self.ids[sample * self.patches..][..self.patches];
        let patches = ids.iter().map(|id| *id as usize);
        std::iter::once(Some(0)).chain(patches.map(|id| (id < self.kept).then_some(id + 1)))
    }
}

impl CustomOp2 for Restore {
    fn name(&self) -> &'static str {
        "restore-tokens"
    }

    fn cpu_fwd(
        &self,
        visible: &CpuStorage,
        layout: &Layout,
        mask_token: &CpuStorage,
        mask_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (visible, mask_token) = (slice(visible, layout)?, slice(mask_token, mask_layout)?);
        let positions = self.positions.as_ref().map(Numbers::of).transpose()?;
        let positions: Option<&[f32]> = positions.as_deref();
        let (dim, rows) = (self.dim, self.patches + 1);
        let mut out = unset::<f32>(self.batch * rows * dim);
        let shared = SharedMut::new(&mut out);
        parallel(self.batch, |sample| {
            // SAFETY: each task has its own part.
            let out = unsafe { shared.part(sample * rows * dim, (sample + 1) * rows * dim) };
            let own = &visible[sample * (self.kept + 1) * dim..];
            for (row, (out, source)) in
                out.chunks_exact_mut(dim).zip(self.sources(sample)).enumerate()
            {
                let token = source.map_or(mask_token, |source| &own[source * dim..][..dim]);
                match positions {
                    Some(positions) => {
                        let position = &positions[row * dim..][..dim];
                        let sums = token.iter().zip(position).map(|(x, p)| x + p);
                        out.iter_mut().zip(sums).for_each(|(out, x)| *out = x);
                    }
                    None => out.copy_from_slice(token),
                }
            }
        });
        Ok((CpuStorage::F32(out), (self.batch, rows, dim).into()))
    }

    fn bwd(
        &self,
        visible: &Tensor,
        mask_token: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let gradient = Numbers::of(&gradient)?;
        let gradient: &[f32] = &gradient;
        let (dim, rows) = (self.dim, self.patches + 1);
        let own_len = (self.kept + 1) * dim;
        // Zeros, since an id that is missing from a sample leaves its row without a gradient.
        let mut own = vec![0.0; self.batch * own_len];
        let mut sums = vec![0.0_f32; self.batch * dim];
        let (own_shared, sums_shared) = (SharedMut::new(&mut own), SharedMut::new(&mut sums));
        parallel(self.batch, |sample| {
            // SAFETY: each task has its own parts.
            let (own, sum) = unsafe {
                (
                    own_shared.part(sample * own_len, (sample + 1) * own_len),
                    sums_shared.part(sample * dim, (sample + 1) * dim),
                )
            };
            let gradient = gradient[sample * rows * dim..].chunks_exact(dim);
            for (gradient, source) in gradient.zip(self.sources(sample)) {
                let to = match source {
                    Some(source) => &mut own[source * dim..][..dim],
                    None => &mut *sum,
                };
                to.iter_mut().zip(gradient).for_each(|(to, x)| *to += x);
            }
        });
        let mut total = vec![0.0_f32; dim];
        for sum in sums.chunks_exact(dim) {
            total.iter_mut().zip(sum).for_each(|(total, x)| *total += x);
        }
        Ok((
            Some(Tensor::from_vec(own, visible.shape(), visible.device())?),
            Some(Tensor::from_vec(total, mask_token.shape(), mask_token.device())?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::gather_tokens;
    use crate::Compute;

    #[test]
    fn tokens_of_each_sample_are_its_own() {
        let tokens = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((2, 3, 2)).unwrap();
        let ids = Tensor::new(&[[2u32, 0], [1, 1]], &Device::Cpu).unwrap();
        let picked = gather_tokens(&tokens, &ids, Compute::default()).unwrap();
        let picked: Vec<f32> = picked.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(picked, [4.0, 5.0, 0.0, 1.0, 8.0, 9.0, 8.0, 9.0]);
    }

    #[test]
    fn ids_beyond_the_sequence_or_batch_are_refused() {
        let tokens = Tensor::zeros((2, 3, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        for ids in [vec![vec![0u32, 3], vec![0, 0]], vec![vec![0u32, 1]]] {
            let ids = Tensor::new(ids, &Device::Cpu).unwrap();
            assert!(gather_tokens(&tokens, &ids, Compute::default()).is_err());
        }
    }
}
