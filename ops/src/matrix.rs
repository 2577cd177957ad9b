//! Views of row-major matrices.

use std::marker::PhantomData;

use crate::element::Element;

/// A row-major matrix to read; `stride` numbers lie between the starts of two rows.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a, T: Element> Rows<'a, T> {
    /// # Panics
    /// When the matrix does not lie inside `data`.
    pub fn new(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(cols <= stride, "a row of {cols} is longer than its stride {stride}");
        let end = if rows == 0 { 0 } else { (rows - 1) * stride + cols };
        assert!(end <= data.len(), "a matrix of {end} numbers in {}", data.len());
        Self { data, rows, cols, stride }
    }

    /// A matrix without gaps.
    pub fn dense(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn stride(&self) -> usize {
        self.stride
    }

    pub fn row(&self, row: usize) -> &'a [T] {
        &self.data[row * self.stride..][..self.cols]
    }

    /// The rows from `start` on, `rows` of them, and of those the columns from `col` on.
    pub fn part(&self, start: usize, rows: usize, col: usize, cols: usize) -> Self {
        assert!(start + rows <= self.rows && col + cols <= self.cols, "a part outside the matrix");
        let first = if rows == 0 { 0 } else { start * self.stride + col };
        Self { data: &self.data[first..], rows, cols, stride: self.stride }
    }

    pub fn as_ptr(&self) -> *const T {
        self.data.as_ptr()
    }

    /// Asks the memory for all of it.
    pub fn prefetch(&self) {
        prefetch(self.data.as_ptr(), self.rows, self.cols, self.stride);
    }
}

/// Asks the memory for a matrix; nothing where there is no instruction for it.
fn prefetch<T>(first: *const T, rows: usize, cols: usize, stride: usize) {
    #[cfg(target_arch = "x86_64")]
    for row in 0..rows {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for col in (0..cols).step_by(64 / size_of::<T>()) {
            // SAFETY: a prefetch may name any address, and every x86-64 processor has it.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(row * stride + col).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, rows, cols, stride);
}

/// A row-major matrix that several tasks write, each its own part.
#[derive(Clone, Copy)]
pub(crate) struct RowsMut<'a, T> {
    data: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a plain address; every access is an unsafe method whose caller keeps tasks apart.
unsafe impl<T: Send> Send for RowsMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for RowsMut<'_, T> {}

impl<'a, T: Element> RowsMut<'a, T> {
    /// # Panics
    /// When the matrix does not lie inside `data`.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Self {
        let _ = Rows::new(data, rows, cols, stride);
        Self { data: data.as_mut_ptr(), rows, cols, stride, life: PhantomData }
    }

    /// A matrix without gaps.
    pub fn dense(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The rows from `start` on, `rows` of them, and of those the columns from `col` on.
    pub fn part(&self, start: usize, rows: usize, col: usize, cols: usize) -> Self {
        assert!(start + rows <= self.rows && col + cols <= self.cols, "a part outside the matrix");
        let first = if rows == 0 { 0 } else { start * self.stride + col };
        // SAFETY: the part lies inside the matrix, as just checked.
        let data = unsafe { self.data.add(first) };
        Self { data, rows, cols, ..*self }
    }

    /// Asks the memory for all of it.
    pub fn prefetch(&self) {
        prefetch(self.data.cast_const(), self.rows, self.cols, self.stride);
    }

    /// `cols` numbers of a row from column `col` on.
    ///
    /// # Safety
    /// No other task may touch them meanwhile.
    #[allow(clippy::mut_from_ref, reason = "tasks write disjoint parts of one matrix")]
    #[inline(always)]
    pub unsafe fn row(&self, row: usize, col: usize, cols: usize) -> &mut [T] {
        assert!(row < self.rows && col + cols <= self.cols, "a row outside the matrix");
        // SAFETY: inside the matrix, as just checked; alone with it, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride + col), cols) }
    }
}

/// A slice that several tasks write, each its own part.
pub(crate) struct SharedMut<T>(*mut T, usize);

// SAFETY: it is a plain address; the one access is unsafe and its caller keeps tasks apart.
unsafe impl<T: Send> Sync for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedMut<T> {}

impl<T> SharedMut<T> {
    pub fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr(), slice.len())
    }

    /// # Safety
    /// The slice must still be borrowed for this, and no other task touch the part meanwhile.
    #[allow(clippy::mut_from_ref, reason = "tasks write disjoint parts of one slice")]
    pub unsafe fn part(&self, start: usize, end: usize) -> &mut [T] {
        assert!(start <= end && end <= self.1, "a part outside the slice");
        // SAFETY: inside the slice, as just checked; alone with it, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), end - start) }
    }
}
