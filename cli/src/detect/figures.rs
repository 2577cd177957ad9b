//! How good a detector is: COCO's figures of its boxes and masks.

use anyhow::Context;
use longmae_data::Coco;
use longmae_finetune::detect::coco_eval::{
    Detection, Detections, Evaluation, GroundTruth, IouType, STATS,
};
use serde_json::{Value, json};

/// What there is to find in a dataset.
pub struct Truth {
    images: usize,
    bbox: GroundTruth,
    segm: Option<GroundTruth>,
}

impl Truth {
    /// The boxes of a dataset, and the masks too if a detector has them.
    pub fn new(coco: &Coco, masks: bool) -> anyhow::Result<Self> {
        let annotations = coco.annotations()?;
        let segm = || GroundTruth::new(&annotations, IouType::Segm);
        Ok(Self {
            images: annotations.images.len(),
            bbox: GroundTruth::new(&annotations, IouType::Bbox)?,
            segm: masks
                .then(segm)
                .transpose()
                .context("masks cannot be compared (--masks false compares boxes alone)")?,
        })
    }

    /// Compares what was found with it.
    pub fn score(&self, found: &[Detection]) -> anyhow::Result<Figures> {
        let evaluate = |truth: &GroundTruth| -> anyhow::Result<Evaluation> {
            Ok(truth.evaluate(&Detections::new(truth, found.to_vec())?))
        };
        Ok(Figures {
            images: self.images,
            bbox: evaluate(&self.bbox)?,
            segm: self.segm.as_ref().map(evaluate).transpose()?,
        })
    }
}

/// COCO's figures.
pub struct Figures {
    images: usize,
    bbox: Evaluation,
    segm: Option<Evaluation>,
}

/// What goes into a run's metrics: names, and which of the twelve figures.
const BOX: [(&str, usize); 3] = [("box_ap", 0), ("box_ap50", 1), ("box_ap75", 2)];
const MASK: [(&str, usize); 3] = [("mask_ap", 0), ("mask_ap50", 1), ("mask_ap75", 2)];

impl Figures {
    fn each(&self) -> impl Iterator<Item = &Evaluation> {
        std::iter::once(&self.bbox).chain(&self.segm)
    }

    /// The most important ones by name; -1 where there is nothing to find.
    pub fn values(&self) -> Vec<(&'static str, f64)> {
        let named = |names: [(&'static str, usize); 3], of: &Evaluation| {
            let stats = of.stats();
            names.map(|(name, at)| (name, stats[at]))
        };
        let mut values = named(BOX, &self.bbox).to_vec();
        values.extend(self.segm.iter().flat_map(|segm| named(MASK, segm)));
        values
    }

    /// The twelve figures of boxes and masks side by side, a line each.
    pub fn lines(&self) -> Vec<String> {
        let heads: Vec<String> = self
            .each()
            .map(|evaluation| format!("{:>7}", evaluation.iou_type().to_string()))
            .collect();
        let mut lines = vec![format!("{:<6} {}", "", heads.join(" "))];
        for (i, stat) in STATS.iter().enumerate() {
            let values = self.each().map(|evaluation| format!("{:>7.4}", evaluation.stats()[i]));
            lines.push(format!("{:<6} {}", stat.name, values.collect::<Vec<_>>().join(" ")));
        }
        lines
    }

    /// One line for the terminal.
    pub fn line(&self) -> String {
        let of = |evaluation: &Evaluation| {
            let stats = evaluation.stats();
            let what = match evaluation.iou_type() {
                IouType::Bbox => "boxes",
                IouType::Segm => "masks",
            };
            format!("{what} AP {:.4}, AP50 {:.4}, AP75 {:.4}", stats[0], stats[1], stats[2])
        };
        let all: Vec<String> = self.each().map(of).collect();
        format!("{} on {} images", all.join("; "), self.images)
    }

    /// Everything, each category too.
    pub fn json(&self) -> Value {
        let of = |evaluation: &Evaluation| {
            let category = evaluation.per_category().map(
                |(category, ap)| json!({ "id": category.id, "name": category.name, "ap": ap }),
            );
            let stats: serde_json::Map<String, Value> = STATS
                .iter()
                .zip(evaluation.stats())
                .map(|(stat, value)| (stat.name.to_owned(), value.into()))
                .collect();
            json!({
                "stats": evaluation.stats(),
                "figures": stats,
                "per_category": category.collect::<Vec<_>>(),
            })
        };
        let mut all = json!({ "images": self.images, "bbox": of(&self.bbox) });
        if let Some(segm) = &self.segm {
            all["segm"] = of(segm);
        }
        all
    }
}
