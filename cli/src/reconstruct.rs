//! `longmae reconstruct`: what a masked autoencoder sees and predicts, as a picture.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use candle_core::{Device, Tensor};
use longmae_data::rng::{Purpose, stream};
use longmae_data::transform::EvalCrop;
use longmae_data::{
    DecodeOptions, EvalTransform, ImageFolder, Normalize, Picture, Size, Source, Transform,
};
use longmae_mae::{Mae, MaeConfig};
use longmae_masking::{MaskBatch, MaskDesign, MaskStrategy};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_report::{Reconstruction, reconstruction_grid, write_png};
use longmae_weights::{Adapt, Checkpoint, Kind, ModelInfo};

use crate::choice::one_of;
use crate::device::DeviceName;
use crate::exit::usage;
use crate::image_size::ImageSize;
use crate::output::line;
use crate::pretrain::{self, image_spec, statistics};
use crate::run::weights::{open_weights, vars};
use crate::terminal::plural;
use crate::weights::{KnownFlags, with_flags};

/// Images that a picture holds.
const MOST_IMAGES: usize = 1024;

#[derive(clap::Args)]
pub struct Args {
    /// A whole model with its decoder: a file in any layout, a run's or a checkpoint's folder, or hf://ORG/NAME[@REV][/FILE]
    #[arg(value_name = "WEIGHTS")]
    weights: String,
    /// Images, or folders of images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// The picture to write: a row an image
    #[arg(long, value_name = "PNG")]
    out: PathBuf,
    /// Share of the patches that is hidden (default: the model's own)
    #[arg(long, value_name = "RATIO")]
    mask_ratio: Option<f64>,
    /// Side of a mask unit in patches (default: the model's own)
    #[arg(long, value_name = "K")]
    mask_unit: Option<usize>,
    /// `random`, `block` or `grid` (default: the model's own)
    #[arg(long, value_name = "NAME")]
    mask_strategy: Option<String>,
    /// Seed of the masks: the same one gives the same picture
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Image size in pixels, 224 or 224x320 (height x width); positions are resized to another one than the model's
    #[arg(long, value_name = "SIZE")]
    image_size: Option<ImageSize>,
    /// `center` (the middle of the image), or `none` (the whole image is resized, whatever its shape)
    #[arg(long, value_name = "KIND", default_value = "center")]
    crop: String,
    /// Device: cpu, cuda or cuda:N (with the feature `cuda`), metal or metal:N (with the feature `metal`)
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    device: String,
    #[command(flatten)]
    known: KnownFlags,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    check(args)?;
    let checkpoint = open_weights(Path::new(&args.weights))?;
    let mut info = info(&checkpoint, args)?;
    let device = DeviceName::from_str(&args.device)?.open()?;
    let (mae, adapted) = load(&checkpoint, &info, args.image_size, &device)?;
    override_masks(&mut info, args);
    let painter = Painter::new(mae, &info, args)?;
    let images = find(&args.images)?;
    line(format!("{} ({info})", checkpoint.path().display()));
    adapted.iter().for_each(|change| line(format!("  adapted  {change}")));
    let (unit, ratio) = (info.mask_unit, info.mask_ratio);
    let kind = &info.mask_strategy;
    line(format!("  mask     {kind}, ratio {ratio}, unit {unit}, seed {}", args.seed));
    let statistics = statistics(painter.mae.config());
    line(format!("  {}", statistics.description()));
    let mut rows = Vec::with_capacity(images.len());
    for (number, image) in images.iter().enumerate() {
        let (row, loss) =
            painter.row(image, number).with_context(|| image.display().to_string())?;
        line(format!("{}  loss {loss:.6}", image.display()));
        rows.push(row);
    }
    let spec = image_spec(painter.mae.config(), &painter.transform.normalize);
    let title = format!("{}, after {}", args.weights, plural(info.steps, "step"));
    let title = if info.steps == 0 { &args.weights } else { &title };
    write_png(&args.out, &reconstruction_grid(title, &spec, statistics, &rows)?)?;
    line(format!("{}: {}", args.out.display(), plural(rows.len() as u64, "image")));
    Ok(())
}

