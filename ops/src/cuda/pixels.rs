use candle_core::{DType, Result, Tensor};

use super::kernel::Argument::Address;
use super::kernel::{Argument, Geometry, launch};
use super::place::Place;
use super::tensors::address;
use crate::device::node;

/// The tensors and sizes that both passes take.
struct Loss {
    place: Place,
    pred: Tensor,
    patches: Tensor,
    weights: Tensor,
    samples: usize,
    /// Rows of a sample's prediction before its patches.
    front: usize,
    rows: usize,
    pixels: usize,
    norm_pix: bool,
}

/// As [`pixel_loss`](crate::pixel_loss), whose shapes were checked.
pub(crate) fn pixel_loss(
    pred: &Tensor,
    patches: &Tensor,
    weights: &Tensor,
    norm_pix: bool,
) -> Result<Tensor> {
    let (samples, rows, pixels) = patches.dims3()?;
    let loss = Loss {
        place: Place::of(pred)?,
        pred: pred.contiguous()?.detach(),
        patches: patches.contiguous()?.detach(),
        weights: weights.contiguous()?.detach(),
        samples,
        front: pred.dim(1)? - rows,
        rows,
        pixels,
        norm_pix,
    };
    let total = loss.forward()?;
    let value = total.narrow(0, 0, 1)?.reshape(())?;
    node("pixel-loss", &[pred], value, move |gradient| {
        Ok(vec![Some(loss.backward(&total, gradient)?)])
    })
}

impl Loss {
    fn sizes(&self) -> Result<[Argument; 5]> {
        Ok([
            Argument::int(self.samples)?,
            Argument::int(self.front)?,
            Argument::int(self.rows)?,
            Argument::int(self.pixels)?,
            Argument::Int(i32::from(self.norm_pix)),
        ])
    }

    /// The loss, and one over the weights' sum.
    fn forward(&self) -> Result<Tensor> {
        let count = self.samples * self.rows;
        let errors = self.place.unset(count, DType::F32)?;
        let total = self.place.unset(2, DType::F32)?;
        let weights = Address(address(&self.weights, DType::F32)?);
        let of_errors = Address(address(&errors, DType::F32)?);
        let mut arguments = vec![
            Address(address(&self.pred, DType::F32)?),
            Address(address(&self.patches, DType::F32)?),
            weights,
            of_errors,
        ];
        arguments.extend(self.sizes()?);
        let geometry = Geometry::blocks(count.div_ceil(4), 128);
        let of_total =
            [of_errors, weights, Address(address(&total, DType::F32)?), Argument::int(count)?];
        // SAFETY: `pixel_errors(pred, patches, weights, errors, samples, front, rows, pixels, norm_pix)` and
        // `pixel_loss_total(errors, weights, out, count)`, of these sizes.
        unsafe {
            launch(&self.place, "pixel_errors", geometry, &arguments)?;
            launch(&self.place, "pixel_loss_total", Geometry::blocks(1, 256), &of_total)?;
        }
        Ok(total)
    }

    fn backward(&self, total: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let out = self.place.unset(self.pred.shape(), DType::F32)?;
        let mut arguments = vec![
            Address(address(&self.pred, DType::F32)?),
            Address(address(&self.patches, DType::F32)?),
            Address(address(&self.weights, DType::F32)?),
            Address(address(total, DType::F32)?),
            Address(address(gradient, DType::F32)?),
            Address(address(&out, DType::F32)?),
        ];
        arguments.extend(self.sizes()?);
        let rows = self.samples * (self.front + self.rows);
        let geometry = Geometry::blocks(rows.div_ceil(4), 128);
        // SAFETY: `pixel_backward(pred, patches, weights, out_total, dloss, dpred, samples, front, rows, pixels, norm_pix)`,
        // of these sizes.
        unsafe { launch(&self.place, "pixel_backward", geometry, &arguments)? };
        Ok(out)
    }
}
