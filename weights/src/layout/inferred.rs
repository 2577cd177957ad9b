//! What a file from elsewhere says about its model: by its shapes, by the JSON files beside it, by the caller, and by
//! what all published masked autoencoders have in common.

use super::beside::{self, Config, Preprocessor};
use super::sizes::{Sizes, TowerSizes};
use super::{Layout, sizes::DecoderSizes};
use crate::{Checkpoint, Error, ModelInfo, Result, TowerInfo};

/// ImageNet's mean and deviation a channel, with which every published masked autoencoder was trained.
const IMAGENET: [[f64; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
/// MAE's and timm's epsilon, which their code fixes.
const EPS: f64 = 1e-6;
/// What transformers takes where `config.json` says nothing.
const TRANSFORMERS_EPS: f64 = 1e-12;
/// Encoders whose heads are not 64 wide: `vit-nano` and ViT-H. Width, depth, heads.
const ENCODERS: [(usize, usize, usize); 2] = [(128, 6, 4), (1280, 32, 16)];
/// Decoders whose heads are not 32 wide: `vit-nano`'s.
const DECODERS: [(usize, usize, usize); 1] = [(64, 2, 4)];

/// What the caller knows of a model whose file may not say it; it goes before everything else but the file's metadata.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Image height and width in pixels; otherwise a square of as many patches as there are positions.
    pub image_size: Option<[usize; 2]>,
    /// Attention heads of the encoder.
    pub heads: Option<usize>,
    /// Attention heads of the decoder.
    pub decoder_heads: Option<usize>,
    /// What was subtracted from each channel of an image in [0, 1].
    pub mean: Option<Vec<f64>>,
    /// What each channel was then divided by.
    pub std: Option<Vec<f64>>,
    /// Whether the targets were pixels normalised patch by patch.
    pub norm_pix_loss: Option<bool>,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: Option<f64>,
}

impl Checkpoint {
    /// What the file says about its model. For a file that longmae wrote that is its metadata. For others:
    ///
    /// - sizes from the shapes; the image is square unless `known` or a `config.json` beside the file says otherwise;
    /// - heads, image size, epsilon, mask ratio and target from transformers' `config.json`; heads, image size, mean and
    ///   deviation from timm's; mean and deviation from `preprocessor_config.json`, each in the folder of the file;
    /// - otherwise heads 64 wide (ViT-H's 80), in decoders 32; ImageNet's mean and deviation for three channels; epsilon
    ///   1e-6 except in transformers' layouts; MAE's masking, which only training asks for: single patches, ratio 0.75.
    ///
    /// Whether targets were normalised is asked for if there is a decoder; without one nothing depends on it, and MAE's
    /// own setting is given, true.
    ///
    /// # Errors
    /// [`Error::Unsaid`] with everything that has to be given; [`Error::NotAModel`] if the shapes are no masked
    /// autoencoder's; [`Error::Config`] if a JSON file beside it contradicts them.
    pub fn model_info(&self, known: &Known) -> Result<ModelInfo> {
        if let Some(metadata) = self.metadata() {
            return Ok(metadata.info.clone());
        }
        self.inferred_info(known)
    }

    /// As [`Self::model_info`] without a look at the file's metadata, to hold one against the other.
    ///
    /// # Errors
    /// As [`Self::model_info`].
    pub fn inferred_info(&self, known: &Known) -> Result<ModelInfo> {
        let sizes = Sizes::of(|name| self.shape(name))
            .map_err(|reason| Error::NotAModel { path: self.path().to_owned(), reason })?;
        let mut gaps = Vec::new();
        let beside = Beside::read(self)?;
        beside.check(self, &sizes)?;
        let info = beside.info(known, &sizes, &mut gaps);
        match info {
            Some(info) if gaps.is_empty() => Ok(info),
            _ => Err(Error::Unsaid { path: self.path().to_owned(), keys: gaps }),
        }
    }
}

/// The JSON files beside a checkpoint, and its layout.
struct Beside {
    layout: Option<Layout>,
    config: Option<Config>,
    preprocessor: Preprocessor,
}

impl Beside {
    fn read(file: &Checkpoint) -> Result<Self> {
        Ok(Self {
            layout: file.layout(),
            config: beside::read(file.path(), "config.json")?,
            preprocessor: beside::read(file.path(), "preprocessor_config.json")?
                .unwrap_or_default(),
        })
    }

    /// A `config.json` of another model would lead everything astray.
    fn check(&self, file: &Checkpoint, sizes: &Sizes) -> Result<()> {
        let Some(config) = &self.config else { return Ok(()) };
        let refuse = |reason: String| {
            Err(Error::Config { path: file.path().with_file_name("config.json"), reason })
        };
        match (config.hidden_size, &config.hidden_act) {
            (Some(width), _) if width != sizes.encoder.dim => refuse(format!(
                "says hidden_size {width}, but `{}` has tensors {} wide: it is another model's",
                file.path().display(),
                sizes.encoder.dim
            )),
            (_, Some(activation)) if activation != "gelu" => {
                refuse(format!("says hidden_act `{activation}`, known here is `gelu`"))
            }
            _ => Ok(()),
        }
    }

    /// The information, with a line in `gaps` for everything that is not known; none if that makes it impossible.
    fn info(&self, known: &Known, sizes: &Sizes, gaps: &mut Vec<String>) -> Option<ModelInfo> {
        let mut ask = |value: bool, what: &str| {
            if !value {
                gaps.push(what.to_owned());
            }
        };
        let config = self.config.as_ref();
        let heads = known
            .heads
            .or_else(|| config.and_then(|c| c.num_attention_heads.or(c.model_args.num_heads)))
            .or_else(|| heads(&sizes.encoder, &ENCODERS, 64));
        ask(heads.is_some(), "heads (of the encoder)");
        let decoder_heads = sizes.decoder.map(|DecoderSizes { tower, .. }| {
            known
                .decoder_heads
                .or_else(|| config.and_then(|c| c.decoder_num_attention_heads))
                .or_else(|| heads_of_decoder(&tower))
        });
        ask(decoder_heads != Some(None), "decoder_heads");
        let image_size = self.image_size(known, sizes);
        ask(image_size.is_some(), "image_size (the grid is not square)");
        let [mean, std] = self.normalisation(known, sizes.channels);
        ask(mean.is_some(), "mean (one number a channel)");
        ask(std.is_some(), "std (one number a channel)");
        let eps = known.layer_norm_eps.or_else(|| self.eps());
        ask(eps.is_some(), "layer_norm_eps (transformers' config.json would say it)");
        let norm_pix_loss = known.norm_pix_loss.or_else(|| self.norm_pix_loss(sizes));
        ask(
            norm_pix_loss.is_some(),
            "norm_pix_loss (whether predictions are of normalised pixels)",
        );
        Some(ModelInfo {
            image_size: image_size?,
            patch_size: sizes.patch,
            channels: sizes.channels,
            mean: mean?,
            std: std?,
            mask_unit: 1,
            mask_ratio: config.and_then(|c| c.mask_ratio).unwrap_or(0.75),
            mask_strategy: "random".to_owned(),
            mask_count: "published".to_owned(),
            encoder: tower(&sizes.encoder, heads?),
            decoder: match sizes.decoder {
                Some(decoder) => Some(tower(&decoder.tower, decoder_heads??)),
                None => None,
            },
            decoder_downsampling: sizes.decoder.map_or(1, |decoder| decoder.downsampling),
            pred_downsampling: sizes.decoder.map_or(1, |decoder| decoder.pred_downsampling),
            key_bias: sizes.key_bias,
            norm_pix_loss: norm_pix_loss?,
            layer_norm_eps: eps?,
            steps: 0,
            epochs: None,
            loss: None,
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            classifier: None,
            detector: None,
        })
    }

    fn image_size(&self, known: &Known, sizes: &Sizes) -> Option<[usize; 2]> {
        let config = self.config.as_ref();
        let timm = config.and_then(|c| c.pretrained_cfg.input_size).map(|[_, h, w]| [h, w]);
        let said = [
            known.image_size,
            config.and_then(|c| c.image_size).map(|sides| sides.pair()),
            config.and_then(|c| c.model_args.img_size).map(|sides| sides.pair()),
            timm,
        ];
        // A resized model's file keeps the old configuration at times: what does not fit is passed over.
        let fits = |[h, w]: &[usize; 2]| {
            (h / sizes.patch).checked_mul(w / sizes.patch) == Some(sizes.patches)
                && h % sizes.patch == 0
                && w % sizes.patch == 0
        };
        let square = || {
            let side = sizes.patches.isqrt();
            (side * side == sizes.patches).then(|| [side * sizes.patch; 2])
        };
        said.into_iter().flatten().find(fits).or_else(square)
    }

    /// Mean and deviation.
    fn normalisation(&self, known: &Known, channels: usize) -> [Option<Vec<f64>>; 2] {
        let timm = self.config.as_ref().map(|c| &c.pretrained_cfg);
        let said = [
            [&known.mean, &self.preprocessor.image_mean, &timm.and_then(|cfg| cfg.mean.clone())],
            [&known.std, &self.preprocessor.image_std, &timm.and_then(|cfg| cfg.std.clone())],
        ];
        let mut both = said.map(|values| {
            values.into_iter().flatten().find(|values| values.len() == channels).cloned()
        });
        if channels == 3 {
            for (values, imagenet) in both.iter_mut().zip(IMAGENET) {
                values.get_or_insert(imagenet.to_vec());
            }
        }
        both
    }

    fn eps(&self) -> Option<f64> {
        match (&self.config, self.layout) {
            (Some(config), _) if config.is_transformers() => {
                Some(config.layer_norm_eps.unwrap_or(TRANSFORMERS_EPS))
            }
            (_, Some(Layout::HfVit | Layout::HfVitMae)) => None,
            _ => Some(EPS),
        }
    }

    fn norm_pix_loss(&self, sizes: &Sizes) -> Option<bool> {
        match &self.config {
            Some(config) if config.is_transformers() && sizes.decoder.is_some() => {
                Some(config.norm_pix_loss.unwrap_or(false))
            }
            _ => sizes.decoder.is_none().then_some(true),
        }
    }
}

fn tower(sizes: &TowerSizes, heads: usize) -> TowerInfo {
    let mut mlp_ratio = sizes.hidden as f64 / sizes.dim as f64;
    // The hidden width is width times ratio, cut to a whole number: rounding must not take one off.
    if ((mlp_ratio * sizes.dim as f64) as usize) < sizes.hidden {
        mlp_ratio = mlp_ratio.next_up();
    }
    TowerInfo { dim: sizes.dim, depth: sizes.depth, heads, mlp_ratio }
}

fn heads_of_decoder(sizes: &TowerSizes) -> Option<usize> {
    heads(sizes, &DECODERS, 32)
}

/// The number of heads by convention: an exception's, or else `width` each.
fn heads(sizes: &TowerSizes, exceptions: &[(usize, usize, usize)], width: usize) -> Option<usize> {
    let exception =
        exceptions.iter().find(|(dim, depth, _)| (*dim, *depth) == (sizes.dim, sizes.depth));
    match exception {
        Some((.., heads)) => Some(*heads),
        None => sizes.dim.is_multiple_of(width).then_some(sizes.dim / width),
    }
}
