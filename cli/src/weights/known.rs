//! What the user says of a model whose file does not: flags, and the error that asks for them.

use anyhow::anyhow;
use longmae_weights::{Error, Known};

#[derive(clap::Args)]
#[command(next_help_heading = "What a file from elsewhere may not say")]
pub struct KnownFlags {
    /// Attention heads of the encoder
    #[arg(long, value_name = "N")]
    pub heads: Option<usize>,
    /// Attention heads of the decoder
    #[arg(long, value_name = "N")]
    pub decoder_heads: Option<usize>,
    /// Mean of each channel in 0..1, such as 0.485,0.456,0.406
    #[arg(long, value_name = "M,...", value_delimiter = ',')]
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of each channel
    #[arg(long, value_name = "S,...", value_delimiter = ',')]
    pub std: Option<Vec<f64>>,
    /// Whether the model predicts pixels normalised patch by patch (the published `visualize` checkpoints: false)
    #[arg(long, value_name = "BOOL")]
    pub norm_pix_loss: Option<bool>,
    /// Epsilon of the layer norms
    #[arg(long, value_name = "EPS")]
    pub layer_norm_eps: Option<f64>,
}

impl KnownFlags {
    /// As the library wants it.
    pub fn known(&self, image_size: Option<[usize; 2]>) -> Known {
        Known {
            image_size,
            heads: self.heads,
            decoder_heads: self.decoder_heads,
            mean: self.mean.clone(),
            std: self.std.clone(),
            norm_pix_loss: self.norm_pix_loss,
            layer_norm_eps: self.layer_norm_eps,
        }
    }
}

/// Names the flags that would say what nobody says.
pub fn with_flags(error: Error) -> anyhow::Error {
    let Error::Unsaid { keys, .. } = &error else { return error.into() };
    // A key is followed by what it means.
    let flag =
        |key: &String| format!("--{}", key.split(' ').next().unwrap_or(key).replace('_', "-"));
    let flags: Vec<String> = keys.iter().map(flag).collect();
    anyhow!("{error}: {}", flags.join(", "))
}
