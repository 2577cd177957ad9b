//! What a checkpoint says about the model it holds: plain data, independent of the model's own configuration types.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The size of one transformer: the encoder, or the decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TowerInfo {
    /// Width of a token, D.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Number of attention heads in a block.
    pub heads: usize,
    /// Width of the MLP's hidden layer over `dim`; 4 in the papers.
    pub mlp_ratio: f64,
}

/// Everything needed to use a checkpoint rightly: sizes, pixels' normalisation, and how it was trained.
///
/// Stored as JSON under `longmae.info`. Keys that a newer version adds are ignored when read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Image height and width in pixels, `[h, w]`.
    pub image_size: [usize; 2],
    /// Side of a patch in pixels; divides both sides of the image.
    pub patch_size: usize,
    /// Channels of an image.
    pub channels: usize,
    /// What is subtracted from each channel of an image in [0, 1]; one number a channel.
    pub mean: Vec<f64>,
    /// What each channel is then divided by; one number a channel.
    pub std: Vec<f64>,
    /// Side of a mask unit in patches; 1 is MAE's own masking.
    pub mask_unit: usize,
    /// Share of the patches that was hidden, in (0, 1).
    pub mask_ratio: f64,
    /// How hidden patches were chosen: `random`, `block` or `grid`.
    pub mask_strategy: String,
    /// How the number of kept patches was counted: `published` or `units`.
    pub mask_count: String,
    /// The encoder's size.
    pub encoder: TowerInfo,
    /// The decoder's size; none where it was never known (a file from elsewhere).
    pub decoder: Option<TowerInfo>,
    /// Factor by which the decoder's grid is coarser than the encoder's; 1 is none.
    pub decoder_downsampling: usize,
    /// Factor by which the grid of predictions is coarser than the encoder's; 1 is none.
    pub pred_downsampling: usize,
    /// Whether attention's keys have a bias, as in MAE; without, blocks hold `q_bias` and `v_bias`.
    pub key_bias: bool,
    /// Whether the targets were pixels normalised patch by patch; predictions then need undoing to be seen.
    pub norm_pix_loss: bool,
    /// Epsilon of the layer norms; MAE's is 1e-6.
    pub layer_norm_eps: f64,
    /// Optimiser steps taken.
    pub steps: u64,
    /// Passes over the data; none where the data has no length.
    pub epochs: Option<f64>,
    /// The last training loss, if there was a finite one.
    pub loss: Option<f64>,
    /// The longmae version that wrote the file.
    pub code_version: String,
    /// What a classifier's head says; none where there is no head, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<ClassifierInfo>,
    /// What a detector finds; none where there is no detector, or nobody knows. The image's size is then that of the
    /// pre-training, which the positions are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector: Option<DetectorInfo>,
}

/// What a detector finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectorInfo {
    /// The categories, in the order of the head's rows.
    pub categories: Vec<CategoryInfo>,
    /// Side of the square of pixels that it was trained on.
    pub image_size: usize,
}

/// A category of objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryInfo {
    /// Its number in files of annotations.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// What a classifier tells, and from what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassifierInfo {
    /// Which tokens it looks at: the `mean` of the patch tokens, or the `class` token.
    pub pool: String,
    /// Names of the classes, in the order of the head's rows; their numbers where they have none.
    pub classes: Vec<String>,
    /// Whether these are names: other images are then told by name which of them they show, and not by number.
    pub named: bool,
}

/// The keys without which `longmae.info` is refused.
const REQUIRED: [&str; 17] = [
    "image_size",
    "patch_size",
    "channels",
    "mean",
    "std",
    "mask_unit",
    "mask_ratio",
    "mask_strategy",
    "mask_count",
    "encoder",
    "decoder_downsampling",
    "pred_downsampling",
    "key_bias",
    "norm_pix_loss",
    "layer_norm_eps",
    "steps",
    "code_version",
];

impl ModelInfo {
    /// The patch grid, `[rows, columns]`; none if the patch size does not divide the image.
    pub fn grid(&self) -> Option<[usize; 2]> {
        let [h, w] = self.image_size;
        let p = self.patch_size;
        let divides = p > 0 && h % p == 0 && w % p == 0;
        divides.then(|| [h / p, w / p])
    }

