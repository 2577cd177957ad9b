//! Times COCO's evaluation: reading annotations and results, and what follows to the twelve figures.
//!
//! `coco_eval ANNOTATIONS RESULTS bbox|segm` prints one JSON line. `RAYON_NUM_THREADS` sets the number of threads.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use longmae_finetune::detect::coco_eval::{Detections, GroundTruth, IouType};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("expected annotations, results and bbox or segm");
    let (annotations, results) = (next()?, next()?);
    let iou_type = match next()?.as_str() {
        "bbox" => IouType::Bbox,
        "segm" => IouType::Segm,
        other => return Err(format!("{other}: expected bbox or segm").into()),
    };
    let began = Instant::now();
    let truth = GroundTruth::read(&annotations, iou_type)?;
    let found = Detections::read(&truth, &results)?;
    let read = began.elapsed().as_secs_f64();
    let stats = truth.evaluate(&found).stats();
    let evaluate = began.elapsed().as_secs_f64() - read;
    writeln!(
        std::io::stdout(),
        r#"{{"read":{read:.4},"evaluate":{evaluate:.4},"stats":{stats:?}}}"#
    )?;
    Ok(())
}
