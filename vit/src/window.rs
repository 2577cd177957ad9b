use candle_core::Tensor;

use crate::Result;

/// Square windows over a grid of tokens, from the upper left corner on; those that reach over the border are filled with
/// zeros (detectron2's `window_partition`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// Rows and columns of tokens.
    pub grid: (usize, usize),
    pub side: usize,
}

impl Windows {
    /// Windows from top to bottom and from left to right.
    fn counts(&self) -> (usize, usize) {
        (self.grid.0.div_ceil(self.side), self.grid.1.div_ceil(self.side))
    }

    /// Tokens `[batch, rows * cols, dim]` to `[batch * windows, side * side, dim]`.
    pub fn cut(&self, x: &Tensor) -> Result<Tensor> {
        let ((rows, cols), side, (down, across)) = (self.grid, self.side, self.counts());
        let (batch, _, dim) = x.dims3()?;
        let x = x.reshape((batch, rows, cols, dim))?;
        let x = x.pad_with_zeros(1, 0, down * side - rows)?;
        let x = x.pad_with_zeros(2, 0, across * side - cols)?;
        let x = x.reshape((batch * down, side, across, side, dim))?.transpose(1, 2)?;
        Ok(x.contiguous()?.reshape((batch * down * across, side * side, dim))?)
    }

    /// The way back; what filled windows is cut off.
    pub fn join(&self, x: &Tensor, batch: usize) -> Result<Tensor> {
        let ((rows, cols), side, (down, across)) = (self.grid, self.side, self.counts());
        let dim = x.dim(2)?;
        let x = x.reshape((batch * down, across, side, side, dim))?.transpose(1, 2)?;
        let x = x.contiguous()?.reshape((batch, down * side, across * side, dim))?;
        let x = x.narrow(1, 0, rows)?.narrow(2, 0, cols)?;
        Ok(x.contiguous()?.reshape((batch, rows * cols, dim))?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::Windows;

    #[test]
    fn windows_are_filled_with_zeros_and_joined_again() {
        let x = Tensor::arange(1f32, 13.0, &Device::Cpu).unwrap().reshape((2, 6, 1)).unwrap();
        let windows = Windows { grid: (2, 3), side: 2 };
        let cut = windows.cut(&x).unwrap();
        let values: Vec<Vec<f32>> = cut.squeeze(2).unwrap().to_vec2().unwrap();
        assert_eq!(values[0], [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(values[1], [3.0, 0.0, 6.0, 0.0]);
        assert_eq!(values[3], [9.0, 0.0, 12.0, 0.0]);
        let back = windows.join(&cut, 2).unwrap();
        let differ = back.ne(&x).unwrap().to_dtype(DType::F32).unwrap().sum_all().unwrap();
        assert_eq!(differ.to_scalar::<f32>().unwrap(), 0.0);
    }
}