    /// Reads the JSON of `longmae.info`; the error is the reason, as the end of a sentence.
    pub(crate) fn from_json(json: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|e| format!("is not JSON: {e}"))?;
        let object = value.as_object().ok_or("is not a JSON object")?;
        let missing: Vec<&str> =
            REQUIRED.into_iter().filter(|key| !object.contains_key(*key)).collect();
        if !missing.is_empty() {
            return Err(format!("lacks {}", missing.join(", ")));
        }
        let info: Self =
            serde_json::from_value(value).map_err(|e| format!("cannot be read: {e}"))?;
        info.check()?;
        Ok(info)
    }

    /// The JSON of `longmae.info`; refused if [`Self::from_json`] could not read it back.
    pub(crate) fn to_json(&self) -> Result<String, String> {
        let json = serde_json::to_string(self).map_err(|e| format!("cannot be written: {e}"))?;
        Self::from_json(&json)?;
        Ok(json)
    }

    fn check(&self) -> Result<(), String> {
        let [h, w] = self.image_size;
        if self.grid().is_none() {
            return Err(format!(
                "has patch size {}, which does not divide the image of {h}x{w}",
                self.patch_size
            ));
        }
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.channels {
                return Err(format!(
                    "has {} numbers as {key} for {} channels",
                    values.len(),
                    self.channels
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Display for TowerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wide, {} deep, {} heads", self.dim, self.depth, self.heads)
    }
}

/// One line: image, patch, channels, encoder and decoder.
impl fmt::Display for ModelInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [h, w] = self.image_size;
        write!(
            f,
            "image {h}x{w}, patch {}, {} channels, encoder {}",
            self.patch_size, self.channels, self.encoder
        )?;
        match &self.decoder {
            Some(decoder) => write!(f, ", decoder {decoder}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ModelInfo {
        ModelInfo {
            image_size: [224, 448],
            patch_size: 16,
            channels: 3,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            mask_unit: 2,
            mask_ratio: 0.75,
            mask_strategy: "random".into(),
            mask_count: "published".into(),
            encoder: TowerInfo { dim: 768, depth: 12, heads: 12, mlp_ratio: 4.0 },
            decoder: Some(TowerInfo { dim: 384, depth: 8, heads: 12, mlp_ratio: 4.0 }),
            decoder_downsampling: 1,
            pred_downsampling: 1,
            key_bias: true,
            norm_pix_loss: true,
            layer_norm_eps: 1e-6,
            steps: 1200,
            epochs: Some(3.1),
            loss: Some(0.1 + 0.2),
            code_version: "0.1.0".into(),
            classifier: None,
            detector: None,
        }
    }

    #[test]
    fn json_gives_the_same_numbers_back() {
        let info = sample();
        assert_eq!(ModelInfo::from_json(&info.to_json().unwrap()).unwrap(), info);
    }

    #[test]
    fn exactly_the_required_keys_are_required() {
        let full = serde_json::to_value(sample()).unwrap();
        let optional = ["decoder", "epochs", "loss"];
        for key in full.as_object().unwrap().keys() {
            let mut cut = full.clone();
            cut.as_object_mut().unwrap().remove(key);
            let read = ModelInfo::from_json(&cut.to_string());
            assert_eq!(read.is_ok(), optional.contains(&key.as_str()), "{key}: {read:?}");
        }
    }

    #[test]
    fn all_missing_keys_are_named() {
        let reason = ModelInfo::from_json(r#"{"patch_size": 16}"#).unwrap_err();
        assert!(
            REQUIRED.iter().all(|key| reason.contains(key) != (*key == "patch_size")),
            "{reason}"
        );
    }

    #[test]
    fn keys_of_newer_versions_are_ignored() {
        let mut value = serde_json::to_value(sample()).unwrap();
        value["registers"] = 4.into();
        value["encoder"]["rope"] = true.into();
        assert_eq!(ModelInfo::from_json(&value.to_string()).unwrap(), sample());
    }

    #[test]
    fn contradictions_are_refused_both_ways() {
        let odd_patch = ModelInfo { patch_size: 15, ..sample() };
        let reason = odd_patch.to_json().unwrap_err();
        assert!(reason.contains("15") && reason.contains("224x448"), "{reason}");
        let zero_patch = ModelInfo { patch_size: 0, ..sample() };
        assert!(ModelInfo::from_json(&serde_json::to_string(&zero_patch).unwrap()).is_err());
        let grey = ModelInfo { channels: 1, ..sample() };
        assert!(grey.to_json().unwrap_err().contains("3 numbers as mean for 1 channels"));
        let nan = ModelInfo { std: vec![f64::NAN; 3], ..sample() };
        assert!(nan.to_json().is_err(), "a deviation that JSON cannot hold is not written");
    }

    #[test]
    fn a_loss_that_is_not_finite_reads_as_none() {
        let json = ModelInfo { loss: Some(f64::NAN), ..sample() }.to_json().unwrap();
        assert_eq!(ModelInfo::from_json(&json).unwrap().loss, None);
    }

    #[test]
    fn grid_is_rows_by_columns() {
        assert_eq!(sample().grid(), Some([14, 28]));
    }
}
