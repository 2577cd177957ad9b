//! `longmae visualize`: what an encoder makes of each patch, as a picture.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use candle_core::{Device, Tensor};
use longmae_data::rng::{Purpose, stream};
use longmae_data::{EvalTransform, Picture, Transform};
use longmae_finetune::Pca;
use longmae_ops::inference;
use longmae_report::{ImageSpec, MappedImage, PatchMap, patch_maps, write_png};
use longmae_vit::Backbone;

use crate::choice::one_of;
use crate::exit::usage;
use crate::features::{Encoder, EncoderFlags, Pool};
use crate::output::line;
use crate::reconstruct::find;
use crate::terminal::plural;

#[derive(clap::Args)]
pub struct Args {
    /// An encoder, or a whole model: a file in any layout, a run's or a checkpoint's folder, or hf://ORG/NAME[@REV][/FILE]
    #[arg(value_name = "WEIGHTS")]
    weights: String,
    /// Images, or folders of images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// The picture to write: a row an image
    #[arg(long, value_name = "PNG")]
    out: PathBuf,
    /// `pca` (patches of like features in like colours, over all images), or `attention` (of the class token, in the last
    /// block)
    #[arg(long, value_name = "KIND", default_value = "pca")]
    kind: String,
    #[command(flatten)]
    encoder: EncoderFlags,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    check(args)?;
    let encoder = Encoder::open(&args.weights, &args.encoder)?;
    let transform = encoder.transform(&args.encoder)?;
    let files = find(&args.images)?;
    encoder.lines().into_iter().for_each(line);
    let images = files
        .iter()
        .map(|file| read(file, &encoder, &transform).with_context(|| file.display().to_string()));
    let images = images.collect::<anyhow::Result<Vec<_>>>()?;
    let drawn = match args.kind.as_str() {
        "attention" => attention(&encoder, &images)?,
        _ => components(&encoder, &images)?,
    };
    drawn.notes.iter().for_each(|note| line(format!("  {note}")));
    let rows = images.iter().zip(drawn.maps);
    let rows =
        rows.map(|(image, maps)| Ok(MappedImage { image: image.flatten_all()?.to_vec1()?, maps }));
    let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
    let spec = spec(&encoder)?;
    let picture = patch_maps(&args.weights, &drawn.notes, &spec, &drawn.headings, &rows)?;
    write_png(&args.out, &picture)?;
    line(format!("{}: {}", args.out.display(), plural(rows.len() as u64, "image")));
    Ok(())
}

/// What arguments alone show, and whether the picture has a place.
fn check(args: &Args) -> anyhow::Result<()> {
    args.encoder.check()?;
    one_of("kind", &args.kind, &["pca", "attention"], &[])?;
    let out = &args.out;
    if !out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")) {
        return Err(usage(format!("--out {}: expected a name that ends in .png", out.display())));
    }
    match out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) if !parent.is_dir() => {
            bail!("--out {}: there is no such folder", out.display())
        }
        _ => Ok(()),
    }
}

/// An image as the encoder sees it, `[1, channels, height, width]`.
fn read(file: &Path, encoder: &Encoder, transform: &EvalTransform) -> anyhow::Result<Tensor> {
    let picture = Picture::encoded(fs::read(file)?, encoder.decode());
    // Nothing of the transform is random.
    let image = transform.apply(&picture, &mut stream(0, 0, 0, Purpose::Crop))?;
    let shape = (1, image.channels, image.height, image.width);
    Ok(Tensor::from_vec(image.data, shape, &Device::Cpu)?)
}

fn spec(encoder: &Encoder) -> anyhow::Result<ImageSpec> {
    let config = encoder.vit.config();
    let (height, width) = config.grid.image_size();
    let normalize = encoder.normalize()?;
    Ok(ImageSpec {
        channels: config.channels,
        height,
        width,
        patch_size: config.grid.patch(),
        pred_downsampling: 1,
        mean: normalize.mean().to_vec(),
        std: normalize.std().to_vec(),
    })
}

/// Maps of each image, with what is said of them.
struct Drawn {
    notes: Vec<String>,
    headings: Vec<String>,
    maps: Vec<Vec<PatchMap>>,
}

/// The first three principal components of all patches' features as red, green and blue, each scaled to 0..1 over all
/// images.
fn components(encoder: &Encoder, images: &[Tensor]) -> anyhow::Result<Drawn> {
    let features = images.iter().map(|image| {
        let image = image.to_device(encoder.vit.device())?;
        let tokens = inference(|| encoder.vit.features(&image))?;
        Ok(Pool::Patches.apply(&tokens)?.squeeze(0)?.to_device(&Device::Cpu)?)
    });
    let features = Tensor::cat(&features.collect::<anyhow::Result<Vec<_>>>()?, 0)?;
    let pca = Pca::fit(&features, 3)?;
    let projected = pca.project(&features)?;
    let (low, high) = (projected.min_keepdim(0)?, projected.max_keepdim(0)?);
    // Where all are equal, they are 0.
    let range = (high - &low)?.maximum(f32::MIN_POSITIVE)?;
    let scaled = projected.broadcast_sub(&low)?.broadcast_div(&range)?.to_vec2::<f32>()?;
    let colours: Vec<[f32; 3]> = scaled.iter().map(|row| [row[0], row[1], row[2]]).collect();
    let patches = colours.len() / images.len();
    let maps = colours.chunks_exact(patches);
    let maps = maps.map(|colours| vec![PatchMap::Colours(colours.to_vec())]).collect();
    let total = features.var(0)?.sum_all()?.to_scalar::<f32>()?;
    let share = |variance: &f32| format!("{:.1}%", 100.0 * variance / total.max(f32::MIN_POSITIVE));
    let shares: Vec<String> = pca.variances().iter().map(share).collect();
    let note = format!(
        "Red, green, blue: the first three principal components of the patches' features, over all images ({} of the variance).",
        shares.join(", ")
    );
    Ok(Drawn { notes: vec![note], headings: vec!["components".to_owned()], maps })
}

/// How much the class token attends to each patch: the mean of the heads, and each of them.
fn attention(encoder: &Encoder, images: &[Tensor]) -> anyhow::Result<Drawn> {
    let heads = encoder.vit.config().tower.heads;
    let mut headings = vec!["mean".to_owned()];
    headings.extend((1..=heads).map(|head| format!("head {head}")));
    let maps = images.iter().map(|image| {
        let image = image.to_device(encoder.vit.device())?;
        let weights = inference(|| encoder.vit.class_attention(&image))?;
        let weights = weights.squeeze(0)?.to_device(&Device::Cpu)?;
        let patches = weights.narrow(1, 1, weights.dim(1)? - 1)?;
        let maps = Tensor::cat(&[patches.mean_keepdim(0)?, patches], 0)?;
        let greatest = maps.max_keepdim(1)?.maximum(f32::MIN_POSITIVE)?;
        let maps = maps.broadcast_div(&greatest)?.to_vec2::<f32>()?;
        Ok(maps.into_iter().map(PatchMap::Shades).collect())
    });
    let maps = maps.collect::<anyhow::Result<Vec<_>>>()?;
    let note = "How much the class token attends to each patch in the last block: from 0 (dark) to the map's greatest (light).";
    Ok(Drawn { notes: vec![note.to_owned()], headings, maps })
}
