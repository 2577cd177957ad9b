use super::boxes::Corners;

/// Boxes around every pixel of a pyramid's maps, of one size a map and several ratios (arXiv 1506.01497; detectron2's
/// `DefaultAnchorGenerator`).
#[derive(Debug, Clone, PartialEq)]
pub struct Anchors {
    /// Root of the area, in pixels of the image, for each map.
    pub sizes: Vec<f64>,
    /// Heights over widths.
    pub ratios: Vec<f64>,
    /// Pixels of the image to a pixel of each map.
    pub strides: Vec<usize>,
}

impl Anchors {
    /// ViTDet's for a backbone of this stride: 32 to 512 pixels (for 16) in three ratios on maps of a quarter of the stride
    /// to four times it.
    pub fn pyramid(stride: usize) -> Self {
        let strides: Vec<usize> = (0..5).map(|level| (stride << level) / 4).collect();
        let sizes = strides.iter().map(|stride| (8 * stride) as f64).collect();
        Self { sizes, ratios: vec![0.5, 1.0, 2.0], strides }
    }

    /// Those around the origin for a map.
    pub fn cell(&self, level: usize) -> Vec<Corners> {
        let area = self.sizes[level] * self.sizes[level];
        let around = |ratio: &f64| {
            let width = (area / ratio).sqrt();
            let (x, y) = ((width / 2.0) as f32, (ratio * width / 2.0) as f32);
            [-x, -y, x, y]
        };
        self.ratios.iter().map(around).collect()
    }

    /// Those of a map of `(height, width)` pixels: pixel after pixel, row by row, each with all ratios.
    pub fn of_map(&self, level: usize, (height, width): (usize, usize)) -> Vec<Corners> {
        let (cell, stride) = (self.cell(level), self.strides[level]);
        let mut all = Vec::with_capacity(height * width * cell.len());
        for pixel in 0..height * width {
            let (x, y) = ((pixel % width * stride) as f32, (pixel / width * stride) as f32);
            all.extend(cell.iter().map(|[x1, y1, x2, y2]| [x1 + x, y1 + y, x2 + x, y2 + y]));
        }
        all
    }
}
