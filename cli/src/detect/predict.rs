//! `--predict`: what a detector finds in images, drawn and listed.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::Tensor;
use longmae_data::rng::{Purpose, stream};
use longmae_data::{Image, Picture, Pixels, Size, Transform};
use longmae_finetune::detect::coco_eval::Detection;
use longmae_report::{DrawnObject, RgbImage, draw_objects, write_atomic, write_png};

use super::evaluate::Seen;
use super::flags::Flags;
use super::open::Opened;
use super::results::{entry, list};
use crate::exit::usage;
use crate::output::line;
use crate::reconstruct::find;
use crate::run;
use crate::terminal::plural;

/// What was found in all images.
const PREDICTIONS: &str = "predictions.json";

/// Draws what is likelier than `score`, a picture an image, and lists everything.
pub fn run(args: &run::Args<Flags>, images: &[PathBuf], score: f32) -> anyhow::Result<()> {
    let Some(out) = args.out() else {
        return Err(usage("--predict needs --out, the folder for pictures and predictions.json"));
    };
    let opened = Opened::new(args, "", "--predict")?;
    let files = find(images)?;
    run::prepare_out(out)?;
    let mut names = Names::default();
    let mut all = Vec::new();
    for file in &files {
        let (image, found) = opened.find(file).with_context(|| file.display().to_string())?;
        let drawn: Vec<&Detection> =
            found.iter().filter(|found| found.score > f64::from(score)).collect();
        let picture = out.join(names.png(file));
        write_png(&picture, &draw_objects(rgb(&image)?, &opened.objects(&drawn)))?;
        let drawn = plural(drawn.len() as u64, "object");
        line(format!("{}  {drawn}: {}", file.display(), picture.display()));
        all.extend(found.iter().map(|found| {
            let mut line = entry(found);
            line.insert("file_name".to_owned(), file.display().to_string().into());
            line.insert("category".to_owned(), opened.name(found).into());
            line
        }));
    }
    let path = out.join(PREDICTIONS);
    write_atomic(&path, list(all).as_bytes()).with_context(|| path.display().to_string())?;
    line(format!("{}: {}", path.display(), plural(files.len() as u64, "image")));
    Ok(())
}

impl Opened {
    /// The image of a file and what is found in it.
    fn find(&self, file: &Path) -> anyhow::Result<(Image, Vec<Detection>)> {
        let picture = Picture::encoded(fs::read(file)?, self.settings.common.decode);
        let Size { height, width } = picture.size()?;
        // Nothing of the transform is random.
        let transform = &self.settings.evaluation;
        let input = transform.apply(&picture, &mut stream(0, 0, 0, Purpose::Crop))?;
        let shape = (1, input.channels, input.height, input.width);
        let input = Tensor::from_vec(input.data, shape, self.detector.backbone().device())?;
        let content = transform.content(Size { height, width });
        let content = (content.height, content.width);
        let seen = Seen { image: 0, content, file: (height, width) };
        let ids = self.categories.0.iter().map(|category| Some(category.id)).collect();
        let found = self.detector.detect(&input, &[content])?.into_iter().flatten();
        let found = found.filter_map(|found| seen.detection(found, &ids).transpose());
        let found = found.collect::<anyhow::Result<Vec<_>>>()?;
        Ok((picture.into_image()?, found))
    }

    fn name(&self, found: &Detection) -> &str {
        let category = self.categories.0.iter().find(|own| own.id == found.category_id);
        category.map_or("", |category| category.name.as_str())
    }

    /// What is drawn, the best on top.
    fn objects(&self, found: &[&Detection]) -> Vec<DrawnObject> {
        let object = |found: &&Detection| {
            let place = self.categories.0.iter().position(|own| own.id == found.category_id);
            let [x, y, width, height] = found.bbox.map(|side| side as f32);
            DrawnObject {
                label: format!("{} {:.0}%", self.name(found), 100.0 * found.score),
                colour: place.unwrap_or_default(),
                corners: [x, y, x + width, y + height],
                mask: found.mask.as_ref().map(|mask| mask.to_bitmap()),
            }
        };
        found.iter().rev().map(object).collect()
    }
}

/// Names of pictures: the images' own, each once.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    fn png(&mut self, file: &Path) -> String {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let numbered = (2..).map(|number| format!("{stem}-{number}.png"));
        let mut names = std::iter::once(format!("{stem}.png")).chain(numbered);
        // One of endless names is free.
        let name = names.find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(name.clone());
        name
    }
}

/// An image as it is shown: of many bands the first three, of fewer the first as grey.
fn rgb(image: &Image) -> anyhow::Result<RgbImage> {
    let bands = if image.channels < 3 { [0; 3] } else { [0, 1, 2] };
    let pixels = 0..image.height * image.width;
    let sample = |at: usize| match &image.pixels {
        Pixels::U8(samples) => samples[at],
        // The cast cuts off what is outside of the range and turns NaN into 0.
        Pixels::F32(samples) => (samples[at] * 255.0).round() as u8,
    };
    let bytes = pixels.flat_map(|pixel| bands.map(|band| sample(pixel * image.channels + band)));
    RgbImage::from_raw(image.width as u32, image.height as u32, bytes.collect())
        .context("the image is too large to be drawn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_have_names_of_their_own() {
        let mut names = Names::default();
        let all = ["a/cat.jpg", "b/cat.png", "cat-2.jpg", "c/cat.jpg"];
        let found = all.map(|file| names.png(Path::new(file)));
        assert_eq!(found, ["cat.png", "cat-2.png", "cat-2-2.png", "cat-3.png"]);
    }

    #[test]
    fn any_image_can_be_shown() {
        let grey = Image::new(1, 2, 1, Pixels::U8(vec![7, 9])).unwrap();
        assert_eq!(rgb(&grey).unwrap().into_raw(), [7, 7, 7, 9, 9, 9]);
        let bands = Image::new(1, 1, 4, Pixels::F32(vec![0.0, 1.0, 2.0, f32::NAN])).unwrap();
        assert_eq!(rgb(&bands).unwrap().into_raw(), [0, 255, 255]);
    }
}
