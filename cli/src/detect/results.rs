//! Files of what was found, in COCO's format.

use std::path::Path;

use anyhow::Context;
use longmae_finetune::detect::coco_eval::{Detection, IouType, write_results};
use longmae_report::write_atomic;
use serde_json::{Map, Value, json};

use super::figures::Figures;

/// What was found in the validation data.
const RESULTS: &str = "results.json";
/// Its masks without boxes, from which pycocotools would take the areas.
const MASKS: &str = "results-segm.json";
const EVALUATION: &str = "evaluation.json";

/// A detection as a line of a file has it: box, and mask if there is one.
pub fn entry(found: &Detection) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("category_id".to_owned(), found.category_id.into());
    entry.insert("bbox".to_owned(), json!(found.bbox));
    entry.insert("score".to_owned(), json!(found.score));
    if let Some(mask) = &found.mask {
        let size = [mask.size().height, mask.size().width];
        let mask = json!({ "size": size, "counts": mask.to_compressed() });
        entry.insert("segmentation".to_owned(), mask);
    }
    entry
}

/// A JSON list, an entry a line.
pub fn list(entries: impl IntoIterator<Item = Map<String, Value>>) -> String {
    let lines: Vec<String> =
        entries.into_iter().map(|entry| Value::Object(entry).to_string()).collect();
    if lines.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", lines.join(",\n")) }
}

/// Writes `evaluation.json`, `results.json` (as detectron2 does, boxes and masks together) and, with masks,
/// `results-segm.json` into a folder; gives the names.
pub fn write(folder: &Path, figures: &Figures, found: &[Detection]) -> anyhow::Result<String> {
    let put = |name: &str, text: &[u8]| {
        let path = folder.join(name);
        write_atomic(&path, text).with_context(|| path.display().to_string())
    };
    put(EVALUATION, format!("{:#}\n", figures.json()).as_bytes())?;
    let entries = found.iter().map(|found| {
        let mut line = entry(found);
        line.insert("image_id".to_owned(), found.image_id.into());
        line
    });
    put(RESULTS, list(entries).as_bytes())?;
    if found.is_empty() || found.iter().any(|found| found.mask.is_none()) {
        return Ok([EVALUATION, RESULTS].join(", "));
    }
    let mut masks = Vec::new();
    write_results(&mut masks, found, IouType::Segm)?;
    put(MASKS, &masks)?;
    Ok([EVALUATION, RESULTS, MASKS].join(", "))
}
