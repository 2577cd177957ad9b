use crate::buffer::{Lines, padded};
use crate::element::Element;
use crate::gemm::RowScale;
use crate::matrix::{Rows, RowsMut};
use crate::rows::convert::convert;

/// What a layer gives or takes, row by row, with a stride that suits the kernels.
pub(crate) struct Activation<T> {
    data: Lines<T>,
    rows: usize,
    cols: usize,
}

impl<T: Element> Activation<T> {
    /// Room for one; a kernel must write it before it is read.
    pub fn unset(rows: usize, cols: usize) -> Self {
        Self { data: Lines::unset(rows * padded::<T>(cols)), rows, cols }
    }

    /// A copy of `x` in another precision, times a factor for each row.
    pub fn of(x: Rows<'_, f32>, scale: Option<RowScale<'_>>) -> Self {
        let mut copy = Self::unset(x.rows(), x.cols());
        convert(x, scale, copy.rows_mut());
        copy
    }

    pub fn rows(&self) -> Rows<'_, T> {
        Rows::new(&self.data, self.rows, self.cols, padded::<T>(self.cols))
    }

    pub fn rows_mut(&mut self) -> RowsMut<'_, T> {
        RowsMut::new(&mut self.data, self.rows, self.cols, padded::<T>(self.cols))
    }
}
