//! Which detection is which object, at each threshold and for each range of areas: pycocotools' `evaluateImg`.

use std::ops::Range;

use rayon::prelude::*;

use super::detections::Found;
use super::settings::{Area, THRESHOLDS, iou_threshold};
use super::truth::Object;

/// The fewest pairs of images and categories that a task takes on.
const LEAST: usize = 64;

/// What has become of a category's objects and detections.
#[derive(Clone, Debug, Default)]
pub(super) struct Matches {
    /// Image by image, by falling score.
    pub outcomes: Vec<Outcome>,
    /// For each range of areas, how many objects there are to find.
    pub objects: [usize; 4],
}

/// What has become of a detection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub score: f64,
    /// How many of its image and category have a better score.
    pub rank: u32,
    /// For each range of areas a bit a threshold: whether an object was found.
    pub matched: [u16; 4],
    /// Likewise: whether it counts neither as right nor as wrong.
    pub ignored: [u16; 4],
}

/// The objects and detections of one image and category.
struct Pair<'a> {
    objects: &'a [Object],
    found: &'a [Found],
}

/// Matches a category, image by image.
pub(super) fn match_category(objects: &[Object], found: &[Found]) -> Matches {
    let each = pairs(objects, found).into_par_iter().with_min_len(LEAST);
    // In the order of the images, whatever the threads do.
    let matched: Vec<Matches> = each.map(|pair| pair.matches()).collect();
    let mut all = Matches::default();
    all.outcomes.reserve(found.len());
    for one in matched {
        all.outcomes.extend(one.outcomes);
        for (sum, count) in all.objects.iter_mut().zip(one.objects) {
            *sum += count;
        }
    }
    all
}

/// The images that have an object or a detection, in order.
fn pairs<'a>(objects: &'a [Object], found: &'a [Found]) -> Vec<Pair<'a>> {
    let (mut pairs, mut object, mut detection) = (Vec::new(), 0, 0);
    loop {
        let next = [objects.get(object).map(|o| o.image), found.get(detection).map(|f| f.image)];
        let Some(image) = next.into_iter().flatten().min() else { return pairs };
        let of_objects = run(object, objects, |object| object.image == image);
        let of_found = run(detection, found, |found| found.image == image);
        (object, detection) = (of_objects.end, of_found.end);
        pairs.push(Pair { objects: &objects[of_objects], found: &found[of_found] });
    }
}

/// Where the items from `start` on stay of one kind.
fn run<T>(start: usize, items: &[T], same: impl Fn(&T) -> bool) -> Range<usize> {
    start..start + items[start..].iter().take_while(|item| same(item)).count()
}

impl Pair<'_> {
    fn matches(&self) -> Matches {
        let outcome = |(rank, found): (usize, &Found)| Outcome {
            score: found.score,
            rank: rank as u32,
            matched: [0; 4],
            ignored: [0; 4],
        };
        let mut outcomes: Vec<_> = self.found.iter().enumerate().map(outcome).collect();
        let overlaps = Overlaps::new(self);
        let objects = std::array::from_fn(|range| {
            let order = Order::new(self.objects, Area::EACH[range]);
            if !overlaps.all_below() {
                for number in 0..THRESHOLDS {
                    self.match_at(number, range, &order, &overlaps, &mut outcomes);
                }
            }
            self.ignore_outside(range, &mut outcomes);
            order.counted
        });
        Matches { outcomes, objects }
    }

    /// Lets each detection, best score first, take the object that it overlaps most, of those that are left.
    fn match_at(
        &self,
        number: usize,
        range: usize,
        order: &Order,
        overlaps: &Overlaps,
        outcomes: &mut [Outcome],
    ) {
        let mut taken = vec![false; self.objects.len()];
        for (detection, outcome) in outcomes.iter_mut().enumerate() {
            let Some(place) = overlaps.best(detection, number, order, |object| {
                taken[object] && !self.objects[object].crowd
            }) else {
                continue;
            };
            let object = order.objects[place];
            taken[object] = true;
            // An id of 0 says in pycocotools that nothing was found.
            outcome.matched[range] |= u16::from(self.objects[object].id != 0) << number;
            outcome.ignored[range] |= u16::from(place >= order.counted) << number;
        }
    }

    /// What found nothing and is of another size than asked for does not count.
    fn ignore_outside(&self, range: usize, outcomes: &mut [Outcome]) {
        for (found, outcome) in self.found.iter().zip(outcomes) {
            if !Area::EACH[range].contains(found.area) {
                outcome.ignored[range] |= !outcome.matched[range];
            }
        }
    }
}

/// The order in which objects are looked at: first those that count, then crowds and those of other sizes.
struct Order {
    objects: Vec<usize>,
    /// How many of them count.
    counted: usize,
}

impl Order {
    fn new(objects: &[Object], area: Area) -> Self {
        let counts = |&index: &usize| {
            let object: &Object = &objects[index];
            !object.crowd && area.contains(object.area)
        };
        let (mut order, others): (Vec<_>, Vec<_>) = (0..objects.len()).partition(counts);
        let counted = order.len();
        order.extend(others);
        Self { objects: order, counted }
    }
}

/// How much each detection overlaps each object, `[detections, objects]`.
struct Overlaps {
    values: Vec<f64>,
    /// The most that each detection overlaps any object.
    most: Vec<f64>,
    objects: usize,
}

impl Overlaps {
    fn new(pair: &Pair<'_>) -> Self {
        let objects = pair.objects.len();
        let row = |found: &Found| {
            let overlap = |object: &Object| found.region.iou(&object.region, object.crowd);
            pair.objects.iter().map(overlap).collect::<Vec<_>>()
        };
        let values: Vec<f64> = pair.found.iter().flat_map(row).collect();
        let most = |row: &[f64]| row.iter().copied().fold(0.0, f64::max);
        let most = values.chunks(objects.max(1)).map(most).collect();
        Self { values, most, objects }
    }

    /// Whether nothing overlaps enough to be found at any threshold.
    fn all_below(&self) -> bool {
        self.most.iter().all(|&most| most < iou_threshold(0))
    }

    /// Where in the order the object is that a detection takes: of equal ones the last; and one that does not count only if
    /// there is none that does.
    fn best(
        &self,
        detection: usize,
        number: usize,
        order: &Order,
        is_taken: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut least = iou_threshold(number);
        if self.most[detection] < least {
            return None;
        }
        let row = &self.values[detection * self.objects..][..self.objects];
        let mut best = None;
        for (place, &object) in order.objects.iter().enumerate() {
            if place >= order.counted && best.is_some_and(|best| best < order.counted) {
                break;
            }
            if row[object] >= least && !is_taken(object) {
                (least, best) = (row[object], Some(place));
            }
        }
        best
    }
}
