//! What a detector finds in all images of a dataset.

use std::sync::Arc;

use longmae_data::rle::Rle;
use longmae_data::transform::detection::DetectionEval;
use longmae_data::{Coco, Size};
use longmae_finetune::detect::coco_eval::Detection;
use longmae_finetune::detect::{Detection as Found, Detector};
use longmae_train::{Collective, Status};
use serde::{Deserialize, Serialize};

use super::batch::eval_loader;
use super::categories::Ids;
use crate::run::Common;

/// The images to find objects in, and what they call the categories.
#[derive(Clone)]
pub struct Sought {
    pub images: Arc<Coco>,
    pub ids: Ids,
}

impl Sought {
    /// What a detector finds in this rank's share of the images.
    fn share(
        &self,
        detector: &Detector,
        transform: &DetectionEval,
        common: &Common,
    ) -> anyhow::Result<Vec<Detection>> {
        let mut loader = eval_loader(&self.images, transform, common)?;
        let mut all = Vec::new();
        while let Some(batch) = loader.next_batch() {
            let batch = batch?;
            let images = batch.images.to_device(detector.backbone().device())?;
            let found = detector.detect(&images, &batch.sizes)?;
            for (i, found) in found.into_iter().enumerate() {
                let image = self.images.image_id(batch.indices[i]).unwrap_or_default();
                let seen = Seen { image, content: batch.sizes[i], file: batch.files[i] };
                for found in found {
                    all.extend(seen.detection(found, &self.ids)?);
                }
            }
        }
        Ok(all)
    }

    /// What it finds in all images, on all ranks the same.
    pub fn all(
        &self,
        detector: &Detector,
        transform: &DetectionEval,
        common: &Common,
        collective: &dyn Collective,
    ) -> anyhow::Result<Vec<Detection>> {
        let own = self.share(detector, transform, common);
        if collective.world() == 1 {
            return own;
        }
        let failure = own.as_ref().err().map(|error| format!("{error:#}"));
        let agreed = Status { failure, ..Status::default() }.agree(collective);
        let own = own?;
        agreed?;
        let sent: Vec<Sent> = own.iter().map(Sent::new).collect();
        let mut all = Vec::new();
        for bytes in collective.gather_bytes(serde_json::to_vec(&sent)?)? {
            for sent in serde_json::from_slice::<Vec<Sent>>(&bytes)? {
                all.push(sent.detection()?);
            }
        }
        // As one process alone finds them.
        all.sort_by_key(|found| found.image_id);
        Ok(all)
    }
}

/// An image as a detector saw it.
pub struct Seen {
    /// Its number.
    pub image: i64,
    /// `(height, width)` within the detector's input.
    pub content: (usize, usize),
    /// `(height, width)` of the file.
    pub file: (usize, usize),
}

impl Seen {
    /// What was found, in pixels of the file; none if nothing is left of it, or other data lacks the category.
    pub fn detection(&self, found: Found, ids: &Ids) -> anyhow::Result<Option<Detection>> {
        let Some(category_id) = ids.get(found.class as usize).copied().flatten() else {
            return Ok(None);
        };
        let Some(found) = found.resized(self.content, self.file) else { return Ok(None) };
        let size = Size::new(self.file.0, self.file.1)?;
        let mask = match found.pixels(self.file) {
            Some(pixels) => {
                let bitmap: Vec<u8> = pixels.into_iter().map(u8::from).collect();
                Some(Arc::new(Rle::from_bitmap(&bitmap, size)?))
            }
            None => None,
        };
        let [x1, y1, x2, y2] = found.corners.map(f64::from);
        let bbox = [x1, y1, x2 - x1, y2 - y1];
        let score = f64::from(found.score);
        Ok(Some(Detection { image_id: self.image, category_id, score, bbox, mask }))
    }
}

/// A detection as ranks send it to each other.
#[derive(Serialize, Deserialize)]
struct Sent {
    image_id: i64,
    category_id: i64,
    score: f64,
    bbox: [f64; 4],
    mask: Option<([usize; 2], Vec<u32>)>,
}

impl Sent {
    fn new(found: &Detection) -> Self {
        let mask = found.mask.as_ref();
        let Detection { image_id, category_id, score, bbox, .. } = *found;
        let mask =
            mask.map(|mask| ([mask.size().height, mask.size().width], mask.counts().to_vec()));
        Self { image_id, category_id, score, bbox, mask }
    }

    fn detection(self) -> anyhow::Result<Detection> {
        let Self { image_id, category_id, score, bbox, mask } = self;
        let rle = |([height, width], counts): ([usize; 2], Vec<u32>)| {
            Rle::new(counts, Size::new(height, width)?).map(Arc::new)
        };
        Ok(Detection { image_id, category_id, score, bbox, mask: mask.map(rle).transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_as_it_was() {
        let size = Size::new(3, 4).unwrap();
        let mask = Rle::from_bitmap(&[0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0], size).unwrap();
        let found = Detection {
            image_id: 7,
            category_id: -3,
            score: f64::from(0.1_f32),
            bbox: [1.0 / 3.0, 0.0, 1e-7, 5.5],
            mask: Some(Arc::new(mask)),
        };
        let text = serde_json::to_vec(&Sent::new(&found)).unwrap();
        let again = serde_json::from_slice::<Sent>(&text).unwrap().detection().unwrap();
        assert_eq!(format!("{found:?}"), format!("{again:?}"));
    }

    #[test]
    fn boxes_come_back_to_the_files_pixels() {
        let seen = Seen { image: 5, content: (50, 100), file: (100, 200) };
        let found = |corners, class| Found { corners, class, score: 0.5, mask: None };
        let ids = vec![Some(11), None];
        let moved = seen.detection(found([10.0, 5.0, 20.0, 60.0], 0), &ids).unwrap().unwrap();
        assert_eq!(
            (moved.bbox, moved.category_id, moved.image_id),
            ([20.0, 10.0, 20.0, 90.0], 11, 5)
        );
        assert!(seen.detection(found([10.0, 5.0, 20.0, 60.0], 1), &ids).unwrap().is_none());
        assert!(seen.detection(found([110.0, 5.0, 120.0, 60.0], 0), &ids).unwrap().is_none());
    }
}
