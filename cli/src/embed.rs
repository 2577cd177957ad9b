//! `longmae embed`: features of images in a file.

use std::path::PathBuf;

use longmae_data::Target;

use crate::features::{
    About, Classes, EncodeFlags, Encoder, Extraction, Images, Pool, Stored, check_place, extract,
    lines_of_corrupt, write,
};
use crate::output::line;
use crate::terminal::plural;

#[derive(clap::Args)]
pub struct Args {
    /// An encoder, or a whole model: a file in any layout, a run's or a checkpoint's folder, or hf://ORG/NAME[@REV][/FILE]
    #[arg(value_name = "WEIGHTS")]
    weights: String,
    /// The images, as `mae-pretrain --data` takes them; they need no classes
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// The file to write: .safetensors, or .npy with a .json beside it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
    /// `class` (the class token), `mean` (of the patches' tokens) or `patches` (all of them)
    #[arg(long, value_name = "NAME", default_value = "class")]
    pool: String,
    #[command(flatten)]
    encode: EncodeFlags,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    args.encode.check()?;
    let pool = Pool::parse(&args.pool, &["class", "mean", "patches"])?;
    Images::spec(&args.data)?;
    check_place(&args.out, args.overwrite)?;
    let encoder = Encoder::open(&args.weights, &args.encode.encoder)?;
    let images = Images::open(&args.data, &encoder)?;
    let extraction = Extraction::new(&encoder, &args.encode, pool)?;
    encoder.lines().into_iter().for_each(line);
    let count = plural(images.source.len() as u64, "image");
    line(format!("{}: {count}, {}", images.name, pool.description()));
    let extracted = extract(&encoder.vit, &images.source, &extraction)?;
    lines_of_corrupt(&extracted.corrupt).into_iter().for_each(line);
    let names = images.source.classes();
    let classes = Classes::named(names);
    // Classes of some images alone would be labels for none.
    let labelled = extracted.targets.iter().all(|target| matches!(target, Target::Class(_)));
    let labels = labelled.then(|| classes.labels(&images.name, &extracted.ids, &extracted.targets));
    let (height, width) = encoder.vit.config().grid.image_size();
    let stored = Stored {
        labels: labels.transpose()?,
        about: About {
            weights: args.weights.clone(),
            data: args.data.clone(),
            pool: pool.name().to_owned(),
            image_size: [height, width],
            classes: if labelled { names.to_vec() } else { Vec::new() },
            ids: extracted.ids,
        },
        features: extracted.features,
    };
    write(&args.out, &stored)?;
    let sizes: Vec<String> = stored.features.dims().iter().map(ToString::to_string).collect();
    let classes = match &stored.labels {
        Some(_) if names.is_empty() => ", with labels".to_owned(),
        Some(_) => format!(", labels of {} classes", names.len()),
        None => ", no labels".to_owned(),
    };
    line(format!("{}: {}{classes}", args.out.display(), sizes.join(" x ")));
    Ok(())
}
