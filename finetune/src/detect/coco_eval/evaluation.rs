//! The figures: pycocotools' `summarize`.

use longmae_data::CocoCategory;

use super::accumulate::Curves;
use super::settings::{Area, IouType, MAX_DETECTIONS, RECALLS, THRESHOLDS};

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its usual name.
    pub name: &'static str,
    /// Whether it is an average recall, else an average precision.
    pub recall: bool,
    /// The number of its threshold ([`iou_threshold`](super::iou_threshold)); all, if there is none.
    pub threshold: Option<usize>,
    /// The objects that count.
    pub area: Area,
    /// Which of [`MAX_DETECTIONS`] it takes.
    pub most: usize,
}

/// The twelve figures, in pycocotools' order.
pub const STATS: [Stat; 12] = [
    Stat::precision("AP", None, Area::All),
    Stat::precision("AP50", Some(0), Area::All),
    Stat::precision("AP75", Some(5), Area::All),
    Stat::precision("APs", None, Area::Small),
    Stat::precision("APm", None, Area::Medium),
    Stat::precision("APl", None, Area::Large),
    Stat::recall("AR1", 0, Area::All),
    Stat::recall("AR10", 1, Area::All),
    Stat::recall("AR100", 2, Area::All),
    Stat::recall("ARs", 2, Area::Small),
    Stat::recall("ARm", 2, Area::Medium),
    Stat::recall("ARl", 2, Area::Large),
];

impl Stat {
    const fn precision(name: &'static str, threshold: Option<usize>, area: Area) -> Self {
        Self { name, recall: false, threshold, area, most: MAX_DETECTIONS.len() - 1 }
    }

    const fn recall(name: &'static str, most: usize, area: Area) -> Self {
        Self { name, recall: true, threshold: None, area, most }
    }
}

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
        STATS.map(|stat| {
            let thresholds = stat.threshold.map_or(0..THRESHOLDS, |number| number..number + 1);
            let curves =
                self.curves.iter().filter_map(|curves| curves[stat.area as usize].as_deref());
            match stat.recall {
                true => mean(curves.flat_map(|curve| {
                    curve.recall[thresholds.clone()].iter().map(|row| &row[stat.most])
                })),
                false => mean(
                    curves.flat_map(|curve| curve.precision[thresholds.clone()].as_flattened()),
                ),
            }
        })
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
}

fn mean<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { NOTHING } else { sum / count as f64 }
}
