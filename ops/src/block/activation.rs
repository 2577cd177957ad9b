use crate::buffer::{padded, unset};
use crate::element::Element;
use crate::matrix::{Rows, RowsMut};

/// What a layer gives, row by row, with a stride that suits the kernels.
pub(super) struct Activation<T> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
}

impl<T: Element> Activation<T> {
    /// Room for one; a kernel must write it before it is read.
    pub fn unset(rows: usize, cols: usize) -> Self {
        Self { data: unset(rows * padded::<T>(cols)), rows, cols }
    }

    pub fn rows(&self) -> Rows<'_, T> {
        Rows::new(&self.data, self.rows, self.cols, padded::<T>(self.cols))
    }

    pub fn rows_mut(&mut self) -> RowsMut<'_, T> {
        RowsMut::new(&mut self.data, self.rows, self.cols, padded::<T>(self.cols))
    }
}
