use crate::{Error, Result};

/// How an image is cut: rows and columns of square patches.
///
/// ```
/// use longmae_patching::PatchGrid;
/// # fn main() -> longmae_patching::Result<()> {
/// let grid = PatchGrid::new((448, 448), 16)?;
/// assert_eq!(grid.len(), 784);
/// assert!(PatchGrid::new((224, 224), 15).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PatchGrid {
    rows: usize,
    cols: usize,
    patch: usize,
}

impl PatchGrid {
    /// Cuts an image of `(height, width)` pixels into patches of `patch` x `patch` pixels.
    ///
    /// # Errors
    /// When a size is zero or the patch size does not divide both sides.
    pub fn new((height, width): (usize, usize), patch: usize) -> Result<Self> {
        if height == 0 || width == 0 || patch == 0 {
            return Err(Error::Empty { height, width, patch });
        }
        if !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            let fitting = fitting_sizes(height, width, patch);
            return Err(Error::Indivisible { height, width, patch, fitting });
        }
        Ok(Self { rows: height / patch, cols: width / patch, patch })
    }

    /// Patches from top to bottom.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Patches from left to right.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Side of a patch in pixels (p).
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// Number of patches, the sequence length L (without a class token).
    #[allow(clippy::len_without_is_empty, reason = "a grid always has patches")]
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Image size in pixels, `(height, width)`.
    pub fn image_size(&self) -> (usize, usize) {
        (self.rows * self.patch, self.cols * self.patch)
    }

    /// The grid of `factor` x `factor` times larger patches over the same image, or none if they do not fit.
    pub fn coarser(&self, factor: usize) -> Option<Self> {
        let fits =
            factor > 0 && self.rows.is_multiple_of(factor) && self.cols.is_multiple_of(factor);
        fits.then(|| Self {
            rows: self.rows / factor,
            cols: self.cols / factor,
            patch: self.patch * factor,
        })
    }
}

/// The patch sizes nearest to the one asked for that divide both sides.
fn fitting_sizes(height: usize, width: usize, patch: usize) -> String {
    let side = height.min(width);
    let mut sizes: Vec<usize> =
        (1..=side).filter(|p| height.is_multiple_of(*p) && width.is_multiple_of(*p)).collect();
    sizes.sort_by_key(|p| p.abs_diff(patch));
    sizes.truncate(4);
    sizes.sort_unstable();
    let words: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    words.join(", ")
}
