//! The figures: pycocotools' `summarize`.

use longmae_data::CocoCategory;

use super::accumulate::{Curve, Curves};
use super::settings::{Area, IouType, RECALLS, THRESHOLDS};

/// The names of the twelve figures, in pycocotools' order: average precision, at thresholds of 0.5 and 0.75, of small,
/// medium and large objects; average recall of 1, 10 and 100 detections an image, and of small, medium and large objects.
pub const STATS: [&str; 12] =
    ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];

/// What pycocotools gives where there is nothing to find.
const NOTHING: f64 = -1.0;

/// How good the detections are.
#[derive(Clone, Debug)]
pub struct Evaluation {
    iou_type: IouType,
    categories: Vec<CocoCategory>,
    /// Of each category.
    curves: Vec<Curves>,
}

impl Evaluation {
    pub(super) fn new(
        iou_type: IouType,
        categories: Vec<CocoCategory>,
        curves: Vec<Curves>,
    ) -> Self {
        Self { iou_type, categories, curves }
    }

    /// Whether boxes or masks were compared.
    pub fn iou_type(&self) -> IouType {
        self.iou_type
    }

    /// The twelve figures that [`STATS`] names, from 0 to 1; -1 where there is no object of that size.
    pub fn stats(&self) -> [f64; 12] {
        let all = 0..THRESHOLDS;
        let [ap, small, medium, large] = Area::EACH.map(|area| self.ap(area, all.clone()));
        let [_, recall_small, recall_medium, recall_large] =
            Area::EACH.map(|area| self.recall(area, 2));
        let [one, ten, hundred] = [0, 1, 2].map(|most| self.recall(Area::All, most));
        let (half, strict) = (self.ap(Area::All, 0..1), self.ap(Area::All, 5..6));
        [
            ap,
            half,
            strict,
            small,
            medium,
            large,
            one,
            ten,
            hundred,
            recall_small,
            recall_medium,
            recall_large,
        ]
    }

    /// Each category with its average precision over all thresholds; -1 where there is no object.
    pub fn per_category(&self) -> impl Iterator<Item = (&CocoCategory, f64)> {
        let aps = self
            .curves
            .iter()
            .map(|curves| mean(curves[0].iter().flat_map(|curve| curve.precision.as_flattened())));
        self.categories.iter().zip(aps)
    }

    /// The precision of a category, by its index, at each threshold and recall, 100 detections an image: what
    /// pycocotools has in `eval["precision"][:, :, category, area, -1]`. None where there is no object of that size.
    pub fn precision(&self, category: usize, area: Area) -> Option<&[[f64; RECALLS]; THRESHOLDS]> {
        let curve = self.curves.get(category)?[area as usize].as_ref()?;
        Some(&curve.precision)
    }

    fn ap(&self, area: Area, thresholds: std::ops::Range<usize>) -> f64 {
        mean(self.curves(area).flat_map(|curve| curve.precision[thresholds.clone()].as_flattened()))
    }

    /// The average recall of 1, 10 or 100 detections an image.
    fn recall(&self, area: Area, most: usize) -> f64 {
        mean(self.curves(area).flat_map(|curve| curve.recall.iter().map(move |row| &row[most])))
    }

    fn curves(&self, area: Area) -> impl Iterator<Item = &Curve> {
        self.curves.iter().filter_map(move |curves| curves[area as usize].as_deref())
    }
}

fn mean<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { NOTHING } else { sum / count as f64 }
}
