use super::boxes::{Corners, clip, has_inside};
use super::nms::nms;
use super::paste::paste;

/// What of all judged boxes is given as detections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    /// A box of a class counts if it is likelier than this.
    pub score: f32,
    /// Overlap within a class above which the worse of two is dropped.
    pub nms: f32,
    /// Most detections of an image.
    pub most: usize,
}

impl Default for Selection {
    /// COCO's usual ones, which detectron2 has.
    fn default() -> Self {
        Self { score: 0.05, nms: 0.5, most: 100 }
    }
}

/// An object that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Where, in pixels of the model's input.
    pub corners: Corners,
    /// What, counted from 0.
    pub class: u32,
    /// How likely.
    pub score: f32,
    /// How likely each of a square of pixels under the box belongs to it, row by row.
    pub mask: Option<Vec<f32>>,
}

impl Detection {
    /// The same object in an image of another size `(height, width)` than the model's input had, without what lies outside;
    /// none if nothing is left.
    pub fn resized(mut self, from: (usize, usize), to: (usize, usize)) -> Option<Self> {
        let (y, x) = (to.0 as f32 / from.0 as f32, to.1 as f32 / from.1 as f32);
        let [x1, y1, x2, y2] = self.corners;
        self.corners = clip([x1 * x, y1 * y, x2 * x, y2 * y], to);
        has_inside(self.corners).then_some(self)
    }

    /// The object's pixels in an image of `(height, width)`, row by row; none without a mask.
    pub fn pixels(&self, size: (usize, usize)) -> Option<Vec<bool>> {
        self.mask.as_ref().map(|mask| paste(mask, self.corners, size))
    }
}

/// The best boxes of an image of `size`: for each box its likelihoods, background's last, and one box or one a class.
pub(super) fn select(
    boxes: &[&[Corners]],
    scores: &[&[f32]],
    size: (usize, usize),
    selection: &Selection,
) -> Vec<Detection> {
    let (mut corners, mut likely, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    for (boxes, scores) in boxes.iter().zip(scores) {
        let finite = boxes.iter().flatten().chain(*scores).all(|x| x.is_finite());
        let objects = scores.len().saturating_sub(1);
        for (class, score) in scores[..objects].iter().enumerate() {
            if finite && *score > selection.score {
                corners.push(clip(boxes[class % boxes.len()], size));
                likely.push(*score);
                classes.push(class as u32);
            }
        }
    }
    let mut kept = nms(&corners, &likely, &classes, selection.nms);
    kept.truncate(selection.most);
    let detection = |i: usize| Detection {
        corners: corners[i],
        class: classes[i],
        score: likely[i],
        mask: None,
    };
    kept.into_iter().map(detection).collect()
}