/// What arguments alone show, and whether the picture has a place.
fn check(args: &Args) -> anyhow::Result<()> {
    DeviceName::from_str(&args.device)?.check_built()?;
    one_of("crop", &args.crop, &["center", "none"], &[])?;
    if let Some(name) = &args.mask_strategy {
        one_of("mask strategy", name, &["random", "block", "grid"], &[])?;
    }
    if let Some(ratio) = args.mask_ratio.filter(|ratio| !(*ratio > 0.0 && *ratio < 1.0)) {
        return Err(usage(format!("--mask-ratio {ratio}: expected a number above 0 and below 1")));
    }
    if args.mask_unit == Some(0) {
        return Err(usage("--mask-unit 0: expected a number from 1"));
    }
    if args.image_size.is_some_and(|size| size.height.max(size.width) > 1 << 15) {
        return Err(usage(format!("--image-size: expected at most {} a side", 1 << 15)));
    }
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

/// What is known of the model: by the file, what lies beside it, and what was typed, which goes before all else.
fn info(checkpoint: &Checkpoint, args: &Args) -> anyhow::Result<ModelInfo> {
    let place = checkpoint.path().display();
    if checkpoint.kind() == Some(Kind::Encoder) {
        bail!(
            "{place}: this is an encoder alone, and a reconstruction needs the decoder too: give a whole model (a run's \
             folder, model.safetensors of a checkpoint, or a published file that was made with its decoder)"
        );
    }
    let typed = &args.known;
    let known = typed.known(args.image_size.map(|size| [size.height, size.width]));
    let mut info = checkpoint.model_info(&known).map_err(with_flags)?;
    info.encoder.heads = typed.heads.unwrap_or(info.encoder.heads);
    if let Some(decoder) = &mut info.decoder {
        decoder.heads = typed.decoder_heads.unwrap_or(decoder.heads);
    }
    info.norm_pix_loss = typed.norm_pix_loss.unwrap_or(info.norm_pix_loss);
    info.layer_norm_eps = typed.layer_norm_eps.unwrap_or(info.layer_norm_eps);
    for (flag, typed, list) in
        [("--mean", &typed.mean, &mut info.mean), ("--std", &typed.std, &mut info.std)]
    {
        let Some(typed) = typed else { continue };
        if typed.len() != info.channels {
            let (found, channels) = (typed.len(), info.channels);
            bail!(
                "{flag}: {found} numbers were given, {place} is for images of {channels} channels"
            );
        }
        list.clone_from(typed);
    }
    Ok(info)
}

/// The model on images of its own size or another, and what was adapted.
fn load(
    checkpoint: &Checkpoint,
    info: &ModelInfo,
    size: Option<ImageSize>,
    device: &Device,
) -> anyhow::Result<(Mae, Vec<String>)> {
    let own = pretrain::config(checkpoint, info)?;
    let from = own.encoder.grid;
    let to =
        size.map_or(Ok(from), |size| PatchGrid::new((size.height, size.width), from.patch()))?;
    let mut config: MaeConfig = own;
    config.encoder.grid = to;
    let params = Params::new(0, device);
    let mae = Mae::new(config, &params).with_context(|| checkpoint.path().display().to_string())?;
    let vars = vars(&params.all());
    let how = Adapt::to_grid([to.rows(), to.cols()]).grid_of_file([from.rows(), from.cols()]);
    let adaptation = checkpoint.adapt(&vars, &how)?;
    adaptation.load()?;
    Ok((mae, adaptation.changes().iter().map(ToString::to_string).collect()))
}

/// Masks as they were typed, else as the model was trained with.
fn override_masks(info: &mut ModelInfo, args: &Args) {
    info.mask_unit = args.mask_unit.unwrap_or(info.mask_unit);
    info.mask_ratio = args.mask_ratio.unwrap_or(info.mask_ratio);
    if let Some(strategy) = &args.mask_strategy {
        info.mask_strategy.clone_from(strategy);
    }
}

/// Makes rows of the picture.
struct Painter {
    mae: Mae,
    masks: Box<dyn MaskStrategy>,
    transform: EvalTransform,
    decode: DecodeOptions,
    seed: u64,
}

impl Painter {
    fn new(mae: Mae, info: &ModelInfo, args: &Args) -> anyhow::Result<Self> {
        let (unit, ratio) = (info.mask_unit, info.mask_ratio);
        let design = MaskDesign { unit, ratio, count: info.mask_count.parse()? };
        let grid = mae.config().encoder.grid;
        let masks = design.strategy(&info.mask_strategy)?;
        // A plan that is thrown away shows what does not fit before an image is looked at.
        masks.plan(grid, &mut stream(args.seed, 0, 0, Purpose::Mask))?;
        let (height, width) = grid.image_size();
        let narrow = |list: &[f64]| list.iter().map(|x| *x as f32).collect();
        Ok(Self {
            masks,
            transform: EvalTransform {
                size: Size::new(height, width)?,
                crop: (args.crop == "center").then(EvalCrop::default),
                normalize: Normalize::new(narrow(&info.mean), narrow(&info.std))?,
            },
            decode: DecodeOptions { channels: info.channels, ..DecodeOptions::default() },
            seed: args.seed,
            mae,
        })
    }

    /// One image, masked as the image of that number would be in a run's validation, and its loss.
    fn row(&self, path: &Path, number: usize) -> anyhow::Result<(Reconstruction, f32)> {
        let picture = Picture::encoded(fs::read(path)?, self.decode);
        let mut rng = stream(self.seed, 0, number as u64, Purpose::Mask);
        let image = self.transform.apply(&picture, &mut rng)?;
        let plan = self.masks.plan(self.mae.config().encoder.grid, &mut rng)?;
        let shape = (1, image.channels, image.height, image.width);
        let image = Tensor::from_vec(image.data, shape, &Device::Cpu)?;
        pretrain::reconstruct(&self.mae, &image, &MaskBatch::stack(&[plan], &Device::Cpu)?)
    }
}

/// The image files that were named, and those below folders, in order.
pub fn find(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for path in named {
        if path.is_dir() {
            let folder = ImageFolder::open(path, DecodeOptions::default())?;
            images.extend((0..folder.len()).filter_map(|i| folder.path(i).map(Path::to_owned)));
        } else if path.is_file() {
            images.push(path.clone());
        } else {
            bail!("{}: there is no such image", path.display());
        }
    }
    if images.len() > MOST_IMAGES {
        bail!("{} images: a picture holds {MOST_IMAGES}", images.len());
    }
    Ok(images)
}
